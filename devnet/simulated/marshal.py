"""From the simulation's own types to lnd's messages."""

from __future__ import annotations

from devnet.simulated.channels import MAX_ACCEPTED_HTLCS, Channel, PendingHtlc
from devnet.simulated.closing.commitments import (
    COMMITMENT_SAT_PER_KW,
    CSV_BLOCKS,
    DUST_SAT,
    commitment_fee_sat,
    output_count,
    shown_sat,
)
from devnet.simulated.forwards import Forwarded
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Failed, Settled
from devnet.simulated.invoice_database import Invoice, InvoiceHtlc
from devnet.simulated.onchain.weights import COMMITMENT_HTLC_WEIGHT, COMMITMENT_SHOWN_WEIGHT
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
    htlcs = (
        []
        if omit_hops
        else [attempt_message(attempt, payment, graph) for attempt in payment.attempts]
    )
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


def forwarding_message(forward: Forwarded) -> lightning_pb2.ForwardingEvent:
    fee_msat = forward.amount_in_msat - forward.amount_out_msat
    return lightning_pb2.ForwardingEvent(
        chan_id_in=forward.channel_in,
        chan_id_out=forward.channel_out,
        amt_in=forward.amount_in_msat // 1_000,
        amt_out=forward.amount_out_msat // 1_000,
        fee=fee_msat // 1_000,
        fee_msat=fee_msat,
        amt_in_msat=forward.amount_in_msat,
        amt_out_msat=forward.amount_out_msat,
        timestamp_ns=forward.at_ns,
    )


def channel_message(channel: Channel, node: str, graph: Graph) -> lightning_pb2.Channel:
    """A channel from `node`'s side, in whole satoshis rounded down as lnd does."""
    remote = channel.other(node)
    pending = list(channel.pending.values())
    htlcs = [_pending_htlc(htlc, node) for htlc in pending]
    fee_sat = commitment_fee_sat(channel)
    return lightning_pb2.Channel(
        # A peer that has closed it alone says nothing: the link looks up until the chain tells.
        active=channel.is_linked,
        remote_pubkey=graph.public_key_of(remote),
        channel_point=str(channel.funding),
        chan_id=channel.channel_id,
        capacity=channel.capacity_msat // 1_000,
        local_balance=shown_sat(channel, node),
        remote_balance=shown_sat(channel, remote),
        commit_fee=fee_sat,
        commit_weight=COMMITMENT_SHOWN_WEIGHT + COMMITMENT_HTLC_WEIGHT * output_count(channel),
        fee_per_kw=COMMITMENT_SAT_PER_KW,
        unsettled_balance=sum(htlc.amount for htlc in htlcs),
        pending_htlcs=htlcs,
        csv_delay=CSV_BLOCKS,
        private=channel.private,
        initiator=channel.opener == node,
        chan_status_flags="ChanStatusDefault",
        commitment_type=lightning_pb2.ANCHORS,
        push_amount_sat=channel.push_sat,
        local_constraints=_constraints(channel),
        remote_constraints=_constraints(channel),
    )


def _constraints(channel: Channel) -> lightning_pb2.ChannelConstraints:
    """Both ends hold each other to the same."""
    return lightning_pb2.ChannelConstraints(
        csv_delay=CSV_BLOCKS,
        chan_reserve_sat=channel.reserve_msat // 1_000,
        dust_limit_sat=DUST_SAT,
        max_pending_amt_msat=channel.capacity_msat - channel.reserve_msat,
        min_htlc_msat=1,
        max_accepted_htlcs=MAX_ACCEPTED_HTLCS,
    )


def attempt_message(
    attempt: Attempt, payment: OutgoingPayment, graph: Graph
) -> lightning_pb2.HTLCAttempt:
    message = lightning_pb2.HTLCAttempt(
        attempt_id=attempt.attempt_id,
        status=lightning_pb2.HTLCAttempt.IN_FLIGHT,
        route=route_message(attempt.route, graph, payment),
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


def route_message(
    route: Route, graph: Graph, payment: OutgoingPayment | None = None
) -> lightning_pb2.Route:
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
    if payment is not None and payment.intent.payment_addr:
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
        locked_in=True,
    )
