#!/bin/sh
# Becomes the Temporal server, with the database's password out of its file: the server's
# configuration can read its environment, and no file.
set -eu

SQL_PASSWORD=$(cat "$SQL_PASSWORD_FILE")
export SQL_PASSWORD

# Nobody is asked who he is: whoever reaches the front end may order payments. So it is
# published on loopback only, and reached over a tunnel, or through a proxy that asks.
exec "${TEMPORAL_SERVER:-temporal-server}" --allow-no-auth start
