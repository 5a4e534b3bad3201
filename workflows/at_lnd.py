"""What an invoice's workflow asks of LND. Everything here is repeated until LND has answered."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

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
from workflows.calling import nobody_came, start_on

_UNARY_AT_MOST = timedelta(minutes=1)
# How long one activity watches before the workflow takes stock.
_WATCH = timedelta(hours=6)

# A worker has some places to watch from, and any number of invoices can be held. Who finds no
# place takes a look, which needs none, after so long for each block that is left. A block takes
# ten minutes, and the height that is waited for is four blocks ahead of the limit: that is
# room for any burst.
_LOOK_A_BLOCK = timedelta(minutes=2)
# As long as a watch waits for a tip that cannot be read. Then the decision is due.
_IN_THE_DARK = timedelta(minutes=10)


async def look_up(invoice: InvoiceOf) -> InvoiceUpdate:
    """LND's present word."""
    return await start_on(
        ids.invoice_queue(invoice.node),
        LOOK_UP_INVOICE,
        invoice,
        at_most=_UNARY_AT_MOST,
        summary="look up",
    )


async def look_up_with_tip(invoice: InvoiceOf, until_height: int | None = None) -> Watched:
    """LND's present word, and the tip as the node sees it.

    `until_height`: the height is 0 where it cannot be read, and no reason to ask again.
    """
    return await start_on(
        ids.invoice_queue(invoice.node),
        WATCH_INVOICE,
        Watch(
            **dict(invoice),
            state=LndInvoiceState.ACCEPTED,
            until=workflow.now(),
            until_height=until_height,
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
    blocks_left, dark_since = 1, None
    while workflow.now() < until:
        try:
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
                start_within=None if until_height is None else blocks_left * _LOOK_A_BLOCK,
                summary=f"until it is no longer {state}",
            )
        except ActivityError as error:
            if not nobody_came(error):
                raise
            watched = await look_up_with_tip(invoice, until_height)
        if watched.update.state is not state:
            return watched.update
        if until_height is None:
            continue
        if watched.height >= until_height:
            return None
        if watched.height:
            blocks_left, dark_since = until_height - watched.height, None
        else:
            blocks_left, dark_since = 1, dark_since or workflow.now()
            if workflow.now() - dark_since >= _IN_THE_DARK:
                return None
    return None
