"""The typed client: events found, looked at, and told again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from devnet.waiting import eventually
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType
from fulgurite.identity import PaymentHash
from starter.client import FulguriteClient
from starter.errors import NotRetainedError, TemporalUnavailableError, VerdictUnknownError
from starter.event import Announcement, Replayed
from starter.replay import replay_each
from starter.summaries import EventState, EventSummary
from tests.scenarios.telling import SIMULATED_ONLY

from .conftest import Town, states

pytestmark = SIMULATED_ONLY

UNKNOWN = "invoice-settled-nobody"


async def test_an_event_is_looked_at_while_it_is_told_and_after(town: Town) -> None:
    town.till.answer = 500
    news = await town.happens()
    told = town.client.event(news.id)
    failed = await eventually(
        told.view,
        lambda view: any(each.last_problem for each in view.deliveries),
        what="a failed try",
    )
    town.till.answer = 200
    seen = [states(view) async for view in told.watch()]
    receipt = await told.receipt()

    assert failed.event == news
    assert "500" in next(each for each in failed.deliveries if each.endpoint == "till").last_problem
    assert seen[-1] == states(receipt) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert await town.client.event(f"event/{news.id}").view() == receipt


async def test_what_did_not_happen_is_not_retained(client: FulguriteClient) -> None:
    told = client.event(UNKNOWN)
    with pytest.raises(NotRetainedError):
        await told.view()
    with pytest.raises(NotRetainedError):
        await told.receipt()
    with pytest.raises(NotRetainedError):
        await told.replay()


async def test_a_replay_is_the_same_webhook_once_more(town: Town, temporal: Client) -> None:
    news = await town.happens()
    told = town.client.event(news.id)
    before = await told.receipt()
    first_run = (await temporal.get_workflow_handle(f"event/{news.id}").describe()).run_id
    did = await told.replay()
    receipt = await told.receipt()
    first, again = await town.heard(town.shop, news.id, 2)
    described = await temporal.get_workflow_handle(f"event/{news.id}").describe()

    assert did is Replayed.STARTED_AGAIN
    assert described.run_id != first_run
    assert (again.id, again.body, again.verified) == (first.id, first.body, True)
    assert again.headers["webhook-signature"] != "", "signed anew, for its own moment"
    assert receipt.event == before.event == news
    assert states(receipt) == states(before)


async def test_a_replay_to_one_endpoint_tells_nobody_else_and_forgets_nobody(town: Town) -> None:
    news = await town.happens()
    told = town.client.event(news.id)
    await told.receipt()
    await told.replay(endpoint="till")
    to_till = await told.receipt()
    await told.replay()
    to_all = await told.receipt()

    assert states(to_till) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert states(to_all) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert len(await town.heard(town.till, news.id, 3)) == 3
    assert len(await town.heard(town.shop, news.id, 2)) == 2
    with pytest.raises(InvalidRequestError, match="never went to bank, only to shop, till"):
        await told.replay(endpoint="bank")


async def test_dead_letters_alone_are_told_again_and_only_to_those_who_never_took_them(
    town: Town,
) -> None:
    told = await town.dies(town.till)
    dead = await told.receipt()
    did = await told.replay(dead_only=True)
    revived = await told.receipt()

    assert states(dead) == {"shop": "DELIVERED", "till": "DEAD"}
    assert did is Replayed.STARTED_AGAIN
    assert states(revived) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert len(await town.heard(town.shop, told.event_id, 1)) == 1
    assert await told.replay(dead_only=True) is Replayed.LEFT_ALONE


async def test_a_dead_letter_stays_one_while_another_is_told_again(town: Town) -> None:
    town.shop.answer = town.till.answer = 410
    told = town.client.event((await town.happens()).id)
    await told.receipt()
    town.shop.answer = 200
    assert await told.replay(dead_only=True, endpoint="shop") is Replayed.STARTED_AGAIN
    assert states(await told.receipt()) == {"shop": "DELIVERED", "till": "DEAD"}
    await _indexed_as(town, told, EventState.DEAD)
    town.till.answer = 200
    assert await told.replay(dead_only=True) is Replayed.STARTED_AGAIN
    assert states(await told.receipt()) == {"shop": "DELIVERED", "till": "DELIVERED"}
    await _indexed_as(town, told, EventState.DELIVERED)
    assert len(await town.heard(town.shop, told.event_id, 2)) == 2


async def test_what_is_still_being_told_is_sent_at_once(town: Town) -> None:
    town.till.answer = 500
    news = await town.happens()
    told = town.client.event(news.id)
    # After the second failure the next try is minutes away.
    await town.heard(town.till, news.id, 2)
    town.till.answer = 200
    with pytest.raises(InvalidRequestError, match="never went to bank, only to shop, till"):
        await told.replay(endpoint="bank")
    assert await told.replay(dead_only=True) is Replayed.LEFT_ALONE
    assert await told.replay(endpoint="till") is Replayed.SENT_NOW
    receipt = await told.receipt()

    assert states(receipt) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert len(await town.heard(town.shop, news.id, 1)) == 1


async def test_who_took_it_or_is_dead_is_told_again_while_another_is_still_tried(
    town: Town,
) -> None:
    """An endpoint that is down for days keeps nobody from repairing another one."""
    town.shop.answer, town.till.answer = 410, 500
    news = await town.happens()
    told = town.client.event(news.id)
    await town.heard(town.shop, news.id, 1)
    await town.heard(town.till, news.id, 2)
    await _stands(told, {"shop": "DEAD", "till": "SENDING"})
    await _indexed_as(town, told, EventState.DEAD)
    town.shop.answer = 200

    assert await told.replay(dead_only=True) is Replayed.SENT_NOW
    await _stands(told, {"shop": "DELIVERED", "till": "SENDING"})
    await _indexed_as(town, told, EventState.SENDING)
    assert await told.replay(dead_only=True) is Replayed.LEFT_ALONE
    assert await told.replay(endpoint="shop") is Replayed.SENT_NOW
    assert len(await town.heard(town.shop, news.id, 3)) == 3
    town.till.answer = 200
    assert await told.replay() is Replayed.SENT_NOW
    assert states(await told.receipt()) == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert len(await town.heard(town.shop, news.id, 3)) == 3


async def test_a_cancellation_is_no_failed_try(town: Town, temporal: Client) -> None:
    town.till.answer = 500
    news = await town.happens()
    told = town.client.event(news.id)
    await town.heard(town.till, news.id, 2)
    await temporal.get_workflow_handle(f"event/{news.id}").cancel()
    with pytest.raises(VerdictUnknownError):
        await told.receipt()


async def test_an_event_that_was_ended_by_force_can_be_told_again(
    town: Town, temporal: Client
) -> None:
    town.till.answer = 500
    news = await town.happens()
    told = town.client.event(news.id)
    await town.heard(town.till, news.id, 1)
    await temporal.get_workflow_handle(f"event/{news.id}").terminate()
    with pytest.raises(VerdictUnknownError):
        await told.receipt()
    town.till.answer = 200
    await _indexed_as(town, told, EventState.DEAD)
    assert await told.replay(dead_only=True) is Replayed.STARTED_AGAIN
    assert states(await told.receipt()) == {"shop": "DELIVERED", "till": "DELIVERED"}


async def test_events_are_found_by_type_state_and_time(town: Town) -> None:
    before = datetime.now(UTC)
    settled = await town.happens()
    await town.client.event(settled.id).receipt()
    dead = await town.dies(town.till, kind=EventType.INVOICE_CANCELED)
    after = datetime.now(UTC)
    town.till.answer = 500
    sending = await town.happens(EventType.INVOICE_EXPIRED)
    names = {settled.id: "settled", dead.event_id: "dead", sending.id: "sending"}

    async def found(**by: Any) -> set[str]:
        return {names[each.id] async for each in town.client.events(**by) if each.id in names}

    await _indexed(lambda: found(since=before), {"settled", "dead", "sending"})
    await _indexed(lambda: found(state=EventState.DELIVERED), {"settled"})
    await _indexed(lambda: found(state=EventState.DEAD), {"dead"})
    await _indexed(lambda: found(state=EventState.SENDING), {"sending"})
    assert await found(type=EventType.INVOICE_SETTLED) == {"settled"}
    assert await found(since=before, until=after) == {"settled", "dead"}
    assert await found(since=after) == {"sending"}
    assert await found(until=before) == set()
    assert len([each async for each in town.client.events(limit=2)]) == 2
    with pytest.raises(InvalidRequestError, match="needs its zone"):
        await anext(town.client.events(since=datetime(2026, 1, 1)))  # noqa: DTZ001 - the point
    town.till.answer = 200
    await town.client.event(sending.id).replay()


async def test_a_summary_says_what_happened_to_what(town: Town) -> None:
    payment_hash = PaymentHash(secrets.token_hex(32))
    news = await town.happens(EventType.INVOICE_PAID_LATE, payment_hash)
    await town.client.event(news.id).receipt()

    async def found() -> list[EventSummary]:
        return [
            each
            async for each in town.client.events(state=EventState.DELIVERED)
            if each.id == news.id
        ]

    [summary] = await eventually(found, what="the event in Temporal's index")
    assert (summary.type, summary.node) == (EventType.INVOICE_PAID_LATE, "carol")
    assert summary.payment_hash == payment_hash
    assert summary.workflow_status == "COMPLETED"


async def test_a_dead_letter_that_was_replayed_is_no_longer_found_as_one(town: Town) -> None:
    told = await town.dies(town.shop)

    async def dead() -> set[str]:
        return {each.id async for each in town.client.events(state=EventState.DEAD)}

    assert told.event_id in await eventually(
        dead, lambda ids: told.event_id in ids, what="the dead letter in Temporal's index"
    )
    await told.replay(dead_only=True)
    await told.receipt()

    assert told.event_id not in await dead()

    async def listed() -> list[EventState]:
        return [each.state async for each in town.client.events() if each.id == told.event_id]

    await eventually(listed, lambda found: found == [EventState.DELIVERED], what="told once")


async def test_a_range_is_told_again_in_the_order_in_which_it_happened(town: Town) -> None:
    since = datetime.now(UTC)
    payment_hash = PaymentHash(secrets.token_hex(32))
    story = [await town.happens(EventType.INVOICE_EXPIRED, payment_hash)]
    story.append(await town.happens(EventType.INVOICE_SETTLED, payment_hash, after=story[0]))
    other = await town.happens()
    every = {*(news.id for news in story), other.id}
    for news in every:
        await town.client.event(news).receipt()
    town.till.deliveries.clear()

    async def found() -> list[EventSummary]:
        return [each async for each in town.client.events(since=since) if each.id in every]

    summaries = await eventually(found, lambda each: len(each) == 3, what="three events")
    replayed = await replay_each(town.client, summaries, endpoint="till")
    for news in every:
        await town.client.event(news).receipt()

    assert {each.id for each in replayed} == every
    assert {each.did for each in replayed} == {Replayed.STARTED_AGAIN}
    told = [each.id for each in town.till.deliveries]
    assert sorted(told) == sorted(every)
    assert told.index(story[0].id) < told.index(story[1].id)


async def test_a_range_goes_on_past_what_cannot_be_told_and_says_why(town: Town) -> None:
    news = await town.happens()
    await town.client.event(news.id).receipt()
    now = datetime.now(UTC)
    summaries = [
        EventSummary(
            id=each, state=EventState.DELIVERED, workflow_status="COMPLETED", started_at=at
        )
        for each, at in ((UNKNOWN, now - timedelta(hours=1)), (news.id, now))
    ]
    told: list[str] = []
    forgotten, replayed = sorted(
        await replay_each(town.client, summaries, on_each=lambda each: told.append(each.id)),
        key=lambda each: each.id != UNKNOWN,
    )

    assert (forgotten.did, replayed.did) == (None, Replayed.STARTED_AGAIN)
    assert "retains nothing" in forgotten.problem
    assert sorted(told) == sorted([UNKNOWN, news.id])
    assert json.loads((await town.heard(town.shop, news.id, 2))[1].body)["id"] == news.id


async def test_a_range_stops_where_temporal_is_away(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    class Away:
        def __init__(self, event_id: str) -> None:
            self.event_id = event_id

        async def replay(self, **_: object) -> Replayed:
            tried.append(self.event_id)
            raise TemporalUnavailableError("Temporal did not answer")

    monkeypatch.setattr(client, "event", Away)
    now = datetime.now(UTC)
    summaries = [
        EventSummary(
            id=f"invoice-settled-{number}",
            state=EventState.DELIVERED,
            workflow_status="COMPLETED",
            started_at=now,
        )
        for number in range(100)
    ]
    with pytest.raises(TemporalUnavailableError):
        await replay_each(client, summaries)
    assert 0 < len(tried) < len(summaries)


async def _indexed(ask: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> None:
    await eventually(ask, lambda found: found == wanted, what=f"{sorted(wanted)} in the index")


async def _stands(told: Announcement, wanted: dict[str, str]) -> None:
    async def now() -> bool:
        return states(await told.view()) == wanted

    await eventually(now, what=f"{told} as {wanted}")


async def _indexed_as(town: Town, told: Announcement, state: EventState) -> None:
    async def is_there() -> bool:
        return told.event_id in {each.id async for each in town.client.events(state=state)}

    await eventually(is_there, what=f"{told} among those that are {state}")
