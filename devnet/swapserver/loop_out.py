"""Loop Out: the client pays invoices, and the server pays an HTLC on chain.

The swap's invoice is held until the preimage is known, which the client tells once the HTLC
is confirmed, or shows in the chain. Until then nothing is the server's but the prepayment.
"""

from __future__ import annotations

import hashlib
import logging

from devnet.swapserver.closing import Closings, close_by
from devnet.swapserver.errors import RefusedError
from devnet.swapserver.htlc import Leaves, pay_to
from devnet.swapserver.journal import Journal, OutState, OutSwap
from devnet.swapserver.lnd import MUSIG2, Lnd, located
from devnet.swapserver.terms import HELD_LONGER_BLOCKS, LATEST_FUNDING_BLOCKS, Terms
from devnet.swapserver.transactions import Output, Transaction
from protos.lnrpc import lightning_pb2
from protos.signrpc import signer_pb2
from protos.swapserverrpc import server_pb2

_log = logging.getLogger(__name__)

# Below the highest, so that the lock time is looked at.
_SEQUENCE = 0xFFFFFFFE

# What the client's height may be behind or ahead of ours.
_LAG_BLOCKS = 3


class LoopOut:
    """Only `step` changes a swap's state; the calls add what they were told."""

    def __init__(
        self, lnd: Lnd, closings: Closings, journal: Journal[OutSwap], terms: Terms
    ) -> None:
        self._lnd = lnd
        self._closings = closings
        self.journal = journal
        self._terms = terms

    # What the client calls.

    async def offer(self, request: server_pb2.ServerLoopOutRequest) -> OutSwap:
        """Two invoices and a key; remembered before it returns. Raises RefusedError."""
        if request.swap_hash.hex() in self.journal.swaps:
            raise RefusedError("swap hash is known")
        height = await self._lnd.height()
        delta = request.expiry - height
        if delta < self._terms.min_out_delta - _LAG_BLOCKS:
            raise RefusedError(f"expiry too soon: in {delta} blocks")
        if delta > self._terms.max_out_delta + _LAG_BLOCKS:
            raise RefusedError(f"expiry too far: in {delta} blocks")

        key = await self._lnd.new_key()
        sender = bytes.fromhex(key.public)
        leaves = Leaves.of(
            sender=sender,
            receiver=request.receiver_key,
            swap_hash=request.swap_hash,
            expiry=request.expiry,
        )
        combined = await self._lnd.combined_key([sender, request.receiver_key], leaves)

        price_sat = request.amt + self._terms.fee_sat(request.amt)
        prepay = await self._lnd.add_invoice(self._terms.prepay_sat, "prepayment of a swap")
        held = await self._lnd.add_hold_invoice(
            request.swap_hash,
            price_sat - self._terms.prepay_sat,
            "swap",
            cltv_expiry=delta + HELD_LONGER_BLOCKS,
        )
        swap = OutSwap(
            swap_hash=request.swap_hash.hex(),
            amount_sat=request.amt,
            expiry=request.expiry,
            key=key,
            client_key=request.receiver_key.hex(),
            script=pay_to(combined.output).hex(),
            internal_key=combined.internal.hex(),
            height_hint=height,
            state=OutState.OFFERED,
            payment_request=held.payment_request,
            prepay_hash=prepay.r_hash.hex(),
            prepay_request=prepay.payment_request,
            payment_address=held.payment_addr.hex(),
        )
        self.journal.save(swap)
        return swap

    def push(self, preimage: bytes) -> None:
        """Takes note of a preimage; raises RefusedError when it opens no swap of ours."""
        swap = self._known(hashlib.sha256(preimage).digest())
        swap.preimage = preimage.hex()
        self.journal.save(swap)

    def cancel(self, request: server_pb2.CancelLoopOutSwapRequest) -> None:
        """The client cannot pay: forget it, unless the HTLC is on its way. Raises RefusedError."""
        swap = self._authorized(request.swap_hash, request.payment_address)
        swap.cancel_asked = True
        self.journal.save(swap)

    async def cosign(self, request: server_pb2.MuSig2SignSweepReq) -> server_pb2.MuSig2SignSweepRes:
        """Our half of the key path, which reveals no preimage: so only when we are paid.

        Raises RefusedError; the client then takes the path of its own leaf.
        """
        swap = self._authorized(request.swap_hash, request.payment_address)
        if swap.state != OutState.SUCCEEDED:
            raise RefusedError("the swap's invoice is not settled yet")
        sweep = Transaction.of_psbt(request.sweep_tx_psbt)
        told = {
            (each.txid_bytes, each.output_index): Output(each.value, each.pk_script)
            for each in request.prevout_info
        }
        outpoints = [(each.txid, each.index) for each in sweep.inputs]
        ours = bytes.fromhex(swap.outpoint_txid), swap.outpoint_index
        if ours not in outpoints or not told.keys() >= set(outpoints):
            raise RefusedError("the sweep does not spend this swap's HTLC")
        digest = sweep.taproot_digest(
            outpoints.index(ours), [told[outpoint] for outpoint in outpoints]
        )
        session = await self._lnd.signer.MuSig2CreateSession(
            signer_pb2.MuSig2SessionRequest(
                key_loc=located(swap.key),
                all_signer_pubkeys=[
                    bytes.fromhex(swap.key.public),
                    bytes.fromhex(swap.client_key),
                ],
                other_signer_public_nonces=[request.nonce],
                taproot_tweak=signer_pb2.TaprootTweakDesc(script_root=_leaves(swap).root),
                version=MUSIG2,
            )
        )
        signed = await self._lnd.signer.MuSig2Sign(
            signer_pb2.MuSig2SignRequest(
                session_id=session.session_id, message_digest=digest, cleanup=True
            )
        )
        return server_pb2.MuSig2SignSweepRes(
            nonce=session.local_public_nonces, partial_signature=signed.local_partial_signature
        )

    # What it does by itself.

    async def step(self, swap: OutSwap) -> None:
        """One look, and what follows from it; may be repeated at any time."""
        height = await self._lnd.height()
        match swap.state:
            case OutState.OFFERED:
                await self._await_payments(swap, height)
            case OutState.FUNDING:
                await self._fund(swap, height)
            case OutState.FUNDED:
                await self._await_preimage(swap, height)
            case OutState.CLAIMING:
                await self._lnd.settle(bytes.fromhex(swap.preimage))
                self._enter(swap, OutState.SUCCEEDED)
            case OutState.REFUNDING:
                await self._refund(swap, height)

    async def _await_payments(self, swap: OutSwap, height: int) -> None:
        held = await self._lnd.invoice(bytes.fromhex(swap.swap_hash))
        prepay = await self._lnd.invoice(bytes.fromhex(swap.prepay_hash))
        over = held.state == lightning_pb2.Invoice.CANCELED or swap.cancel_asked
        if over or self._is_late(swap, height):
            await self._give_up(swap)
            return
        if (
            held.state == lightning_pb2.Invoice.ACCEPTED
            and prepay.state == lightning_pb2.Invoice.SETTLED
        ):
            # Held no longer than the HTLC is ours to refund, it would be taken from us.
            held_until = min(htlc.expiry_height for htlc in held.htlcs)
            if held_until < swap.expiry + HELD_LONGER_BLOCKS:
                await self._give_up(swap)
            else:
                self._enter(swap, OutState.FUNDING)

    async def _fund(self, swap: OutSwap, height: int) -> None:
        script = bytes.fromhex(swap.script)
        funding = await self._lnd.paid_to(script, swap.height_hint)
        if funding is None and self._is_late(swap, height):
            await self._give_up(swap)
            return
        if funding is None:
            label = f"swap {swap.swap_hash[:12]}"
            funding = await self._lnd.pay_to(script, swap.amount_sat, label)
        index = funding.output_to(script)
        if index is None:
            raise ValueError("lnd's transaction lacks the output that it was asked for")
        swap.outpoint_txid, swap.outpoint_index = funding.txid.hex(), index
        self._enter(swap, OutState.FUNDED)

    async def _await_preimage(self, swap: OutSwap, height: int) -> None:
        if self._learned(swap):
            self._enter(swap, OutState.CLAIMING)
        elif height >= swap.expiry:
            leaves = _leaves(swap)
            closing = await close_by(
                self._lnd,
                swap,
                leaves,
                leaves.timeout,
                sequence=_SEQUENCE,
                lock_time=swap.expiry,
            )
            swap.closing = closing.hex()
            self._enter(swap, OutState.REFUNDING)

    async def _refund(self, swap: OutSwap, height: int) -> None:
        if self._learned(swap):  # the client was quicker after all
            self._enter(swap, OutState.CLAIMING)
        elif self._closings.is_certain(swap, height):
            # Not earlier: what is held is ours until the HTLC is.
            await self._lnd.cancel(bytes.fromhex(swap.swap_hash))
            self._enter(swap, OutState.REFUNDED)
        elif self._closings.spend(swap) is None:
            await self._closings.publish(swap, height)

    def _learned(self, swap: OutSwap) -> bool:
        """Whether the preimage is known, be it pushed or shown in the chain."""
        if not swap.preimage and (shown := self._closings.revealed(swap)):
            swap.preimage = shown.hex()
        return bool(swap.preimage)

    async def _give_up(self, swap: OutSwap) -> None:
        """Nothing was sent: the client has everything back but a prepayment that it made."""
        for payment_hash in (swap.swap_hash, swap.prepay_hash):
            await self._lnd.cancel(bytes.fromhex(payment_hash))
        self._enter(swap, OutState.CANCELED)

    def _is_late(self, swap: OutSwap, height: int) -> bool:
        return swap.expiry - height < LATEST_FUNDING_BLOCKS

    def _enter(self, swap: OutSwap, state: OutState) -> None:
        _log.info("out %s: %s -> %s", swap.swap_hash[:12], swap.state, state)
        swap.state = state
        self.journal.save(swap)

    def _known(self, swap_hash: bytes) -> OutSwap:
        swap = self.journal.swaps.get(swap_hash.hex())
        if swap is None:
            raise RefusedError("swap is unknown")
        return swap

    def _authorized(self, swap_hash: bytes, payment_address: bytes) -> OutSwap:
        """By the address in the swap's invoice, which the client alone was given."""
        swap = self._known(swap_hash)
        if swap.payment_address != payment_address.hex():
            raise RefusedError("wrong payment address")
        return swap


def _leaves(swap: OutSwap) -> Leaves:
    return Leaves.of(
        sender=bytes.fromhex(swap.key.public),
        receiver=bytes.fromhex(swap.client_key),
        swap_hash=bytes.fromhex(swap.swap_hash),
        expiry=swap.expiry,
    )
