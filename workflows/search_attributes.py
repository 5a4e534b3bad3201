"""What operators search payments by. Stored in plain text: nothing secret, ever."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentState

STATE = SearchAttributeKey.for_keyword("FulguriteState")
NODE = SearchAttributeKey.for_keyword("FulguriteNode")
PAYMENT_HASH = SearchAttributeKey.for_keyword("FulguritePaymentHash")
DESTINATION = SearchAttributeKey.for_keyword("FulguriteDestination")
AMOUNT_MSAT = SearchAttributeKey.for_int("FulguriteAmountMsat")
FAILURE_REASON = SearchAttributeKey.for_keyword("FulguriteFailureReason")

# Name → type, for `temporal operator search-attribute create` and for the dev server.
REGISTRY: dict[str, str] = {
    STATE.name: "Keyword",
    NODE.name: "Keyword",
    PAYMENT_HASH.name: "Keyword",
    DESTINATION.name: "Keyword",
    AMOUNT_MSAT.name: "Int",
    FAILURE_REASON.name: "Keyword",
}


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
