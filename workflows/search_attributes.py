"""The attributes of `fulgurite.attributes` in Temporal's types."""

from __future__ import annotations

from typing import Any

from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

from fulgurite import attributes
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LeaseState
from fulgurite.money import MSAT_PER_SAT
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceState
from fulgurite.relays.requests import Plan
from fulgurite.relays.states import RelayState
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.sequence import SequenceState
from fulgurite.swaps.sequence_requests import SwapSequenceRequest
from fulgurite.swaps.states import SwapState

STATE = SearchAttributeKey.for_keyword(attributes.STATE)
NODE = SearchAttributeKey.for_keyword(attributes.NODE)
PAYMENT_HASH = SearchAttributeKey.for_keyword(attributes.PAYMENT_HASH)
DESTINATION = SearchAttributeKey.for_keyword(attributes.DESTINATION)
AMOUNT_MSAT = SearchAttributeKey.for_int(attributes.AMOUNT_MSAT)
FAILURE_REASON = SearchAttributeKey.for_keyword(attributes.FAILURE_REASON)
KEY = SearchAttributeKey.for_keyword(attributes.KEY)
EVENT_TYPE = SearchAttributeKey.for_keyword(attributes.EVENT_TYPE)


def of_request(request: PaymentRequest, order: Order) -> TypedSearchAttributes:
    """What a payment is started with. The state follows when it leaves the fast path."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(STATE, PaymentState.REQUESTED),
            SearchAttributePair(NODE, request.node),
            SearchAttributePair(PAYMENT_HASH, order.payment_hash),
            SearchAttributePair(DESTINATION, order.destination),
            SearchAttributePair(AMOUNT_MSAT, order.amount),
            SearchAttributePair(FAILURE_REASON, FailureReason.NONE),
        ]
    )


def of_invoice_request(request: InvoiceRequest) -> TypedSearchAttributes:
    """What the making of an invoice is started with."""
    return TypedSearchAttributes(
        [SearchAttributePair(NODE, request.node), SearchAttributePair(KEY, request.key)]
    )


def of_relay(plan: Plan) -> TypedSearchAttributes:
    """What a relay is started with. The node is the one that receives."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(STATE, RelayState.REQUESTED),
            SearchAttributePair(NODE, plan.invoice.node),
            SearchAttributePair(PAYMENT_HASH, plan.payment_hash),
            SearchAttributePair(DESTINATION, plan.order.destination),
            SearchAttributePair(AMOUNT_MSAT, plan.amount),
        ]
    )


def of_ladder(request: StuckRequest, state: LadderState) -> list[SearchAttributeUpdate[Any]]:
    """What a ladder sets for itself: payments, and people, begin it."""
    return [
        STATE.value_set(state),
        NODE.value_set(request.node),
        PAYMENT_HASH.value_set(request.payment_hash),
    ]


def of_lease(request: LeaseRequest, state: LeaseState) -> list[SearchAttributeUpdate[Any]]:
    """What a lease sets for itself: people, and plans, begin it."""
    return [
        STATE.value_set(state),
        NODE.value_set(request.node),
        KEY.value_set(request.key),
        AMOUNT_MSAT.value_set(request.amount_sat * MSAT_PER_SAT),
    ]


def of_rebalance(
    request: RebalanceRequest, state: RebalanceState
) -> list[SearchAttributeUpdate[Any]]:
    """What a rebalance sets for itself: people, and plans, begin it."""
    return [STATE.value_set(state), NODE.value_set(request.node), KEY.value_set(request.key)]


def of_swap(request: SwapRequest, state: SwapState) -> list[SearchAttributeUpdate[Any]]:
    """What a swap sets for itself: people, sequences and plans begin it."""
    return [
        STATE.value_set(state),
        NODE.value_set(request.node),
        KEY.value_set(request.key),
        AMOUNT_MSAT.value_set(request.amount_sat * MSAT_PER_SAT),
    ]


def of_sequence(
    request: SwapSequenceRequest, state: SequenceState
) -> list[SearchAttributeUpdate[Any]]:
    """What a sequence of swaps sets for itself."""
    return [
        STATE.value_set(state),
        NODE.value_set(request.node),
        KEY.value_set(request.key),
        AMOUNT_MSAT.value_set(request.order.amount_sat * MSAT_PER_SAT),
    ]
