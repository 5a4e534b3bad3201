"""The swap server as a process of its own, until it is ended; it may be at any instant."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

import grpc

from devnet.swapserver.lnd import Lnd
from devnet.swapserver.server import SwapServer, handlers


async def _serve(arguments: argparse.Namespace) -> None:
    lnd = Lnd(arguments.lnd, arguments.tls_cert, arguments.macaroon)
    swaps = SwapServer(lnd, arguments.journal)
    swaps.carry_on()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers(swaps)])
    # loopd is told to go without TLS: nothing leaves this machine.
    server.add_insecure_port(arguments.listen)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m devnet.swapserver", description=__doc__)
    parser.add_argument("--listen", required=True, help="host:port, on loopback")
    parser.add_argument("--journal", type=Path, required=True, help="a folder of its own")
    parser.add_argument("--lnd", required=True, help="host:port of its lnd")
    parser.add_argument("--tls-cert", type=Path, required=True)
    parser.add_argument("--macaroon", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(_serve(parser.parse_args()))
