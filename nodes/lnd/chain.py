"""The chain as one LND sees it: its tip, and its blocks as they come."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

from fulgurite.chain.tip import Tip
from fulgurite.identity import Txid
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.lnd.payments import STREAM_TIMEOUT_SECONDS
from nodes.roles import Role
from protos.chainrpc import chainnotifier_pb2, chainnotifier_pb2_grpc
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc


class LndChain:
    """Chain time of one node, by its observe macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.OBSERVE)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._notifier = chainnotifier_pb2_grpc.ChainNotifierStub(connection.channel())

    async def tip(self) -> Tip:
        """The newest block, and whether LND has done with it what it does. Raises NodeErrors."""
        with domain_errors(self._node):
            info = await self._lightning.GetInfo(
                lightning_pb2.GetInfoRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return Tip(
            height=info.block_height,
            block_hash=Txid(info.block_hash),
            synced=info.synced_to_chain,
        )

    @asynccontextmanager
    async def blocks(self, after: Tip | None) -> AsyncIterator[AsyncIterator[Tip]]:
        """Every block that joins the best chain: first those since `after`, or the tip.

        LND does not say that a block was taken back; it tells what came in its place, with a
        height that was told before, and first of all if the block was `after`. Raises
        NodeErrors while iterating. The stream may go silent: whoever listens asks for the tip
        besides. Leaving drops it.
        """
        known = chainnotifier_pb2.BlockEpoch()
        if after is not None:
            known.height = after.height
            known.hash = after.block_hash.raw()[::-1]
        call = self._notifier.RegisterBlockEpochNtfn(
            known, metadata=self._credential, timeout=STREAM_TIMEOUT_SECONDS
        )
        try:
            yield self._told(call)
        finally:
            call.cancel()

    async def _told(self, call: AsyncIterable[chainnotifier_pb2.BlockEpoch]) -> AsyncIterator[Tip]:
        with domain_errors(self._node):
            async for block in call:
                yield Tip(height=block.height, block_hash=Txid.of_bytes(block.hash[::-1]))
