"""What an invoice's workflows ask of the world."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate, InvoiceView
from fulgurite.invoices.requests import EndpointName, InvoiceRequest, Verdict
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.model import Model
from fulgurite.sealing import Sealed


class InvoiceOf(Model):
    """One invoice of one node."""

    node: NodeName
    payment_hash: PaymentHash
    payee: NodePubkey | None = Field(
        default=None,
        description="who wrote it: what this very node no longer knows, it has canceled and "
        "deleted. null: what is not known is asked for again",
    )


class Watch(InvoiceOf):
    """Follow a hold invoice until it leaves `state`, or until it must be decided.

    lnd streams neither ACCEPTED nor CANCELED to those who subscribe to all invoices.
    """

    state: LndInvoiceState
    until: datetime
    until_height: int | None = Field(
        default=None, description="also come back when the chain's tip is here"
    )


class Watched(Model):
    """LND's word when the watch ended."""

    update: InvoiceUpdate
    height: int = Field(
        default=0,
        description="the tip, as the node sees it; 0: nobody had to know; where it could not be "
        "read for long, the height that was waited for",
    )


class Settle(InvoiceOf):
    """Take the money of a held invoice."""

    sealed_preimage: Sealed


class Asking(Model):
    """Ask an endpoint what to do with a held invoice."""

    endpoint: EndpointName
    view: InvoiceView


class Decided(Model):
    """The endpoint's answer; null: it did not say."""

    verdict: Verdict | None = None


CREATE_INVOICE = Call("invoice.create", InvoiceRequest, CreatedInvoice)
LOOK_UP_INVOICE = Call("invoice.look_up", InvoiceOf, InvoiceUpdate)
WATCH_INVOICE = Call("invoice.watch", Watch, Watched)
SETTLE_INVOICE = Call("invoice.settle", Settle, InvoiceUpdate)
CANCEL_INVOICE = Call("invoice.cancel", InvoiceOf, InvoiceUpdate)
ASK_CALLBACK = Call("invoice.ask", Asking, Decided)
