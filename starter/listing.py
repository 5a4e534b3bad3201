"""What Temporal's index knows: cheap, and some moments behind."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter, ValidationError
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey

from fulgurite import ids
from fulgurite.channels.states import CloseState
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType
from fulgurite.events.delivery import DeliveryState
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.invoices.states import InvoiceState
from fulgurite.leases.states import LeaseState
from fulgurite.money import MSAT_PER_SAT, Msat
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.rebalances.states import RebalanceState
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.states import SwapState
from starter.summaries import (
    CloseSummary,
    EventState,
    EventSummary,
    InvoiceSummary,
    LadderSummary,
    LeaseSummary,
    PaymentSummary,
    RebalanceSummary,
    SwapSummary,
)
from workflows import search_attributes

_NODE_NAME: Final[TypeAdapter[str]] = TypeAdapter(NodeName)
_KEY: Final[TypeAdapter[str]] = TypeAdapter(Key)


def payments(state: PaymentState | None, node: str | None) -> str:
    """The visibility query for payments. Only words with a known alphabet get into its quotes."""
    terms = [_of_type("PaymentWorkflow")]
    if state is not None:
        of_state = _equals(search_attributes.STATE, PaymentState(state))
        refused = "ExecutionStatus = 'Failed'"
        terms.append(refused if state is PaymentState.REFUSED else f"{of_state} AND NOT {refused}")
    return _all(*terms, *_at(node))


def invoices(state: InvoiceState | None, node: str | None) -> str:
    """The visibility query for invoices."""
    terms = [_of_type("InvoiceWorkflow"), *_at(node)]
    if state is not None:
        terms.append(_equals(search_attributes.STATE, InvoiceState(state)))
    return _all(*terms)


def ladders(state: LadderState | None, node: str | None, *, under_way: bool) -> str:
    """The visibility query for the ladders of stuck payments."""
    return _standing("StuckPaymentWorkflow", LadderState, state, node, under_way=under_way)


def closes(state: CloseState | None, node: str | None, *, under_way: bool) -> str:
    """The visibility query for channels' closings."""
    return _standing("ChannelCloseWorkflow", CloseState, state, node, under_way=under_way)


def swaps(state: SwapState | None, node: str | None, *, under_way: bool) -> str:
    """The visibility query for swaps."""
    return _standing("SwapWorkflow", SwapState, state, node, under_way=under_way)


def leases(state: LeaseState | None, node: str | None, *, under_way: bool) -> str:
    """The visibility query for leases."""
    return _standing("LeaseWorkflow", LeaseState, state, node, under_way=under_way)


def rebalances(state: RebalanceState | None, node: str | None, *, under_way: bool) -> str:
    """The visibility query for rebalances."""
    return _standing("RebalanceWorkflow", RebalanceState, state, node, under_way=under_way)


def ended_invoices(node: str | None) -> str:
    """Invoices whose workflow has a result."""
    return _all(_of_type("InvoiceWorkflow"), "ExecutionStatus = 'Completed'", *_at(node))


def invoices_of_key(key: str) -> str:
    """The invoice of a caller's key. Raises InvalidRequestError for what can be no key."""
    try:
        known = _KEY.validate_python(key)
    except ValidationError as error:
        raise InvalidRequestError(
            "a key is 1 to 100 letters, digits and . _ : @ -; a payment hash is 64 hex characters"
        ) from error
    return _all(_of_type("InvoiceWorkflow"), _equals(search_attributes.KEY, known))


def events(
    kind: EventType | None,
    state: EventState | None,
    since: datetime | None,
    until: datetime | None,
) -> str:
    """The visibility query for events; replayed ones come once for each run."""
    terms = [_of_type("EventWorkflow")]
    if kind is not None:
        terms.append(_equals(search_attributes.EVENT_TYPE, EventType(kind)))
    if state is not None:
        # The state is written once more only when a delivery is dead.
        dead = _equals(search_attributes.STATE, DeliveryState.DEAD)
        by_force = " AND ".join(f"ExecutionStatus != '{each}'" for each in ("Running", "Completed"))
        terms += {
            EventState.SENDING: [f"NOT {dead}", "ExecutionStatus = 'Running'"],
            EventState.DELIVERED: [f"NOT {dead}", "ExecutionStatus = 'Completed'"],
            EventState.DEAD: [f"({dead} OR ({by_force}))"],
        }[state]
    if since is not None:
        terms.append(f"StartTime >= '{_time(since)}'")
    if until is not None:
        terms.append(f"StartTime < '{_time(until)}'")
    return _all(*terms)


def budgets() -> str:
    """The visibility query for budgets, each by its run that is under way."""
    return _all(_of_type("BudgetWorkflow"), "ExecutionStatus = 'Running'")


def payment_summary(execution: WorkflowExecution) -> PaymentSummary:
    destination = _word(execution, search_attributes.DESTINATION)
    amount = execution.typed_search_attributes.get(search_attributes.AMOUNT_MSAT)
    return PaymentSummary(
        payment_hash=ids.hash_of_payment_id(execution.id),
        state=PaymentState(_word(execution, search_attributes.STATE) or PaymentState.REQUESTED),
        workflow_status=_status(execution).name,
        node=_word(execution, search_attributes.NODE),
        destination=NodePubkey(destination) if destination else None,
        amount_msat=None if amount is None else Msat(amount),
        failure_reason=FailureReason(
            _word(execution, search_attributes.FAILURE_REASON) or FailureReason.NONE
        ),
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


def invoice_summary(execution: WorkflowExecution) -> InvoiceSummary:
    amount = execution.typed_search_attributes.get(search_attributes.AMOUNT_MSAT)
    return InvoiceSummary(
        payment_hash=PaymentHash(execution.id.removeprefix("invoice/")),
        key=_word(execution, search_attributes.KEY),
        state=InvoiceState(_word(execution, search_attributes.STATE) or InvoiceState.OPEN),
        workflow_status=_status(execution).name,
        node=_word(execution, search_attributes.NODE),
        amount_msat=Msat(amount) if amount else None,
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


def ladder_summary(execution: WorkflowExecution) -> LadderSummary | None:
    """None: refused for its id, it is a ladder's workflow and no ladder."""
    try:
        payment_hash = PaymentHash(execution.id.removeprefix("stuck/"))
    except ValueError:
        return None
    return LadderSummary(
        payment_hash=payment_hash,
        state=LadderState(_word(execution, search_attributes.STATE) or LadderState.LOOKING),
        workflow_status=_status(execution).name,
        node=_word(execution, search_attributes.NODE),
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


def close_summary(execution: WorkflowExecution) -> CloseSummary | None:
    """None: refused for its id, it is a closing's workflow and no closing."""
    try:
        channel_point = ChannelPoint(execution.id.removeprefix("close/").partition("/")[0])
    except ValueError:
        return None
    return CloseSummary(
        channel_point=channel_point,
        workflow_id=execution.id,
        state=CloseState(_word(execution, search_attributes.STATE) or CloseState.REQUESTED),
        workflow_status=_status(execution).name,
        node=_word(execution, search_attributes.NODE),
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


def swap_summary(execution: WorkflowExecution) -> SwapSummary | None:
    """None: refused for its id, it is a swap's workflow and no swap."""
    amount = execution.typed_search_attributes.get(search_attributes.AMOUNT_MSAT)
    try:
        return SwapSummary(
            key=execution.id.removeprefix("swap/"),
            state=SwapState(_word(execution, search_attributes.STATE) or SwapState.QUOTING),
            workflow_status=_status(execution).name,
            node=_word(execution, search_attributes.NODE),
            amount_sat=None if amount is None else amount // MSAT_PER_SAT,
            started_at=execution.start_time,
            closed_at=execution.close_time,
        )
    except ValidationError:
        return None


def lease_summary(execution: WorkflowExecution) -> LeaseSummary | None:
    """None: refused for its id or its key, it is a lease's workflow and no lease."""
    amount = execution.typed_search_attributes.get(search_attributes.AMOUNT_MSAT)
    try:
        return LeaseSummary(
            key=execution.id.removeprefix("lease/"),
            state=LeaseState(_word(execution, search_attributes.STATE) or LeaseState.QUOTING),
            workflow_status=_status(execution).name,
            node=_word(execution, search_attributes.NODE),
            amount_msat=None if amount is None else Msat(amount),
            started_at=execution.start_time,
            closed_at=execution.close_time,
        )
    except ValidationError:
        return None


def rebalance_summary(execution: WorkflowExecution) -> RebalanceSummary | None:
    """None: refused for its id, it is a rebalance's workflow and no rebalance."""
    state = _word(execution, search_attributes.STATE) or RebalanceState.REQUESTED
    try:
        return RebalanceSummary(
            key=execution.id.removeprefix("rebalance/"),
            state=RebalanceState(state),
            workflow_status=_status(execution).name,
            node=_word(execution, search_attributes.NODE),
            started_at=execution.start_time,
            closed_at=execution.close_time,
        )
    except ValidationError:
        return None


def event_summary(execution: WorkflowExecution) -> EventSummary:
    kind = _word(execution, search_attributes.EVENT_TYPE)
    payment_hash = _word(execution, search_attributes.PAYMENT_HASH)
    return EventSummary(
        id=execution.id.removeprefix("event/"),
        type=EventType(kind) if kind else None,
        state=event_state(execution),
        workflow_status=_status(execution).name,
        node=_word(execution, search_attributes.NODE),
        payment_hash=PaymentHash(payment_hash) if payment_hash else None,
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


def event_state(execution: WorkflowExecution) -> EventState:
    """As the query above has it."""
    if _word(execution, search_attributes.STATE) == DeliveryState.DEAD:
        return EventState.DEAD
    match _status(execution):
        case WorkflowExecutionStatus.RUNNING:
            return EventState.SENDING
        case WorkflowExecutionStatus.COMPLETED:
            return EventState.DELIVERED
        case _:
            return EventState.DEAD


def _standing(
    workflow: str, states: type[StrEnum], state: str | None, node: str | None, *, under_way: bool
) -> str:
    """Those of a kind; of a state, of a node, or that have not ended, where that is asked."""
    of_state = [] if state is None else [_equals(search_attributes.STATE, states(state))]
    running = ["ExecutionStatus = 'Running'"] if under_way else []
    return _all(_of_type(workflow), *_at(node), *of_state, *running)


def _all(*terms: str) -> str:
    return " AND ".join(terms)


def _of_type(workflow: str) -> str:
    # A run that went on in a new one is not another payment, invoice or event.
    return f"WorkflowType = '{workflow}' AND ExecutionStatus != 'ContinuedAsNew'"


def _equals(key: SearchAttributeKey[str], word: str) -> str:
    return f"{key.name} = '{word}'"


def _at(node: str | None) -> list[str]:
    if node is None:
        return []
    try:
        return [_equals(search_attributes.NODE, _NODE_NAME.validate_python(node))]
    except ValidationError as error:
        raise InvalidRequestError(
            "a node's name is lower-case letters, digits, - and _, and begins with a letter"
        ) from error


def _time(at: datetime) -> str:
    """Raises InvalidRequestError for a time without a zone, which could be anybody's."""
    if at.tzinfo is None:
        raise InvalidRequestError("a time needs its zone: 2026-01-31T12:00:00Z")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(execution: WorkflowExecution, key: SearchAttributeKey[str]) -> str | None:
    return execution.typed_search_attributes.get(key)


def _status(execution: WorkflowExecution) -> WorkflowExecutionStatus:
    return execution.status or WorkflowExecutionStatus.RUNNING
