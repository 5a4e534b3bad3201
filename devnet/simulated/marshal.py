"""From the simulation's own types to lnd's messages."""

from __future__ import annotations

from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Failed, Settled
from devnet.simulated.invoice_database import Invoice, InvoiceHtlc
from devnet.simulated.payment_requests import RouteHint
from devnet.simulated.payments import Attempt, OutgoingPayment
from devnet.simulated.routes import Route
from protos.lnrpc import lightning_pb2

UNKNOWN_PREIMAGE = bytes(32)


def payment_message(
    payment: OutgoingPayment, graph: Graph, *, omit_hops: bool = False
) -> lightning_pb2.Payment:
    """A payment as lnd shows it. INITIATED reads IN_FLIGHT there unless lnd.conf says else."""
    settled = payment.settled
    status = payment.status
    if status == lightning_pb2.Payment.INITIATED:
        status = lightning_pb2.Payment.IN_FLIGHT
    preimage = UNKNOWN_PREIMAGE
    for attempt in settled:
        assert isinstance(attempt.outcome, Settled)
        preimage = attempt.outcome.preimage
    htlcs = [] if omit_hops else [_attempt(attempt, payment, graph) for attempt in payment.attempts]
    return lightning_pb2.Payment(
        payment_hash=payment.intent.payment_hash.hex(),
        payment_preimage=preimage.hex(),
        value_msat=payment.intent.amount_msat,
        payment_request=payment.intent.payment_request,
        status=status,
        fee_msat=sum(attempt.route.fees_msat for attempt in settled),
        creation_time_ns=payment.created_ns,
        htlcs=htlcs,
        payment_index=payment.index,
        failure_reason=payment.failure_reason,
    )


def invoice_message(invoice: Invoice) -> lightning_pb2.Invoice:
    request = invoice.request
    return lightning_pb2.Invoice(
        memo=request.description,
        r_preimage=invoice.preimage or b"",
        r_hash=request.payment_hash,
        value=request.amount_msat // 1_000,
        value_msat=request.amount_msat,
        creation_date=request.timestamp,
        settle_date=invoice.settle_time,
        payment_request=invoice.payment_request,
        description_hash=request.description_hash,
        expiry=request.expiry_seconds,
        fallback_addr=request.fallback_addr,
        cltv_expiry=request.final_cltv_delta_blocks,
        route_hints=route_hint_messages(request.route_hints),
        private=bool(request.route_hints),
        add_index=invoice.add_index,
        settle_index=invoice.settle_index,
        amt_paid_sat=invoice.paid_msat // 1_000,
        amt_paid_msat=invoice.paid_msat,
        state=invoice.state,
        htlcs=[_invoice_htlc(htlc) for htlc in invoice.htlcs],
        is_keysend=invoice.is_keysend,
        payment_addr=request.payment_addr,
    )


def route_hint_messages(hints: tuple[RouteHint, ...]) -> list[lightning_pb2.RouteHint]:
    return [
        lightning_pb2.RouteHint(
            hop_hints=[
                lightning_pb2.HopHint(
                    node_id=hop.public_key,
                    chan_id=hop.channel_id,
                    fee_base_msat=hop.base_fee_msat,
                    fee_proportional_millionths=hop.fee_rate_ppm,
                    cltv_expiry_delta=hop.cltv_expiry_delta_blocks,
                )
                for hop in hint
            ]
        )
        for hint in hints
    ]


def channel_message(channel: Channel, node: str, graph: Graph) -> lightning_pb2.Channel:
    """A channel from `node`'s side, in whole satoshis rounded down as lnd does."""
    remote = channel.other(node)
    pending = list(channel.pending.values())
    return lightning_pb2.Channel(
        active=channel.active,
        remote_pubkey=graph.public_key_of(remote),
        channel_point=f"{channel.funding_txid}:{channel.output_index}",
        chan_id=channel.channel_id,
        capacity=channel.capacity_msat // 1_000,
        local_balance=channel.balances_msat[node] // 1_000,
        remote_balance=channel.balances_msat[remote] // 1_000,
        unsettled_balance=sum(htlc.amount_msat for htlc in pending) // 1_000,
        pending_htlcs=[_pending_htlc(htlc, node) for htlc in pending],
        private=channel.private,
        initiator=channel.opener == node,
    )


def _attempt(attempt: Attempt, payment: OutgoingPayment, graph: Graph) -> lightning_pb2.HTLCAttempt:
    message = lightning_pb2.HTLCAttempt(
        attempt_id=attempt.attempt_id,
        status=lightning_pb2.HTLCAttempt.IN_FLIGHT,
        route=_route(attempt.route, payment, graph),
        attempt_time_ns=attempt.launched_ns,
        resolve_time_ns=attempt.resolved_ns,
    )
    if isinstance(attempt.outcome, Settled):
        message.status = lightning_pb2.HTLCAttempt.SUCCEEDED
        message.preimage = attempt.outcome.preimage
    elif isinstance(attempt.outcome, Failed):
        message.status = lightning_pb2.HTLCAttempt.FAILED
        message.failure.code = attempt.outcome.code
        message.failure.failure_source_index = attempt.outcome.source_index
        message.failure.height = attempt.outcome.height
    return message


def _route(route: Route, payment: OutgoingPayment, graph: Graph) -> lightning_pb2.Route:
    hops = route.hops
    message = lightning_pb2.Route(
        total_time_lock=hops[0].expiry_height,
        total_fees_msat=route.fees_msat,
        total_amt_msat=route.total_msat,
        hops=[
            lightning_pb2.Hop(
                chan_id=hop.channel.channel_id,
                # A hop is told the expiry of the HTLC that it gives, not of the one it gets.
                expiry=following.expiry_height,
                amt_to_forward_msat=hop.forward_msat,
                fee_msat=hop.fee_msat,
                pub_key=graph.public_key_of(hop.receiver),
            )
            for hop, following in zip(hops, (*hops[1:], hops[-1]), strict=True)
        ],
    )
    if payment.intent.payment_addr:
        message.hops[-1].mpp_record.payment_addr = payment.intent.payment_addr
        message.hops[-1].mpp_record.total_amt_msat = payment.intent.amount_msat
    return message


def _invoice_htlc(htlc: InvoiceHtlc) -> lightning_pb2.InvoiceHTLC:
    return lightning_pb2.InvoiceHTLC(
        chan_id=htlc.channel_id,
        htlc_index=htlc.htlc_index,
        amt_msat=htlc.amount_msat,
        accept_height=htlc.accept_height,
        accept_time=htlc.accept_time,
        resolve_time=htlc.resolve_time,
        expiry_height=htlc.expiry_height,
        state=htlc.state,
        # A keysend has no such record: it cannot come in parts.
        mpp_total_amt_msat=htlc.total_msat if htlc.routed.onion.payment_addr else 0,
    )


def _pending_htlc(htlc: PendingHtlc, node: str) -> lightning_pb2.HTLC:
    incoming = htlc.sender != node
    return lightning_pb2.HTLC(
        incoming=incoming,
        amount=htlc.amount_msat // 1_000,
        hash_lock=htlc.payment_hash,
        expiration_height=htlc.expiry_height,
        htlc_index=htlc.index,
        forwarding_channel=htlc.outgoing_channel_id if incoming else htlc.incoming_channel_id,
    )
