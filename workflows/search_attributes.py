"""The attributes of `fulgurite.attributes` in Temporal's types."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from fulgurite import attributes
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.relays.requests import Plan
from fulgurite.relays.states import RelayState

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
