"""The transaction that brings an HTLC's output to the server: a claim or a refund."""

from __future__ import annotations

import hashlib
import logging

import grpc

from devnet.swapserver.chain import Chain
from devnet.swapserver.htlc import Leaves
from devnet.swapserver.journal import Swap
from devnet.swapserver.lnd import Lnd
from devnet.swapserver.transactions import Input, Output, Transaction
from protos.chainrpc import chainnotifier_pb2

_log = logging.getLogger(__name__)

# About 2 sat/vbyte; nothing here ever raises it.
_FEE_SAT = 400

# As deep as a spend must be before nobody is thought to take it back.
CERTAIN_BLOCKS = 3

# The receiver reveals the preimage in a witness of these four.
_PREIMAGE_SIGNATURE_LEAF_PROOF = 4


async def close_by(
    lnd: Lnd,
    swap: Swap,
    leaves: Leaves,
    leaf: bytes,
    *,
    sequence: int,
    lock_time: int = 0,
    first: tuple[bytes, ...] = (),
) -> bytes:
    """A signed transaction that spends the HTLC by `leaf`; `first` opens the witness."""
    spent = Output(swap.amount_sat, bytes.fromhex(swap.script))
    unsigned = Transaction(
        (Input(bytes.fromhex(swap.outpoint_txid), swap.outpoint_index, sequence),),
        (Output(swap.amount_sat - _FEE_SAT, await lnd.new_script()),),
        lock_time,
    )
    signature = await lnd.signature(swap.key, unsigned, leaf, spent)
    proof = leaves.control_block(leaf, bytes.fromhex(swap.internal_key))
    return unsigned.with_witness(*first, signature, leaf, proof).serialize()


class Closings:
    """Publishes closing transactions until the chain has them, or another in their place."""

    def __init__(self, lnd: Lnd, chain: Chain) -> None:
        self._lnd = lnd
        self._chain = chain
        self._tried_at: dict[str, int] = {}

    async def publish(self, swap: Swap, height: int) -> None:
        """Once a block, since a reorg may have taken away what it spends."""
        if self._tried_at.get(swap.swap_hash) == height:
            return
        self._tried_at[swap.swap_hash] = height
        try:
            await self._lnd.publish(bytes.fromhex(swap.closing), f"swap {swap.swap_hash[:12]}")
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                del self._tried_at[swap.swap_hash]
                raise
            # In conflict, or its parent is gone for now: the chain will tell.
            _log.info("%s is not published: %s", swap.swap_hash[:12], error.details())

    def spend(self, swap: Swap) -> chainnotifier_pb2.SpendDetails | None:
        """How the HTLC is spent in the chain, as far as is known."""
        return self._chain.spent(
            bytes.fromhex(swap.outpoint_txid),
            swap.outpoint_index,
            bytes.fromhex(swap.script),
            swap.height_hint,
        )

    def is_certain(self, swap: Swap, height: int) -> bool:
        """Whether the closing transaction itself is deep in the chain."""
        spend = self.spend(swap)
        if spend is None or not swap.closing:
            return False
        ours = Transaction.parse(bytes.fromhex(swap.closing)).txid
        depth = height - spend.spending_height + 1
        return spend.spending_tx_hash == ours and depth >= CERTAIN_BLOCKS

    def revealed(self, swap: Swap) -> bytes | None:
        """The preimage, when the HTLC was spent by it."""
        spend = self.spend(swap)
        if spend is None:
            return None
        spending = Transaction.parse(spend.raw_spending_tx).inputs[spend.spending_input_index]
        if len(spending.witness) != _PREIMAGE_SIGNATURE_LEAF_PROOF:
            return None
        preimage = spending.witness[0]
        return preimage if hashlib.sha256(preimage).hexdigest() == swap.swap_hash else None
