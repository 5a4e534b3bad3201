"""An event, from its happening to the last endpoint that wants it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from fulgurite import ids
from fulgurite.errors import EndpointGoneError, InvalidRequestError
from fulgurite.events.calls import FIND_BEFORE, SEND_WEBHOOK, Posting, Turn
from fulgurite.events.catalogue import EventId
from fulgurite.events.delivery import (
    DELIVERY,
    DeliveryEvent,
    DeliveryState,
    DeliveryStatus,
    EventDelivery,
    EventReceipt,
    Recipient,
    pause_after,
)
from workflows import metrics, search_attributes
from workflows.calling import call_local, read_signal, refused, try_on, worker_was_lost

# An endpoint's own timeout is at most a minute.
_TRY_AT_MOST = timedelta(seconds=90)
# No worker that knows the endpoint for so long counts as a failed try.
_FIND_A_WORKER = timedelta(hours=1)
_ASK_AGAIN = timedelta(hours=1)
# So many tries that their workers did not survive are none of the endpoint's; an event that
# kills every worker must not do so for ever.
_FORGIVEN = 10
_LOST_TRIES = "lost-tries"


@workflow.defn(name="EventWorkflow")
class EventWorkflow:
    """Tells one event to every endpoint that wants it. Its id is `event/<event id>`.

    Endpoints do not wait for each other. What none of the tries could deliver is dead, stays
    findable, and can be replayed: as a new run of the same id, with the same `webhook-id`.
    """

    @workflow.init
    def __init__(self, order: EventDelivery) -> None:
        self._event = order.event
        others = {each.endpoint: each for each in order.others}
        self._recipients = {each.endpoint: each for each in order.recipients}
        self._told = [each.endpoint for each in order.told]
        self._deliveries = {
            name: others.get(name, DeliveryStatus(endpoint=name))
            for name in self._recipients
            if name in self._told or name in others
        }
        self._at_once: set[str] = set()
        self._turns: set[str] = set()
        self._followers: set[Turn] = set()
        self._under_way: list[asyncio.Task[None]] = []
        self._is_over = False

    @workflow.run
    async def run(self, order: EventDelivery) -> EventReceipt:  # noqa: ARG002 - read in __init__
        for name in self._told:
            self._begin(name)
        # Not gathered: more can begin meanwhile, and a cancellation must not count as a failed try.
        while self._under_way:
            done, _ = await workflow.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for delivery in done:
                self._under_way.remove(delivery)
                delivery.result()
        self._is_over = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._receipt()

    def _begin(self, name: str) -> None:
        self._turns.discard(name)
        self._under_way.append(asyncio.create_task(self._deliver(self._recipients[name])))

    async def _deliver(self, recipient: Recipient) -> None:
        name = recipient.endpoint
        if recipient.ordered and self._event.after:
            await self._wait_for_turn(name, self._event.after)
        self._fire(name, DeliveryEvent.TURN_CAME)
        # Of an endpoint's own tries is none that somebody asked for, or that its worker did not
        # survive.
        spent, lost, hurried = 0, 0, False
        while True:
            failed = await self._try(name)
            if failed is None:
                self._fire(name, DeliveryEvent.TAKEN, delivered_at=workflow.now())
                return
            problem, gone = _understood(failed)
            # Gated: a delivery that has counted them before goes on as it was.
            forgiven = (
                lost < _FORGIVEN and worker_was_lost(failed) and workflow.patched(_LOST_TRIES)
            )
            lost += forgiven
            spent += not (forgiven or hurried)
            due = 1 if forgiven else max(spent, 1)
            pause = None if gone else pause_after(due, workflow.random().random())
            if pause is None and not gone and name in self._at_once:
                hurried = True
                continue
            if pause is None:
                self._fire(name, DeliveryEvent.GIVEN_UP, last_problem=problem, next_try_at=None)
                workflow.upsert_search_attributes(
                    [search_attributes.STATE.value_set(DeliveryState.DEAD)]
                )
                return
            self._set(name, last_problem=problem, next_try_at=workflow.now() + pause)
            hurried = await self._is_hurried(name, pause)

    async def _wait_for_turn(self, name: str, after: EventId) -> None:
        """Until the endpoint is through with what was before: it was delivered, or is dead.

        The two workflows tell each other, so that who waits, for days if need be, takes up
        nothing that others need.
        """
        asked = Turn(endpoint=name, event_id=after)
        found = await call_local(FIND_BEFORE, asked, summary=f"{name}: before", for_ever=True)
        if found.event_id is None:
            return
        before = workflow.get_external_workflow_handle(ids.event_id(found.event_id))
        while name not in self._turns:
            try:
                await before.signal("follow", Turn(endpoint=name, event_id=self._event.id))
            except FailureError:
                return  # it has ended
            # Asked again, because who is ended by force tells nobody.
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: name in self._turns,
                    timeout=_ASK_AGAIN,
                    timeout_summary=f"{name}: after {found.event_id}",
                )

    async def _try(self, name: str) -> ActivityError | None:
        """Why it was not taken; None when it was."""
        self._at_once.discard(name)
        tries = self._deliveries[name].tries + 1
        self._set(name, tries=tries, next_try_at=None)
        try:
            await try_on(
                ids.webhook_queue(name),
                SEND_WEBHOOK,
                Posting(endpoint=name, event=self._event),
                at_most=_TRY_AT_MOST,
                start_within=_FIND_A_WORKER,
                summary=f"{self._event.type} to {name}, try {tries}",
            )
        except ActivityError as error:
            return error
        return None

    async def _is_hurried(self, name: str, pause: timedelta) -> bool:
        """Whether somebody asked for the next try before it was due."""
        try:
            await workflow.wait_condition(
                lambda: name in self._at_once, timeout=pause, timeout_summary=f"{name}: next try"
            )
        except TimeoutError:
            return False
        return True

    @workflow.signal
    async def follow(self, *given: Any) -> None:
        """A Turn that another event waits for: it is told when this one is through there."""
        turn = read_signal(Turn, given)
        if turn is None or turn in self._followers:
            return
        self._followers.add(turn)
        await workflow.wait_condition(lambda: self._is_through(turn.endpoint))
        # Who asks again later, because it is told again, is answered again.
        self._followers.discard(turn)
        # One that has ended meanwhile needs no turn any more.
        with suppress(FailureError):
            await workflow.get_external_workflow_handle(ids.event_id(turn.event_id)).signal(
                "turn_came", Turn(endpoint=turn.endpoint, event_id=self._event.id)
            )

    @workflow.signal
    def turn_came(self, *given: Any) -> None:
        """A Turn: the event before this one is through at an endpoint."""
        if turn := read_signal(Turn, given):
            self._turns.add(turn.endpoint)

    def _is_through(self, name: str) -> bool:
        status = self._deliveries.get(name)
        return status is None or status.state in DELIVERY.terminal

    @workflow.update
    def send_now(self, endpoint: str) -> EventReceipt:
        """The next try begins at once; an endpoint that is through is told again."""
        if not self._is_through(endpoint):
            self._at_once.add(endpoint)
            return self._receipt()
        was_dead = self._is_dead
        self._deliveries[endpoint] = DeliveryStatus(endpoint=endpoint)
        if was_dead and not self._is_dead:
            workflow.upsert_search_attributes(
                [search_attributes.STATE.value_set(DeliveryState.SENDING)]
            )
        self._begin(endpoint)
        return self._receipt()

    @send_now.validator
    def _may_send_now(self, endpoint: str) -> None:
        if endpoint not in self._recipients:
            told = ", ".join(self._recipients)
            raise refused(InvalidRequestError(f"it never went to {endpoint}, only to {told}"))
        if self._is_over:
            raise refused(InvalidRequestError("it has just ended: replay it once more"))

    @property
    def _is_dead(self) -> bool:
        return any(each.state is DeliveryState.DEAD for each in self._deliveries.values())

    @workflow.query
    def deliveries(self) -> EventReceipt:
        return self._receipt()

    def _fire(self, name: str, event: DeliveryEvent, **changes: object) -> None:
        state = DELIVERY.fire(self._deliveries[name].state, event)
        self._set(name, state=state, **changes)
        if state in DELIVERY.terminal:
            metrics.count_delivery(name, state)

    def _set(self, name: str, **changes: object) -> None:
        self._deliveries[name] = self._deliveries[name].model_copy(update=changes)
        workflow.set_current_details(self._details())

    def _receipt(self) -> EventReceipt:
        return EventReceipt(event=self._event, deliveries=tuple(self._deliveries.values()))

    def _details(self) -> str:
        lines = [f"### {self._event.type}", f"`{self._event.resource}`", ""]
        lines += ["| endpoint | state | tries | next try | last problem |", "|---|---|---|---|---|"]
        for each in self._deliveries.values():
            when = f"{each.next_try_at:%m-%d %H:%M:%S}" if each.next_try_at else ""
            problem = each.last_problem.replace("|", "/").replace("\n", " ")
            lines.append(f"| {each.endpoint} | {each.state} | {each.tries} | {when} | {problem} |")
        return "\n".join(lines)


def _understood(failed: ActivityError) -> tuple[str, bool]:
    """The problem in words, and whether the endpoint wants no more."""
    if worker_was_lost(failed):
        return "the worker was lost during the try: the endpoint may have it", False
    cause = failed.cause
    if isinstance(cause, ApplicationError):
        return cause.message, cause.type == EndpointGoneError.__name__
    return str(cause or failed), False
