"""Paying through LND. Safe to run again at any point: every run asks LND first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from activities.dispatching import Dispatching
from activities.errors import application_error
from activities.heartbeats import WHILE_SENDING_SECONDS, heartbeating, until_shutdown
from fulgurite.budgets.policy import BudgetName, BudgetPolicy, payments_of
from fulgurite.errors import (
    FulguriteError,
    InvalidRequestError,
    NodeError,
    PaymentNotFoundError,
    UnknownNodeError,
    WrongNetworkError,
)
from fulgurite.events.catalogue import OF_PAYMENT, EventType
from fulgurite.identity import Preimage
from fulgurite.money import Msat
from fulgurite.payments.calls import (
    DISPATCH_PAYMENT,
    FOLLOW_PAYMENT,
    Dispatch,
    Dispatched,
    DispatchOutcome,
    Follow,
)
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import Order, PaymentRequest, understand
from fulgurite.payments.states import PaymentStatus
from fulgurite.sealing import SealingKey, UnsealingKey
from nodes.lnd.connection import LndConnection
from nodes.lnd.payments import NodePayment
from nodes.registry import Nodes
from nodes.roles import Role

# A stream that is silent for this long may be dead: ask anew. The answer costs one message.
_ASK_ANEW_SECONDS: Final = 30.0
# A thousand that hang for hours would ask thirty times a second.
_ASK_ANEW_PATIENTLY_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 1.0


class PaymentActivities:
    """Payments of every node whose pay credential this worker holds."""

    def __init__(
        self, nodes: Nodes, key: UnsealingKey, wanted: Callable[[Iterable[EventType], str], bool]
    ) -> None:
        """`wanted`: whether somebody is told of any of these events of a node."""
        self._nodes = nodes
        self._key = key
        self._wanted = wanted

    @activity.defn(name=DISPATCH_PAYMENT.name)
    async def dispatch(self, ask: Dispatch) -> Dispatched:
        """Tracks, sends if LND knows nothing, and listens for `ask.follow_seconds`.

        As a local activity it answers UNCERTAIN where it cannot tell; as an activity of
        the node's queue it raises, so that Temporal retries and shows why.
        Raises InvalidRequestErrors, not to be retried, when nothing moved.
        """
        try:
            async with heartbeating(WHILE_SENDING_SECONDS):
                return await self._dispatch(ask)
        except NodeError as error:
            activity.logger.warning("LND gave no answer", extra={"because": str(error)})
            if not activity.info().is_local:
                raise application_error(error) from error
            return Dispatched(outcome=DispatchOutcome.UNCERTAIN, because=str(error))
        except FulguriteError as error:
            raise application_error(error) from error

    async def _dispatch(self, ask: Dispatch) -> Dispatched:
        order = understand(ask.request)
        try:
            connection = self._nodes.connection(ask.request.node)
        except UnknownNodeError as error:
            if ask.first_task:
                raise
            # Another worker may know the node, and may have dispatched before it died.
            return Dispatched(outcome=DispatchOutcome.NOT_HERE, because=str(error))
        # On the node's queue there is nobody else to ask: a missing file is an error there,
        # to be retried until it is back.
        if activity.info().is_local and not connection.holds(Role.PAY):
            return Dispatched(
                outcome=DispatchOutcome.NOT_HERE,
                because=f"this worker holds no pay macaroon of {connection.name}",
            )
        preimage, refused = None, None
        try:
            _check_network(order, connection)
            preimage = self._open(ask, order)
        except InvalidRequestError as error:
            # Another run, or a worker with another key or configuration, may have sent it.
            refused = error
        threshold_sat = connection.config.approval_above_sat
        of_node = None if threshold_sat is None else Msat.from_sat(threshold_sat)
        thresholds = [
            each for each in (of_node, ask.request.approval_above_msat) if each is not None
        ]
        budgets = _budgets(ask.request, connection)
        ending = await Dispatching(
            self._nodes.payments(connection.name),
            ask,
            order,
            preimage=preimage,
            refused=refused,
            approval_above=min(thresholds, default=None),
            budgets=budgets,
        ).run()
        update = None
        if ending.outcome is DispatchOutcome.FOLLOWED:
            update = (
                update_of(ending.payment, self._key.sealing_key)
                if ending.payment
                else PaymentUpdate(status=PaymentStatus.IN_FLIGHT)
            )
        return Dispatched(
            outcome=ending.outcome,
            update=update,
            sent=ending.sent,
            because=ending.because,
            announce=self._wanted(OF_PAYMENT.values(), connection.name),
            budgets=budgets,
        )

    @activity.defn(name=FOLLOW_PAYMENT.name)
    async def follow(self, ask: Follow) -> PaymentUpdate:
        """Follows a payment that LND has to its verdict, or to `ask.until`.

        Raises NodeErrors, to be retried for ever.
        """
        try:
            async with heartbeating():
                return await until_shutdown(self._follow(ask))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _follow(self, ask: Follow) -> PaymentUpdate:
        node = self._nodes.payments(ask.node)
        latest = PaymentUpdate(status=PaymentStatus.IN_FLIGHT)
        anew_seconds = _ASK_ANEW_PATIENTLY_SECONDS if ask.patient else _ASK_ANEW_SECONDS
        while (seconds := (ask.until - datetime.now(UTC)).total_seconds()) > 0:
            try:
                async with (
                    node.track(ask.payment_hash) as updates,
                    asyncio.timeout(min(seconds, anew_seconds)),
                ):
                    async for payment in updates:
                        if _is_stale(payment, ask):
                            continue
                        latest = update_of(payment, self._key.sealing_key)
                        if latest.terminal:
                            return latest
            except (PaymentNotFoundError, TimeoutError):
                pass
            # NotFound is no verdict, nor is silence, nor the end of a stream: ask again.
            await asyncio.sleep(_PAUSE_SECONDS)
        return latest

    def _open(self, ask: Dispatch, order: Order) -> Preimage | None:
        if ask.request.keysend is None:
            return None
        preimage = self._key.open(ask.request.keysend.sealed_preimage)
        if not preimage.settles(order.payment_hash):
            raise InvalidRequestError("the sealed preimage does not belong to the payment hash")
        return preimage


def update_of(payment: NodePayment, key: SealingKey) -> PaymentUpdate:
    """LND's word as it may leave this process: the preimage sealed."""
    return PaymentUpdate(
        status=payment.status,
        failure_reason=payment.failure_reason,
        payment_index=payment.payment_index,
        amount_msat=payment.amount,
        fee_msat=payment.fee,
        parts=payment.parts,
        attempts=payment.attempts,
        created_at=payment.created_at,
        resolved_at=payment.resolved_at,
        expiry_height=payment.expiry_height,
        sealed_preimage=key.seal(payment.preimage) if payment.preimage else None,
    )


def _budgets(request: PaymentRequest, connection: LndConnection) -> tuple[BudgetName, ...]:
    """All that count it: those that the caller names, and the node's, whoever asks."""
    of_node = connection.config.payment_budget
    name = payments_of(connection.name) if isinstance(of_node, BudgetPolicy) else of_node
    return tuple(dict.fromkeys([*request.budgets, *([name] if name else [])]))


def _check_network(order: Order, connection: LndConnection) -> None:
    if order.network not in {None, connection.config.network}:
        raise WrongNetworkError(
            f"the invoice is for {order.network}, {connection.name} is on "
            f"{connection.config.network}: pay from a node there"
        )


def _is_stale(payment: NodePayment, ask: Follow) -> bool:
    """Whether this is the FAILED of an earlier send, which we know already."""
    return (
        payment.status is PaymentStatus.FAILED
        and ask.last_failed_index is not None
        and ask.is_last_failure(payment.payment_index, payment.created_at)
    )
