"""The auctioneer as a process of its own, until it is killed: nothing else ends it.

`<state_dir>/settings.json` says where it listens and where btcd is. Beside gRPC for poold
it answers `POST /batches` on a port of its own: a batch is cleared when somebody asks for
it, and never by the clock, so that tests need not wait for one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import grpc
from aiohttp import web
from pydantic import BaseModel

from devnet.auctioneer.accounts import Accounts, RefusedError
from devnet.auctioneer.auction import Auction, Faults, NothingToClearError
from devnet.auctioneer.chain import Chain, ChainAccess
from devnet.auctioneer.journal import Journal
from devnet.auctioneer.market import Market
from devnet.auctioneer.musig2 import MuSig2Error
from devnet.auctioneer.service import AuctioneerService
from devnet.auctioneer.traders import TraderGoneError, TraderRefusedError, Traders
from protos.auctioneerrpc import auctioneer_pb2_grpc

_NO_BATCH = (
    *(NothingToClearError, RefusedError),
    *(TraderGoneError, TraderRefusedError, MuSig2Error),
)


class Settings(BaseModel):
    """Both addresses are `host:port` on loopback."""

    listen: str
    control: str
    chain: ChainAccess


async def serve(state_dir: Path) -> None:
    settings = Settings.model_validate_json((state_dir / "settings.json").read_text())
    journal, chain = Journal(state_dir / "journal.json"), Chain(settings.chain)
    traders = Traders(journal)
    accounts, market = Accounts(journal, chain), Market(journal)
    auction = Auction(journal, chain, accounts, market, traders)
    # Before anybody can ask: what was signed is on its way again then.
    await auction.recover()

    server = grpc.aio.server()
    service = AuctioneerService(accounts, market, auction, traders)
    auctioneer_pb2_grpc.add_ChannelAuctioneerServicer_to_server(service, server)
    server.add_insecure_port(settings.listen)
    await server.start()
    await _control(settings.control, auction)
    await server.wait_for_termination()


async def _control(address: str, auction: Auction) -> None:
    async def clear(request: web.Request) -> web.Response:
        """One batch, with the words of what stood in its way when there is none."""
        faults = Faults(
            die_at=request.query.get("die_at", ""),
            cheat_sat=int(request.query.get("cheat_sat", "0")),
        )
        try:
            batch = await auction.clear(faults)
        except _NO_BATCH as error:
            return web.json_response({"reason": str(error)}, status=409)
        return web.json_response({"batch_id": batch.id, "txid": batch.txid})

    application = web.Application()
    application.router.add_post("/batches", clear)
    runner = web.AppRunner(application)
    await runner.setup()
    host, _, port = address.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m devnet.auctioneer", description=__doc__)
    parser.add_argument(
        "state_dir", type=Path, help="with settings.json in it; the journal joins it"
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    asyncio.run(serve(parser.parse_args().state_dir))
