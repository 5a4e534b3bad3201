"""Ways around a node: looked for, sent, and followed. `QueryRoutes` and `SendToRouteV2`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from fulgurite.errors import PaymentNotFoundError, RouteNotFoundError, UnexpectedAnswerError
from fulgurite.identity import ChannelId, NodePubkey, PaymentHash
from fulgurite.money import Msat
from fulgurite.rebalances.calls import Attempt
from fulgurite.rebalances.routes import Hop, HtlcFailure, Pair, Route
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.lnd.payments import STREAM_TIMEOUT_SECONDS, NodePayment, node_payment
from nodes.roles import Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.routerrpc import router_pb2, router_pb2_grpc

# What lnd's own payments add to the last hop, so that blocks found meanwhile fail no HTLC.
_PADDING_BLOCKS = 3


@dataclass(frozen=True)
class NodeAttempt:
    """LND's present word on a hash, and on the last HTLC that came back."""

    payment: NodePayment
    failure: HtlcFailure | None


class LndRoutes:
    """Circular routes of one node, by its pay macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.PAY)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._router = router_pb2_grpc.RouterStub(connection.channel())

    async def find(
        self,
        attempt: Attempt,
        *,
        own_key: NodePubkey,
        fee_limit: Msat,
        final_cltv_blocks: int,
        avoid: Iterable[Pair] = (),
    ) -> Route:
        """The best way around that LND knows, by its mission control.

        Raises RouteNotFoundError, NodeErrors.
        """
        request = lightning_pb2.QueryRoutesRequest(
            pub_key=own_key,
            amt_msat=attempt.amount_msat,
            final_cltv_delta=final_cltv_blocks + _PADDING_BLOCKS,
            fee_limit=lightning_pb2.FeeLimit(fixed_msat=fee_limit),
            outgoing_chan_ids=[channel.number for channel in attempt.outgoing_channels],
            last_hop_pubkey=attempt.last_hop.raw() if attempt.last_hop else b"",
            use_mission_control=True,
            ignored_pairs=[
                lightning_pb2.NodePair(**{"from": pair.sender.raw(), "to": pair.receiver.raw()})
                for pair in avoid
            ],
        )
        with domain_errors(self._node):
            answer = await self._lightning.QueryRoutes(
                request, metadata=self._credential, timeout=UNARY_TIMEOUT_SECONDS
            )
        if not answer.routes or len(answer.routes[0].hops) < 2:
            raise RouteNotFoundError(f"{self._node}: LND answered with no route")
        return _route(answer.routes[0])

    async def send(
        self, payment_hash: PaymentHash, route: Route, payment_address: bytes, amount: Msat
    ) -> None:
        """Has LND send one HTLC by this route; returns once it is resolved, either way.

        It can take for ever: leaving ends the call, and nothing else. Raises
        AlreadyExistsError where LND has the hash, and NodeErrors when nobody knows.
        """
        message = router_pb2.SendToRouteRequest(
            payment_hash=payment_hash.raw(), route=_message(route, payment_address, amount)
        )
        with domain_errors(self._node):
            await self._router.SendToRouteV2(
                message, metadata=self._credential, timeout=STREAM_TIMEOUT_SECONDS
            )

    async def pay_self(self, attempt: Attempt, payment_request: str, *, seconds: int) -> None:
        """Has LND find its own ways around; returns once it has taken the payment.

        Raises AlreadyExistsError where LND has the hash, InvalidRequestErrors when it refuses,
        and NodeErrors when nobody knows.
        """
        call = self._router.SendPaymentV2(
            router_pb2.SendPaymentRequest(
                payment_request=payment_request,
                fee_limit_msat=attempt.fee_limit_msat,
                allow_self_payment=True,
                outgoing_chan_ids=[channel.number for channel in attempt.outgoing_channels],
                last_hop_pubkey=attempt.last_hop.raw() if attempt.last_hop else b"",
                timeout_seconds=seconds,
            ),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            with domain_errors(self._node):
                async for _ in call:
                    return
        finally:
            call.cancel()

    async def words(self, payment_hash: PaymentHash) -> AsyncGenerator[NodeAttempt, None]:
        """LND's word on a hash, the present one first, until it is terminal.

        Raises PaymentNotFoundError and NodeErrors while iterating. The stream may go silent:
        whoever listens sets the time.
        """
        call = self._router.TrackPaymentV2(
            router_pb2.TrackPaymentRequest(payment_hash=payment_hash.raw()),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            with domain_errors(self._node):
                async for payment in call:
                    yield NodeAttempt(node_payment(self._node, payment), _last_failure(payment))
        finally:
            call.cancel()

    async def word(self, payment_hash: PaymentHash) -> NodeAttempt | None:
        """LND's present word; None: it does not know the hash. Raises NodeErrors."""
        try:
            async with aclosing(self.words(payment_hash)) as words:
                async for said in words:
                    return said
        except PaymentNotFoundError:
            return None
        raise UnexpectedAnswerError(f"{self._node}: a payment's stream ended without a word")


def _route(told: lightning_pb2.Route) -> Route:
    return Route(
        total_msat=Msat(told.total_amt_msat),
        expiry_height=told.total_time_lock,
        hops=tuple(
            Hop(
                channel_id=ChannelId.of_number(hop.chan_id),
                to=NodePubkey(hop.pub_key),
                forward_msat=Msat(hop.amt_to_forward_msat),
                fee_msat=Msat(hop.fee_msat),
                expiry_height=hop.expiry,
            )
            for hop in told.hops
        ),
    )


def _message(route: Route, payment_address: bytes, amount: Msat) -> lightning_pb2.Route:
    hops = [
        lightning_pb2.Hop(
            chan_id=hop.channel_id.number,
            pub_key=hop.to,
            amt_to_forward_msat=hop.forward_msat,
            fee_msat=hop.fee_msat,
            expiry=hop.expiry_height,
        )
        for hop in route.hops
    ]
    # Without it the node would refuse its own HTLC: it proves who knows the invoice. And as
    # long as it asks for all at once, LND takes no second HTLC beside one that is under way.
    hops[-1].mpp_record.CopyFrom(
        lightning_pb2.MPPRecord(payment_addr=payment_address, total_amt_msat=amount)
    )
    return lightning_pb2.Route(
        total_time_lock=route.expiry_height,
        total_amt_msat=route.total_msat,
        total_fees_msat=route.fees_msat,
        hops=hops,
    )


def _last_failure(payment: lightning_pb2.Payment) -> HtlcFailure | None:
    failed = [htlc for htlc in payment.htlcs if htlc.HasField("failure")]
    if not failed:
        return None
    last = max(failed, key=lambda htlc: htlc.attempt_id).failure
    codes = lightning_pb2.Failure.FailureCode
    code = codes.Name(last.code) if last.code in codes.values() else str(last.code)
    return HtlcFailure(code=code, source_index=last.failure_source_index)
