"""What becomes of HTLCs, as lnd tells it to those who subscribe to all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from devnet.simulated.htlcs import FailureCode
from devnet.simulated.invoice_database import InvoiceHtlc
from protos.routerrpc import router_pb2

Detail = router_pb2.FailureDetail


@dataclass(frozen=True)
class Refusal:
    """Why a payee sends an HTLC back: what it tells the payer, and what its own operator."""

    code: FailureCode.ValueType
    detail: Detail.ValueType
    text: str


def _refusal(detail: Detail.ValueType, text: str) -> Refusal:
    # Whatever is wrong, the payer reads the same: nobody shall find out invoices by trying.
    return Refusal(FailureCode.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS, detail, text)


INVOICE_NOT_FOUND = _refusal(router_pb2.UNKNOWN_INVOICE, "invoice not found")
INVOICE_NOT_OPEN = _refusal(router_pb2.INVOICE_NOT_OPEN, "invoice no longer open")
CANCELED = _refusal(router_pb2.INVOICE_CANCELED, "canceled")
ADDRESS_MISMATCH = _refusal(router_pb2.ADDRESS_MISMATCH, "payment address mismatch")
TOTAL_TOO_LOW = _refusal(router_pb2.SET_TOTAL_TOO_LOW, "set total too low for invoice")
TOTAL_MISMATCH = _refusal(router_pb2.SET_TOTAL_MISMATCH, "htlc total amt doesn't match set total")
EXPIRY_TOO_SOON = _refusal(router_pb2.INVOICE_EXPIRY_TOO_SOON, "expiry too soon")
MPP_TIMEOUT = Refusal(FailureCode.MPP_TIMEOUT, router_pb2.MPP_INVOICE_TIMEOUT, "mpp timeout")


class HtlcEvents:
    """SubscribeHtlcEvents at one node, for the HTLCs that it receives.

    lnd tells of those that it sends and forwards too; nobody here asks for them. Nothing is
    kept: who does not listen will never know.
    """

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[router_pb2.HtlcEvent]] = set()

    async def follow(self) -> AsyncIterator[router_pb2.HtlcEvent]:
        """The events from now on, first of all that the subscription stands."""
        events: asyncio.Queue[router_pb2.HtlcEvent] = asyncio.Queue()
        self._listeners.add(events)
        try:
            yield router_pb2.HtlcEvent(subscribed_event=router_pb2.SubscribedEvent())
            while True:
                yield await events.get()
        finally:
            self._listeners.discard(events)

    def settled(self, htlc: InvoiceHtlc, preimage: bytes) -> None:
        event = router_pb2.HtlcEvent(
            event_type=router_pb2.HtlcEvent.RECEIVE,
            settle_event=router_pb2.SettleEvent(preimage=preimage),
        )
        self._tell(htlc, event, settled=True)

    def sent_back(self, htlc: InvoiceHtlc, refusal: Refusal) -> None:
        info = router_pb2.HtlcInfo(
            incoming_timelock=htlc.expiry_height, incoming_amt_msat=htlc.amount_msat
        )
        event = router_pb2.HtlcEvent(
            event_type=router_pb2.HtlcEvent.RECEIVE,
            link_fail_event=router_pb2.LinkFailEvent(
                info=info,
                wire_failure=refusal.code,
                failure_detail=refusal.detail,
                failure_string=refusal.text,
            ),
        )
        self._tell(htlc, event, settled=False)

    def _tell(self, htlc: InvoiceHtlc, event: router_pb2.HtlcEvent, *, settled: bool) -> None:
        # The last word comes without a type once both ends have forgotten the HTLC.
        final = router_pb2.HtlcEvent(
            final_htlc_event=router_pb2.FinalHtlcEvent(settled=settled, offchain=True)
        )
        for told in (event, final):
            told.incoming_channel_id = htlc.channel_id
            told.incoming_htlc_id = htlc.htlc_index
            told.timestamp_ns = time.time_ns()
            for listener in self._listeners:
                listener.put_nowait(told)
