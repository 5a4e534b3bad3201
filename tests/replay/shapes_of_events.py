"""The courses that the telling of an event can take."""

from __future__ import annotations

import json

from devnet.receiver import HANG, Receiver
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.events.catalogue import EventType
from fulgurite.events.delivery import DELIVERY, DeliveryState
from fulgurite.identity import PaymentHash
from fulgurite.invoices.requests import Settlement
from starter.errors import NotRetainedError
from starter.event import Announcement
from tests.replay.recording import Recording, Shape
from tests.replay.shapes_of_invoices import held, issued


async def _told(on: Recording) -> None:
    async with on.merchant() as (_, settings), on.worker(settings):
        announced = await _of_a_payment(on)
        await announced.receipt()


async def _retried(on: Recording) -> None:
    async with on.merchant() as (merchant, settings), on.worker(settings):
        merchant.answer = 503
        announced = await _of_a_payment(on)
        await _tried(announced, 1)
        await announced.replay()
        await _tried(announced, 2)
        merchant.answer = 200
        await announced.replay()
        await announced.receipt()


async def _outlived_its_worker(on: Recording) -> None:
    async with on.merchant() as (merchant, settings):
        merchant.answer = HANG
        config = settings.webhooks["merchant"]
        of_merchant = {
            "URL": config.url,
            "SECRET_PATH": str(config.secret_path),
            "ALLOW_NETWORKS": json.dumps([str(each) for each in config.allow_networks]),
        }
        told = {f"FULGURITE_WEBHOOKS__MERCHANT__{key}": is_ for key, is_ in of_merchant.items()}
        async with on.house.worker("doomed", **told) as doomed:
            announced = await _of_a_payment(on)
            await _asked(merchant)
            await doomed.kill()
        merchant.answer = 200
        async with on.worker(settings):
            await announced.receipt()


async def _gone(on: Recording) -> None:
    async with on.merchant() as (merchant, settings), on.worker(settings):
        merchant.answer = 410
        announced = await _of_a_payment(on)
        await announced.receipt()


async def _replayed(on: Recording) -> None:
    async with on.merchant() as (_, settings), on.worker(settings):
        announced = await _of_a_payment(on)
        await announced.receipt()
        await announced.replay(endpoint="merchant")
        await announced.receipt()


async def _first_in_order(on: Recording) -> None:
    await _in_order(on, EventType.INVOICE_ACCEPTED)


async def _second_in_order(on: Recording) -> None:
    await _in_order(on, EventType.INVOICE_SETTLED)


async def _in_order(on: Recording, kept: EventType) -> None:
    async with on.merchant(ordered=True) as (merchant, settings), on.worker(settings):
        merchant.answer = 503
        async with held(on) as invoice:
            await invoice.settle(Settlement(by="ada"))
        first = _announcement(on, EventType.INVOICE_ACCEPTED, invoice.payment_hash)
        second = _announcement(on, EventType.INVOICE_SETTLED, invoice.payment_hash)
        await _tried(first, 1)
        await _stands(second, DeliveryState.WAITING)
        merchant.answer = 200
        await first.replay()
        await second.receipt()
        on.keep(ids.event_id((first if kept is EventType.INVOICE_ACCEPTED else second).event_id))


async def _asked(merchant: Receiver) -> None:
    async def ask() -> int:
        return len(merchant.deliveries)

    await eventually(ask, what="a webhook at the merchant")


async def _of_a_payment(on: Recording) -> Announcement:
    """An invoice is settled; the history of that event is kept."""
    created, _ = await issued(on)
    await on.alice.pay(created.payment_request)
    announced = _announcement(on, EventType.INVOICE_SETTLED, created.payment_hash)
    on.keep(ids.event_id(announced.event_id))
    await _stands(announced, *DELIVERY.states)
    return announced


def _announcement(on: Recording, kind: EventType, payment_hash: PaymentHash) -> Announcement:
    return on.client.event(f"{kind.replace('.', '-')}-{payment_hash}")


async def _stands(announced: Announcement, *states: DeliveryState) -> None:
    async def ask() -> DeliveryState | None:
        try:
            return (await announced.view()).deliveries[0].state
        except NotRetainedError:
            return None  # it has not happened yet

    await eventually(ask, lambda state: state in states, what=f"{announced} in {states}")


async def _tried(announced: Announcement, tries: int) -> None:
    async def ask() -> tuple[int, bool]:
        try:
            [status] = (await announced.view()).deliveries
        except NotRetainedError:
            return 0, False
        return status.tries, status.next_try_at is not None

    await eventually(ask, lambda stands: stands == (tries, True), what=f"{announced} tried {tries}")


SHAPES = (
    Shape("event-told", _told),
    Shape("event-retried", _retried),
    Shape("event-outlived-its-worker", _outlived_its_worker),
    Shape("event-gone", _gone),
    Shape("event-replayed", _replayed),
    Shape("event-first-in-order", _first_in_order),
    Shape("event-second-in-order", _second_in_order),
)
