"""What an invoice's workflow asks of LND. Everything here is repeated until LND has answered."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

from fulgurite import ids
from fulgurite.invoices.calls import (
    CANCEL_INVOICE,
    LOOK_UP_INVOICE,
    SETTLE_INVOICE,
    WATCH_INVOICE,
    InvoiceOf,
    Settle,
    Watch,
    Watched,
)
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.sealing import Sealed
from workflows.calling import start_on

_UNARY_AT_MOST = timedelta(minutes=1)
# How long one activity watches before the workflow takes stock.
_WATCH = timedelta(hours=6)


async def look_up(invoice: InvoiceOf) -> InvoiceUpdate:
    """LND's present word."""
    return await start_on(
        ids.invoice_queue(invoice.node),
        LOOK_UP_INVOICE,
        invoice,
        at_most=_UNARY_AT_MOST,
        summary="look up",
    )


async def look_up_with_tip(invoice: InvoiceOf) -> Watched:
    """LND's present word, and the tip as the node sees it."""
    return await start_on(
        ids.invoice_queue(invoice.node),
        WATCH_INVOICE,
        Watch(
            **dict(invoice),
            state=LndInvoiceState.ACCEPTED,
            until=workflow.now(),
        ),
        at_most=_UNARY_AT_MOST,
        summary="look up, with the tip",
    )


async def settle(invoice: InvoiceOf, sealed_preimage: Sealed) -> InvoiceUpdate:
    """LND's word after it was told to take the money.

    Raises ActivityError, a `refusal`, when the preimage is not the invoice's.
    """
    return await start_on(
        ids.invoice_queue(invoice.node),
        SETTLE_INVOICE,
        Settle(**dict(invoice), sealed_preimage=sealed_preimage),
        at_most=_UNARY_AT_MOST,
        summary="settle",
    )


async def cancel(invoice: InvoiceOf) -> InvoiceUpdate:
    """LND's word after it was told to send back what is held, and to take nothing more."""
    return await start_on(
        ids.invoice_queue(invoice.node),
        CANCEL_INVOICE,
        invoice,
        at_most=_UNARY_AT_MOST,
        summary="cancel",
    )


async def next_word(
    invoice: InvoiceOf, state: LndInvoiceState, until: datetime, until_height: int | None
) -> InvoiceUpdate | None:
    """LND's word once it is no longer `state`; None when the time or the height came first."""
    held = state is LndInvoiceState.ACCEPTED
    while workflow.now() < until:
        watched = await start_on(
            (ids.held_watch_queue if held else ids.open_watch_queue)(invoice.node),
            WATCH_INVOICE,
            Watch(
                **dict(invoice),
                state=state,
                until=min(until, workflow.now() + _WATCH),
                until_height=until_height,
            ),
            at_most=_WATCH + timedelta(hours=1),
            summary=f"until it is no longer {state}",
        )
        if watched.update.state is not state:
            return watched.update
        if until_height is not None and watched.height >= until_height:
            return None
    return None
