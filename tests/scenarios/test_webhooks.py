"""Webhooks arrive: whoever is down, slow or gone, and whoever else is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from temporalio.client import Client

from activities.events import Announcer
from devnet.house import House
from devnet.receiver import HANG, Delivery, Receiver, new_secret
from fulgurite import ids
from fulgurite.events.catalogue import Event, EventId, EventType, event
from fulgurite.events.delivery import DELIVERY, PAUSES, DeliveryState, DeliveryStatus
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.requests import Settlement
from fulgurite.invoices.states import InvoiceState
from fulgurite.payments.states import PaymentState
from nodes.webhooks.sender import Webhooks
from starter.client import FulguriteClient
from starter.event import Replayed
from workflows import search_attributes

from .merchants import Merchants, delivery, event_id, merchants
from .receiving import being_paid, issued, reaches, to_hold, to_receive
from .telling import SIMULATED_ONLY, to_pay

__all__ = ["merchants"]  # a fixture

# Money goes back to alice between scenarios, which is no news of theirs.
CAROLS = {"nodes": ("carol",)}

SETTLED, ACCEPTED = EventType.INVOICE_SETTLED, EventType.INVOICE_ACCEPTED


async def paid(home: House, client: FulguriteClient) -> PaymentHash:
    """An invoice that has just been settled: `invoice.settled` is on its way."""
    created, _ = await issued(client, to_receive())
    await home.network.nodes["alice"].pay(created.payment_request)
    return created.payment_hash


def about(receiver: Receiver, event: EventId) -> list[Delivery]:
    """Every try of this one; others on the node are told as well."""
    return [each for each in receiver.deliveries if each.id == event]


async def test_an_endpoint_that_was_down_is_told_when_it_is_up(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    receiver = await merchants.open("florist", "invoice.settled", **CAROLS)
    await receiver.__aexit__(None, None, None)
    async with merchants.working(home, temporal):
        settled = event_id(SETTLED, await paid(home, client))
        waiting = await delivery(client, settled, "florist", lambda it: it.next_try_at is not None)
        async with receiver:
            # By itself: the first pause is of seconds.
            receipt = await client.event(settled).receipt()

    assert (waiting.state, waiting.tries) == (DeliveryState.SENDING, 1)
    assert "cannot connect" in waiting.last_problem
    [told] = receipt.deliveries
    assert (told.state, told.tries) == (DeliveryState.DELIVERED, 2)
    # The first came when nobody was there.
    assert [each.taken for each in about(receiver, settled)] == [True]


async def test_an_endpoint_that_wants_no_more_is_left_alone_until_it_is_asked_again(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    gone = await merchants.open("gone", "invoice.settled", **CAROLS)
    beside = await merchants.open("beside", "invoice.settled", **CAROLS)
    gone.answer = 410
    async with merchants.working(home, temporal):
        announced = client.event(event_id(SETTLED, await paid(home, client)))
        await delivery(client, announced.event_id, "gone", lambda it: it.state in DELIVERY.terminal)
        first = await announced.receipt()
        found = await temporal.get_workflow_handle(ids.event_id(announced.event_id)).describe()
        gone.answer = 200
        replayed = await announced.replay(dead_only=True)
        again = await announced.receipt()

    standing = {each.endpoint: (each.state, each.tries) for each in first.deliveries}
    assert standing == {"beside": (DeliveryState.DELIVERED, 1), "gone": (DeliveryState.DEAD, 1)}
    assert found.typed_search_attributes[search_attributes.STATE] == DeliveryState.DEAD
    assert replayed is Replayed.STARTED_AGAIN
    assert {each.state for each in again.deliveries} == {DeliveryState.DELIVERED}
    assert [each.answered for each in about(gone, announced.event_id)] == [410, 200]
    assert [each.answered for each in about(beside, announced.event_id)] == [200]


async def test_who_is_impatient_uses_up_none_of_an_endpoints_tries(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    receiver = await merchants.open("broken", "invoice.settled", **CAROLS)
    receiver.answer = 500
    most = len(PAUSES) + 1
    async with merchants.working(home, temporal):
        announced = client.event(event_id(SETTLED, await paid(home, client)))
        for tries in range(1, most + 1):
            await delivery(client, announced.event_id, "broken", waits_after(tries))
            assert await announced.replay() is Replayed.SENT_NOW
        waiting = await delivery(client, announced.event_id, "broken", waits_after(most + 1))
        receiver.answer = 200
        await announced.replay()
        [told] = (await announced.receipt()).deliveries

    assert waiting.state is DeliveryState.SENDING
    assert "answered 500" in waiting.last_problem
    assert told.state is DeliveryState.DELIVERED
    posts = about(receiver, announced.event_id)
    assert [each.answered for each in posts] == [500] * (most + 1) + [200]
    assert len({each.body for each in posts}) == 1


def waits_after(tries: int) -> Callable[[DeliveryStatus], bool]:
    return lambda status: status.tries == tries and status.next_try_at is not None


async def test_what_arrived_can_be_told_again_under_the_same_id(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    receiver = await merchants.open("forgetful", "invoice.settled", **CAROLS)
    async with merchants.working(home, temporal):
        announced = client.event(event_id(SETTLED, await paid(home, client)))
        await delivery(
            client, announced.event_id, "forgetful", lambda it: it.delivered_at is not None
        )
        left_alone = await announced.replay(dead_only=True)
        told_again = await announced.replay()
        await announced.receipt()

    assert (left_alone, told_again) == (Replayed.LEFT_ALONE, Replayed.STARTED_AGAIN)
    told = about(receiver, announced.event_id)
    assert [each.taken for each in told] == [True, True]
    assert len({each.body for each in told}) == 1


async def test_an_endpoint_that_wants_order_gets_it_and_delays_only_itself(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    orderly = await merchants.open(
        "orderly", "invoice.accepted", "invoice.settled", ordered=True, **CAROLS
    )
    eager = await merchants.open("eager", "invoice.accepted", "invoice.settled", **CAROLS)
    orderly.answer = 503
    async with merchants.working(home, temporal):
        created, invoice = await issued(client, to_hold())
        async with being_paid(home.network.nodes["alice"], created):
            await reaches(invoice, InvoiceState.ACCEPTED)
            await invoice.settle(Settlement(by="ada"))
            await invoice.receipt()
        accepted, settled = (event_id(kind, created.payment_hash) for kind in (ACCEPTED, SETTLED))
        await delivery(client, settled, "eager", lambda it: it.delivered_at is not None)
        await delivery(client, accepted, "orderly", lambda it: it.next_try_at is not None)
        held_back = await delivery(client, settled, "orderly", lambda _: True)
        tried = about(orderly, settled)
        orderly.answer = 200
        await client.event(accepted).replay()
        await client.event(settled).receipt()

    assert (held_back.state, held_back.tries) == (DeliveryState.WAITING, 0)
    assert tried == []
    assert [each for each in orderly.taken if each in {accepted, settled}] == [accepted, settled]
    assert {accepted, settled} <= set(eager.taken)


async def test_an_endpoint_that_hangs_delays_no_other_and_no_payment(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    """With more events for it than it is given at once."""
    slow = await merchants.open("slow", "*", timeout_seconds=60, **CAROLS)
    brisk = await merchants.open("brisk", "invoice.settled", **CAROLS)
    slow.answer = HANG
    async with merchants.working(home, temporal, max_webhooks_at_once=1):
        settled = [event_id(SETTLED, await paid(home, client)) for _ in range(3)]
        for each in settled:
            await delivery(client, each, "brisk", lambda it: it.delivered_at is not None)
        standing = [await delivery(client, each, "slow", lambda _: True) for each in settled]
        invoice = await home.network.nodes["carol"].invoice(1_000_000)
        receipt = await (await client.pay(to_pay(invoice))).receipt()
        slow.answer = 200
        # Ends what hangs, as its own time would a minute later.
        await slow.__aexit__(None, None, None)

    assert receipt.status is PaymentState.SUCCEEDED
    assert set(settled) <= set(brisk.taken)
    assert slow.taken == {}
    assert {each.state for each in standing} == {DeliveryState.SENDING}


async def test_secrets_change_without_a_webhook_that_is_not_believed(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    """Both are in the file while the receiver changes; it is read at each send."""
    receiver = await merchants.open("careful", "invoice.settled", **CAROLS)
    [old] = receiver.secrets
    new = new_secret()
    async with merchants.working(home, temporal):
        for known, written in ((old, [new, old]), (new, [new, old]), (new, [new])):
            receiver.secrets = [known]
            merchants.secret_path("careful").write_text("\n".join(written))
            settled = event_id(SETTLED, await paid(home, client))
            await delivery(client, settled, "careful", lambda it: it.tries > 0)
            await client.event(settled).receipt()
            assert [each.taken for each in about(receiver, settled)] == [True]


@SIMULATED_ONLY
async def test_order_looks_through_what_went_to_others_only(
    home: House, client: FulguriteClient, temporal: Client, merchants: Merchants
) -> None:
    """The one in between has long been told to whom it concerns."""
    deaf = await merchants.open("deaf", "invoice.settled", ordered=True, **CAROLS)
    await merchants.open("other", "invoice.canceled", **CAROLS)
    deaf.answer = 500
    first, between = story(SETTLED)
    between = between.model_copy(update={"type": EventType.INVOICE_CANCELED})
    _, last = story(SETTLED)
    last = last.model_copy(update={"after": between.id})
    webhooks = Webhooks(merchants.configs)
    announcer = Announcer(temporal, webhooks)
    async with merchants.working(home, temporal):
        await announcer.emit(first)
        await announcer.emit(between)
        await client.event(between.id).receipt()
        await announcer.emit(last)
        await delivery(client, first.id, "deaf", lambda it: it.next_try_at is not None)
        held_back = await delivery(client, last.id, "deaf", lambda _: True)
        deaf.answer = 200
        await client.event(first.id).replay()
        await client.event(last.id).receipt()

    assert held_back.state is DeliveryState.WAITING
    assert list(deaf.taken) == [first.id, last.id]


@SIMULATED_ONLY
async def test_those_who_wait_for_their_turn_at_a_deaf_endpoint_are_in_nobodys_way(
    client: FulguriteClient, temporal: Client, home: House, merchants: Merchants
) -> None:
    """However many they are: who waits holds nothing that others need."""
    deaf = await merchants.open("deaf", "invoice.settled", ordered=True, **CAROLS)
    await merchants.open("diligent", "invoice.canceled", ordered=True, **CAROLS)
    deaf.answer = 500
    announcer = Announcer(temporal, Webhooks(merchants.configs))
    room = 20
    async with merchants.working(home, temporal, max_followed_payments=room):
        stories = [story(EventType.INVOICE_SETTLED) for _ in range(room + 5)]
        for first, second in stories:
            await asyncio.gather(announcer.emit(first), announcer.emit(second))
        first, second = story(EventType.INVOICE_CANCELED)
        await announcer.emit(first)
        await announcer.emit(second)
        receipt = await asyncio.wait_for(client.event(second.id).receipt(), 30)

    assert [each.state for each in receipt.deliveries] == [DeliveryState.DELIVERED]


def story(kind: EventType) -> tuple[Event, Event]:
    """Two events of one resource, of which one came after the other."""
    payment_hash, now = Preimage.generate().hash(), datetime.now(UTC)
    receipt = InvoiceReceipt(
        status=InvoiceState.SETTLED,
        payment_hash=payment_hash,
        node="carol",
        created_at=now,
        expires_at=now,
    )

    def happened(subject: str, after: str | None) -> Event:
        resource = ids.invoice_id(payment_hash)
        return event(
            kind,
            receipt,
            subject=subject,
            resource=resource,
            node="carol",
            timestamp=now,
            after=after,
        )

    first = happened(f"{payment_hash}-1", None)
    return first, happened(f"{payment_hash}-2", first.id)
