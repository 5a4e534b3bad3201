"""Loop In: the client pays an HTLC on chain, and the server pays its invoice.

The preimage that the server is paid with is what it claims the HTLC by. It takes one
confirmation for enough, which only a test network may.
"""

from __future__ import annotations

import hashlib
import logging

from devnet.swapserver.chain import Chain
from devnet.swapserver.closing import Closings, close_by
from devnet.swapserver.errors import RefusedError
from devnet.swapserver.htlc import SUCCESS_SEQUENCE, Leaves, pay_to
from devnet.swapserver.journal import InState, InSwap, Journal
from devnet.swapserver.lnd import Lnd
from devnet.swapserver.terms import HELD_LONGER_BLOCKS, Terms
from devnet.swapserver.transactions import Transaction
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.swapserverrpc import server_pb2

_log = logging.getLogger(__name__)

# A payment that may hang longer than the HTLC is safe for us to claim is never sent, and one
# that may hang for fewer blocks than this finds no route.
_MIN_CLTV_LIMIT = 100

_PROBE_SECONDS = 60

_IN_FLIGHT = {lightning_pb2.Payment.IN_FLIGHT, lightning_pb2.Payment.INITIATED}


class LoopIn:
    """Only `step` changes a swap's state, once it is offered."""

    def __init__(
        self,
        lnd: Lnd,
        chain: Chain,
        closings: Closings,
        journal: Journal[InSwap],
        terms: Terms,
    ) -> None:
        self._lnd = lnd
        self._chain = chain
        self._closings = closings
        self.journal = journal
        self._terms = terms

    # What the client calls.

    async def offer(self, request: server_pb2.ServerLoopInRequest) -> InSwap:
        """Tries the way to the client, then promises to pay. Raises RefusedError."""
        if request.swap_hash.hex() in self.journal.swaps:
            raise RefusedError("swap hash is known")
        await self._check_invoice(request)

        height = await self._lnd.height()
        expiry = height + self._terms.in_delta
        key, internal = await self._lnd.new_key(), await self._lnd.new_key()
        pair = [request.sender_internal_pubkey, bytes.fromhex(internal.public)]
        leaves = Leaves.of(
            sender=request.sender_key,
            receiver=bytes.fromhex(key.public),
            swap_hash=request.swap_hash,
            expiry=expiry,
        )
        combined = await self._lnd.combined_key(pair, leaves)
        swap = InSwap(
            swap_hash=request.swap_hash.hex(),
            amount_sat=request.amt,
            expiry=expiry,
            key=key,
            client_key=request.sender_key.hex(),
            script=pay_to(combined.output).hex(),
            internal_key=combined.internal.hex(),
            height_hint=height,
            state=InState.PROBING,
            payment_request=request.swap_invoice,
            our_internal_key=internal.public,
            last_hop=request.last_hop.hex(),
        )
        self.journal.save(swap)
        await self._probe(swap, request.probe_invoice)
        self._enter(swap, InState.OFFERED)
        return swap

    async def _check_invoice(self, request: server_pb2.ServerLoopInRequest) -> None:
        """That the invoice is the one that the HTLC is for, and leaves us our fee."""
        invoice = await self._lnd.decoded(request.swap_invoice)
        if invoice.payment_hash != request.swap_hash.hex():
            raise RefusedError("the swap invoice has another hash")
        due_sat = request.amt - self._terms.fee_sat(request.amt)
        if invoice.num_msat != due_sat * 1_000:
            raise RefusedError(f"the swap invoice is not over {due_sat} sat")

    async def _probe(self, swap: InSwap, probe_invoice: str) -> None:
        """Pays what nobody can settle: it comes back from the client, or the way is not there."""
        probe = await self._lnd.decoded(probe_invoice)
        probe_hash = bytes.fromhex(probe.payment_hash)
        if probe_hash != _unknowable(bytes.fromhex(swap.swap_hash)):
            self._enter(swap, InState.REFUSED)
            raise RefusedError("the probe invoice might be settled")
        last_hop = bytes.fromhex(swap.last_hop)
        await self._lnd.pay(probe_invoice, probe.num_msat // 1_000, last_hop=last_hop)
        payment = await eventually(
            lambda: self._lnd.payment(probe_hash),
            lambda found: found is not None and found.status not in _IN_FLIGHT,
            what="the end of the probe",
            timeout_seconds=_PROBE_SECONDS,
        )
        arrived = lightning_pb2.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS
        if payment is None or payment.failure_reason != arrived:
            self._enter(swap, InState.REFUSED)
            raise RefusedError("no route to the client")

    # What it does by itself.

    async def step(self, swap: InSwap) -> None:
        """One look, and what follows from it; may be repeated at any time."""
        height = await self._lnd.height()
        match swap.state:
            case InState.OFFERED:
                self._await_htlc(swap, height)
            case InState.PAYING:
                await self._pay(swap, height)
            case InState.CLAIMING:
                await self._claim(swap, height)

    def abandoned(self, swap: InSwap) -> None:
        """Nobody waits for the answer to this one any more: the process that probed is gone."""
        self._enter(swap, InState.REFUSED)

    def _await_htlc(self, swap: InSwap, height: int) -> None:
        if height >= swap.expiry:
            self._enter(swap, InState.EXPIRED)
            return
        script = bytes.fromhex(swap.script)
        confirmed = self._chain.funded(script, swap.height_hint)
        if confirmed is None:
            return
        funding = Transaction.parse(confirmed.raw_tx)
        index = funding.output_to(script)
        if index is None or funding.outputs[index].amount_sat != swap.amount_sat:
            self._enter(swap, InState.REFUSED)
            return
        swap.outpoint_txid, swap.outpoint_index = funding.txid.hex(), index
        self._enter(swap, InState.PAYING)

    async def _pay(self, swap: InSwap, height: int) -> None:
        """Sends again only what failed, and each time within what the HTLC has left."""
        payment = await self._lnd.payment(bytes.fromhex(swap.swap_hash))
        if payment is not None and payment.status in _IN_FLIGHT:
            return
        if payment is not None and payment.status == lightning_pb2.Payment.SUCCEEDED:
            swap.preimage = payment.payment_preimage
            self._enter(swap, InState.CLAIMING)
            return
        refused = lightning_pb2.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS
        cltv_limit = swap.expiry - height - HELD_LONGER_BLOCKS
        if cltv_limit < _MIN_CLTV_LIMIT or (payment and payment.failure_reason == refused):
            self._enter(swap, InState.REFUSED)
            return
        if swap.sent_at < height:
            swap.sent_at = height
            self.journal.save(swap)
            await self._lnd.pay(
                swap.payment_request,
                swap.amount_sat,
                last_hop=bytes.fromhex(swap.last_hop),
                cltv_limit=cltv_limit,
            )

    async def _claim(self, swap: InSwap, height: int) -> None:
        if not swap.closing:
            leaves = Leaves.of(
                sender=bytes.fromhex(swap.client_key),
                receiver=bytes.fromhex(swap.key.public),
                swap_hash=bytes.fromhex(swap.swap_hash),
                expiry=swap.expiry,
            )
            closing = await close_by(
                self._lnd,
                swap,
                leaves,
                leaves.success,
                sequence=SUCCESS_SEQUENCE,
                first=(bytes.fromhex(swap.preimage),),
            )
            swap.closing = closing.hex()
            self.journal.save(swap)
        if self._closings.is_certain(swap, height):
            self._enter(swap, InState.SUCCEEDED)
        elif self._closings.spend(swap) is None:
            await self._closings.publish(swap, height)

    def _enter(self, swap: InSwap, state: InState) -> None:
        _log.info("in %s: %s -> %s", swap.swap_hash[:12], swap.state, state)
        swap.state = state
        self.journal.save(swap)


def _unknowable(swap_hash: bytes) -> bytes:
    """A hash that everybody can derive and nobody has a preimage of."""
    derived = hashlib.sha256(swap_hash).digest()
    return bytes([derived[0] ^ 1]) + derived[1:]
