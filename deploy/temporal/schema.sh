#!/bin/sh
# Makes both databases of the Temporal server, or brings them to the schema of this version.
# Run it before every start of a new version; running it again changes nothing.
#
# Reads SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD_FILE.
set -eu

SQL_PLUGIN=postgres12
SQL_PASSWORD=$(cat "$SQL_PASSWORD_FILE")
export SQL_PLUGIN SQL_PASSWORD

sql_tool() {
    database=$1
    shift
    "${TEMPORAL_SQL_TOOL:-temporal-sql-tool}" --database "$database" "$@"
}

bring_up_to_date() {
    database=$1
    schema=$2
    sql_tool "$database" create-database
    sql_tool "$database" setup-schema --version 0.0
    sql_tool "$database" update-schema --schema-name "postgresql/v12/$schema"
}

bring_up_to_date temporal temporal
bring_up_to_date temporal_visibility visibility
