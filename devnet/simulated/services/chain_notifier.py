"""chainrpc.ChainNotifier: the blocks of the node's chain, one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from devnet.simulated.chain import Block
from devnet.simulated.closing.messages import wire
from devnet.simulated.onchain.view import ChainView
from protos.chainrpc import chainnotifier_pb2


class ChainNotifierService:
    def __init__(self, view: ChainView) -> None:
        self._view = view

    async def register_block_epoch_ntfn(
        self, request: chainnotifier_pb2.BlockEpoch
    ) -> AsyncIterator[chainnotifier_pb2.BlockEpoch]:
        """What came after the block that the caller knows, or the tip; then what comes."""
        known = None
        if request.hash:
            known = Block(request.height, request.hash[::-1].hex(), ())
        async for block in self._view.follow(known):
            yield chainnotifier_pb2.BlockEpoch(hash=wire(block.block_hash), height=block.height)
