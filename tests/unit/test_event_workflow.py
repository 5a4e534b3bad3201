"""Endpoints are told for days, each for itself, and none is given up before its time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from unittest import mock

from fulgurite.events.calls import SEND_WEBHOOK, Posted, Posting, Turn
from fulgurite.events.delivery import (
    PAUSES,
    DeliveryState,
    DeliveryStatus,
    EventDelivery,
    EventReceipt,
    Recipient,
)
from tests.properties.clock import EPOCH
from tests.unit.stage import Stage, World, failed, play, worker_lost
from tests.unit.test_event_delivery import settled
from workflows import calling, event, metrics
from workflows.event import EventWorkflow

NEWS = settled(EPOCH)
DAY = timedelta(days=1)


class Endpoints:
    """Each fails so often, and takes so long, as is written here."""

    def __init__(self, **failures: int) -> None:
        self.failures = failures
        self.answers_after_seconds: defaultdict[str, float] = defaultdict(float)
        self.error = "DeliveryError"
        self.problem = "it did not work"
        self.tries: list[str] = []
        # The tries, by their number, that their workers do not survive.
        self.lost: Collection[int] = ()
        # An operator who cannot wait, so many seconds after a try began, by the try's number.
        self.hurried_after_seconds: dict[int, float] = {}
        self.workflow: EventWorkflow
        # What the Temporal UI showed, one after another.
        self.shown: list[str] = []

    async def answer(self, name: str, ask: Any) -> Posted:
        assert name == SEND_WEBHOOK.name
        assert isinstance(ask, Posting)
        assert ask.event == NEWS
        self.tries.append(ask.endpoint)
        hurried = self.hurried_after_seconds.get(len(self.tries))
        if hurried is not None:
            asyncio.get_running_loop().call_later(hurried, self._hurry, ask.endpoint)
        await asyncio.sleep(self.answers_after_seconds[ask.endpoint])
        if len(self.tries) in self.lost:
            raise worker_lost()
        if self.tries.count(ask.endpoint) <= self.failures[ask.endpoint]:
            raise failed(self.error, self.problem)
        return Posted(status=200, milliseconds=1)

    def _hurry(self, name: str) -> None:
        # By its class: the SDK's type of a bound update wants the workflow again.
        EventWorkflow.send_now(self.workflow, name)

    def _show(self, details: str) -> None:
        self.shown.append(details)

    def told(self) -> dict[str, DeliveryStatus]:
        """How each delivery ended."""
        order = EventDelivery(
            event=NEWS, recipients=tuple(Recipient(endpoint=name) for name in self.failures)
        )

        async def story() -> EventReceipt:
            self.workflow = EventWorkflow(order)
            return await self.workflow.run(order)

        with mock.patch.object(Stage, "set_current_details", lambda _, text: self._show(text)):
            receipt = play(World(self.answer), f"event/{NEWS.id}", (calling, event, metrics), story)
        assert isinstance(receipt, EventReceipt)
        return {each.endpoint: each for each in receipt.deliveries}


def test_an_endpoint_that_failed_is_told_by_a_later_try() -> None:
    told = Endpoints(shop=len(PAUSES)).told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DELIVERED, len(PAUSES) + 1)
    assert told.delivered_at is not None
    assert told.delivered_at > EPOCH + 3 * DAY


def test_operators_see_every_try_of_every_endpoint() -> None:
    """In the Temporal UI, while it goes on."""
    endpoints = Endpoints(deaf=1_000, shop=1)
    endpoints.told()
    deaf = [row_of("deaf", details) for details in endpoints.shown]
    tries = [int(tries) for _, _, tries, _, _ in deaf]

    assert f"### {NEWS.type}\n`{NEWS.resource}`" in endpoints.shown[-1]
    assert sorted(set(tries)) == list(range(len(PAUSES) + 2))
    assert tries == sorted(tries)
    _, state, _, next_try, problem = next(row for row in deaf if row[2] == "1" and row[3])
    assert (state, problem) == (DeliveryState.SENDING, "it did not work")
    assert f"{EPOCH + PAUSES[0]:%m-%d %H:%M:%S}" <= next_try
    assert next_try <= f"{EPOCH + 1.2 * PAUSES[0]:%m-%d %H:%M:%S}"
    assert deaf[-1] == ["deaf", DeliveryState.DEAD, str(len(PAUSES) + 1), "", "it did not work"]
    assert row_of("shop", endpoints.shown[-1])[1:4] == [DeliveryState.DELIVERED, "2", ""]


def test_a_problem_breaks_no_table() -> None:
    endpoints = Endpoints(shop=1)
    endpoints.problem = "503 | try\nlater"
    endpoints.told()

    assert any(row_of("shop", details)[4] == "503 / try later" for details in endpoints.shown)


def row_of(endpoint: str, details: str) -> list[str]:
    """Endpoint, state, tries, next try, last problem."""
    [row] = [line for line in details.splitlines() if line.startswith(f"| {endpoint} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_what_no_try_could_deliver_is_dead_after_days_and_says_why() -> None:
    told = Endpoints(shop=1_000).told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DEAD, len(PAUSES) + 1)
    assert "it did not work" in told.last_problem


def test_an_endpoint_that_wants_no_more_is_asked_no_more() -> None:
    gone = Endpoints(shop=1_000)
    gone.error = "EndpointGoneError"

    assert gone.told()["shop"].state is DeliveryState.DEAD
    assert gone.tries == ["shop"]


def test_no_endpoint_waits_for_another() -> None:
    endpoints = Endpoints(deaf=1_000, slow=0, shop=0)
    endpoints.answers_after_seconds["slow"] = 60
    told = endpoints.told()

    assert told["deaf"].state is DeliveryState.DEAD
    assert told["slow"].delivered_at == EPOCH + timedelta(minutes=1)
    assert told["shop"].delivered_at == EPOCH


def test_who_cannot_wait_uses_up_none_of_the_tries() -> None:
    endpoints = Endpoints(shop=1_000)
    endpoints.hurried_after_seconds = dict.fromkeys(range(3, 11), 20.0)
    told = endpoints.told()["shop"]

    assert told.tries == len(PAUSES) + 1 + 8
    assert told.state is DeliveryState.DEAD


def test_an_order_that_comes_during_the_last_try_is_not_lost() -> None:
    last = len(PAUSES) + 1
    endpoints = Endpoints(shop=last)
    endpoints.answers_after_seconds["shop"] = 10
    endpoints.hurried_after_seconds = {last: 5.0}
    told = endpoints.told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DELIVERED, last + 1)


def test_an_order_that_comes_during_a_try_has_the_next_made_at_once() -> None:
    endpoints = Endpoints(shop=1)
    endpoints.hurried_after_seconds = {1: 0.0}
    endpoints.answers_after_seconds["shop"] = 1
    assert endpoints.told()["shop"].delivered_at == EPOCH + timedelta(seconds=2)


def test_tries_that_their_workers_did_not_survive_are_none_of_the_endpoints() -> None:
    """It is told again within seconds, and has all its own tries as well."""
    quick = Endpoints(shop=0)
    quick.lost = (1, 2, 3)
    told = quick.told()["shop"]
    assert (told.state, told.tries) == (DeliveryState.DELIVERED, 4)
    assert told.delivered_at is not None
    assert told.delivered_at <= EPOCH + 3 * 1.2 * PAUSES[0]
    assert any("worker was lost" in row_of("shop", details)[4] for details in quick.shown)

    deaf = Endpoints(shop=1_000)
    deaf.lost = (1, 4, 5)
    told = deaf.told()["shop"]
    assert (told.state, told.tries) == (DeliveryState.DEAD, len(PAUSES) + 1 + 3)


def test_a_lost_try_that_was_asked_for_is_left_out_once() -> None:
    """An operator who asks as soon as a worker died does not put the next try off for a day."""
    for lost, hurried in (((1,), (1,)), ((1, 2), (1, 2)), (range(1, 11), range(1, 11))):
        endpoints = Endpoints(shop=len(lost) + 1)
        endpoints.answers_after_seconds["shop"] = 1
        endpoints.lost = lost
        endpoints.hurried_after_seconds = dict.fromkeys(hurried, 2.0)
        told = endpoints.told()["shop"]

        assert (told.state, told.tries) == (DeliveryState.DELIVERED, len(lost) + 2)
        assert told.delivered_at is not None
        assert told.delivered_at < EPOCH + timedelta(minutes=1)


def test_a_worker_that_has_to_leave_during_a_try_is_lost_too() -> None:
    leaving = Endpoints(shop=3)
    leaving.error, leaving.problem = "WorkerShutdown", "Worker is shutting down"
    told = leaving.told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DELIVERED, 4)
    assert told.delivered_at is not None
    assert told.delivered_at <= EPOCH + 3 * 1.2 * PAUSES[0]


def test_an_event_that_kills_every_worker_is_given_up() -> None:
    deadly = Endpoints(shop=0)
    deadly.lost = range(1, 1_000)
    told = deadly.told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DEAD, len(PAUSES) + 1 + 10)


class Neighbours(World):
    """The other events: what they are signalled."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__(endpoints.answer)
        self.signals: list[tuple[str, str]] = []

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:  # noqa: ARG002
        self.signals.append((workflow_id, name))


def test_an_event_that_is_told_again_gets_its_turn_again_from_one_that_is_still_told() -> None:
    """The one before is through at the shop, and not at the till, which is down for days."""
    endpoints = Endpoints(shop=0, till=3)
    neighbours = Neighbours(endpoints)
    order = EventDelivery(
        event=NEWS, recipients=(Recipient(endpoint="shop"), Recipient(endpoint="till"))
    )
    asking = Turn(endpoint="shop", event_id="invoice-settled-later")

    async def story() -> None:
        workflow = EventWorkflow(order)
        telling = asyncio.create_task(workflow.run(order))
        await asyncio.sleep(1)
        for _ in range(2):
            await workflow.follow(asking)
        assert not telling.done()
        await telling

    play(neighbours, f"event/{NEWS.id}", (calling, event, metrics), story)
    assert neighbours.signals == [("event/invoice-settled-later", "turn_came")] * 2


def test_who_is_not_told_this_time_stands_as_before() -> None:
    dead = DeliveryStatus(endpoint="till", state=DeliveryState.DEAD, tries=10, last_problem="down")
    order = EventDelivery(
        event=NEWS,
        recipients=(Recipient(endpoint="shop"), Recipient(endpoint="till")),
        only=("shop",),
        others=(dead,),
    )
    endpoints = Endpoints(shop=0)
    receipt = play(
        World(endpoints.answer),
        f"event/{NEWS.id}",
        (calling, event, metrics),
        lambda: EventWorkflow(order).run(order),
    )
    assert [(each.endpoint, each.state) for each in receipt.deliveries] == [
        ("shop", DeliveryState.DELIVERED),
        ("till", DeliveryState.DEAD),
    ]
    assert endpoints.tries == ["shop"]
