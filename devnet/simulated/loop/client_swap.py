"""One swap as loopd runs it, from its database: each step follows from what is already so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from devnet.simulated.loop.swap_server import Deal, htlc_output
from devnet.simulated.onchain.transactions import (
    Draw,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)
from devnet.simulated.onchain.weights import fee_sat
from devnet.simulated.payments import OutgoingPayment
from devnet.simulated.requests import read_intent
from protos.lnrpc import lightning_pb2
from protos.looprpc import client_pb2
from protos.routerrpc import router_pb2

if TYPE_CHECKING:
    from devnet.simulated.loop.loopd import Loopd

SWEEP_WEIGHT: Final = 607
PUBLISH_WEIGHT: Final = 656
# So near to the expiry loopd reveals no preimage any more.
_TOO_LATE_BLOCKS: Final = 20
_PAYMENT_SECONDS: Final = 60

_State = client_pb2.SwapState
_Reason = client_pb2.FailureReason
_FINAL = (client_pb2.SUCCESS, client_pb2.FAILED)
_NOT_FINAL = (_Reason.FAILURE_REASON_TEMPORARY, _Reason.FAILURE_REASON_INCORRECT_AMOUNT)


@dataclass(eq=False)
class ClientSwap:
    """A swap in loopd's database. `is_run`: the executor has it; an orphan's has not."""

    deal: Deal
    preimage: bytes = field(repr=False)
    label: str
    channels: tuple[int, ...] = ()
    last_hop: bytes = b""
    max_routing_sat: int = 0
    max_prepay_routing_sat: int = 0
    htlc_confirmations: int = 1
    is_external: bool = False
    is_run: bool = True
    state: _State.ValueType = client_pb2.INITIATED
    reason: _Reason.ValueType = _Reason.FAILURE_REASON_NONE
    server_sat: int = 0
    on_chain_sat: int = 0
    off_chain_sat: int = 0
    sweep: Transaction | None = None
    initiated_ns: int = field(default_factory=time.time_ns)
    updated_ns: int = field(default_factory=time.time_ns)

    @property
    def is_final(self) -> bool:
        return self.state in _FINAL and self.reason not in _NOT_FINAL

    def move(
        self, state: _State.ValueType, reason: _Reason.ValueType = _Reason.FAILURE_REASON_NONE
    ) -> None:
        self.state, self.reason = state, reason
        self.updated_ns = time.time_ns()


def advance(swap: ClientSwap, loopd: Loopd) -> None:
    """Takes every step that it can take now."""
    before = None
    while not swap.is_final and before != (swap.state, swap.sweep, swap.deal.htlc):
        before = (swap.state, swap.sweep, swap.deal.htlc)
        if swap.deal.is_out:
            _advance_out(swap, loopd)
        else:
            _advance_in(swap, loopd)


def _advance_out(swap: ClientSwap, loopd: Loopd) -> None:
    deal, chain = swap.deal, loopd.chain
    assert deal.invoice is not None
    assert deal.prepay is not None
    prepay = _pay(loopd, deal.prepay.payment_request, swap, swap.max_prepay_routing_sat)
    main = _pay(loopd, deal.invoice.payment_request, swap, swap.max_routing_sat)
    if swap.sweep is not None:
        _watch_sweep(swap, loopd, prepay, main)
        return
    late = chain.height >= deal.expiry_height
    height = chain.height_of(deal.htlc.txid) if deal.htlc else None
    if deal.htlc is None and _failed(prepay, main):
        loopd.server.cancel(deal)
        # What the prepayment cost beside its routing is not counted: as the real one does.
        swap.off_chain_sat = _fee_sat(prepay) + _fee_sat(main)
        reason = _Reason.FAILURE_REASON_TIMEOUT if late else _Reason.FAILURE_REASON_OFFCHAIN
        swap.move(client_pb2.FAILED, reason)
    elif late:
        swap.off_chain_sat = _fee_sat(prepay)
        swap.move(client_pb2.FAILED, _Reason.FAILURE_REASON_TIMEOUT)
    elif height is not None and deal.htlc is not None:
        mined = chain.height - height + 1 >= swap.htlc_confirmations
        if mined and deal.expiry_height - chain.height > _TOO_LATE_BLOCKS:
            swap.move(client_pb2.PREIMAGE_REVEALED)
            swap.sweep = _sweep(swap, loopd, deal.htlc)
            chain.publish(swap.sweep)


def _sweep(swap: ClientSwap, loopd: Loopd, htlc: Outpoint) -> Transaction:
    """Its fee follows the blocks that are left, and not what was quoted."""
    blocks = swap.deal.expiry_height - loopd.chain.height
    fee = fee_sat(loopd.chain.fees.estimate_sat_per_kw(max(1, blocks)), SWEEP_WEIGHT)
    return Transaction(
        publisher=loopd.node.name,
        label="loopd: sweep",
        spends=(Spend(htlc, loopd.node.name, swap.preimage),),
        draws=(),
        outputs=(Output(OutputKind.WALLET, loopd.node.name, swap.deal.amount_sat - fee),),
        fee_sat=fee,
        weight=SWEEP_WEIGHT,
    )


def _watch_sweep(
    swap: ClientSwap, loopd: Loopd, prepay: OutgoingPayment, main: OutgoingPayment
) -> None:
    deal, chain = swap.deal, loopd.chain
    assert swap.sweep is not None
    assert deal.htlc is not None
    swap.off_chain_sat = _fee_sat(prepay) + _fee_sat(main)
    if chain.height_of(swap.sweep.txid) is not None:
        paid = [each for each in (prepay, main) if each.settled]
        if len(paid) < 2:
            return  # the server settles when it sees the sweep: at once, mostly
        swap.server_sat = sum(each.intent.amount_msat for each in paid) // 1_000 - deal.amount_sat
        swap.on_chain_sat = swap.sweep.fee_sat
        swap.move(client_pb2.SUCCESS)
    elif chain.is_spent(deal.htlc):
        swap.move(client_pb2.FAILED, _Reason.FAILURE_REASON_SWEEP_TIMEOUT)


def _advance_in(swap: ClientSwap, loopd: Loopd) -> None:
    deal, chain, name = swap.deal, loopd.chain, loopd.node.name
    invoice = loopd.node.invoices.database.find(deal.payment_hash)
    assert invoice is not None
    if deal.htlc is None:
        # Of one that somebody else is to publish loopd says the same at once: it never looks.
        if not swap.is_external:
            deal.htlc = _publish(swap, loopd)
        if swap.state == client_pb2.INITIATED:
            swap.move(client_pb2.HTLC_PUBLISHED)
        return
    if swap.state == client_pb2.HTLC_PUBLISHED and invoice.state == lightning_pb2.Invoice.SETTLED:
        swap.server_sat = deal.amount_sat - invoice.paid_msat // 1_000
        swap.move(client_pb2.INVOICE_SETTLED)
    spender = chain.spender(deal.htlc)
    if spender is None and chain.height >= deal.expiry_height:
        fee = fee_sat(chain.fees.estimate_sat_per_kw(6), SWEEP_WEIGHT)
        swap.sweep = Transaction(
            publisher=name,
            label="loopd: timeout",
            spends=(Spend(deal.htlc, name),),
            draws=(),
            outputs=(Output(OutputKind.WALLET, name, deal.amount_sat - fee),),
            fee_sat=fee,
            weight=SWEEP_WEIGHT,
            lock_height=deal.expiry_height,
        )
        chain.publish(swap.sweep)
    elif spender is not None and chain.is_spent(deal.htlc):
        if spender is swap.sweep:
            swap.on_chain_sat += spender.fee_sat
            loopd.node.invoices.cancel(deal.payment_hash)
            swap.move(client_pb2.FAILED, _Reason.FAILURE_REASON_TIMEOUT)
        elif swap.state == client_pb2.INVOICE_SETTLED:
            swap.move(client_pb2.SUCCESS)


def _publish(swap: ClientSwap, loopd: Loopd) -> Outpoint:
    fee = publish_fee_sat(loopd)
    name = loopd.node.name
    transaction = Transaction(
        publisher=name,
        label="loopd: htlc",
        spends=(),
        draws=(Draw(name, swap.deal.amount_sat + fee),),
        outputs=(htlc_output(swap.deal, payer=name, payee=loopd.server.name),),
        fee_sat=fee,
        weight=PUBLISH_WEIGHT,
        salt=swap.initiated_ns,
    )
    loopd.chain.publish(transaction)
    swap.on_chain_sat = fee
    return transaction.outpoint(0)


def publish_fee_sat(loopd: Loopd) -> int:
    return fee_sat(loopd.chain.fees.estimate_sat_per_kw(9), PUBLISH_WEIGHT) + 1


def _pay(loopd: Loopd, payment_request: str, swap: ClientSwap, max_fee_sat: int) -> OutgoingPayment:
    """The payment of an invoice, which is sent once and found again after a restart."""
    intent = read_intent(
        router_pb2.SendPaymentRequest(
            payment_request=payment_request,
            fee_limit_msat=max_fee_sat * 1_000,
            timeout_seconds=_PAYMENT_SECONDS,
            outgoing_chan_ids=swap.channels,
            max_parts=5,
        ),
        loopd.node.codec,
        loopd.node.public_key,
    )
    payment = loopd.node.payments.find(intent.payment_hash)
    if payment is None:
        payment = loopd.node.payments.initiate(intent)
        loopd.node.payments.launch(payment)
    if loopd.on_move not in payment.listeners and not payment.is_terminal:
        payment.listeners.append(loopd.on_move)
    return payment


def _failed(*payments: OutgoingPayment) -> bool:
    return any(each.status == lightning_pb2.Payment.FAILED for each in payments)


def _fee_sat(payment: OutgoingPayment) -> int:
    """What its routing has cost; the part of a satoshi is dropped."""
    return sum(attempt.route.fees_msat for attempt in payment.settled) // 1_000
