"""One event: whom it has been told to, and telling it again."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from fulgurite import ids
from fulgurite.attributes import REGISTRY
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventId
from fulgurite.events.delivery import (
    DELIVERY,
    DeliveryState,
    EventDelivery,
    EventReceipt,
    in_a_line,
)
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows import search_attributes
from workflows.event import EventWorkflow

_RUNNING: Final = WorkflowExecutionStatus.RUNNING
_COMPLETED: Final = WorkflowExecutionStatus.COMPLETED


class Replayed(StrEnum):
    """What a replay did."""

    STARTED_AGAIN = "STARTED_AGAIN"  # told once more, from the first try on
    SENT_NOW = "SENT_NOW"  # it is being told: the next try begins at once
    LEFT_ALONE = "LEFT_ALONE"  # nothing of it is dead, and only dead letters were asked for


class Announcement(Handle[EventReceipt, EventReceipt]):
    """An event on its way to its endpoints: `receipt`, `view`, `watch`, `replay`."""

    _NOUN: ClassVar = "event"

    def __init__(self, client: Client, event_id: EventId) -> None:
        super().__init__(
            client.get_workflow_handle_for(EventWorkflow.run, ids.event_id(event_id)),
            EventWorkflow.deliveries,
        )
        self.event_id = event_id
        self._client = client

    def __repr__(self) -> str:
        return f"Announcement({self.event_id})"

    async def view(self) -> EventReceipt:
        """How its deliveries stand. Once all have ended, it takes no worker to tell."""
        if (await self._describe()).status is _COMPLETED:
            return await self.receipt()
        return await super().view()

    async def replay(self, *, endpoint: str | None = None, dead_only: bool = False) -> Replayed:
        """Tells it again, to all it went to or to one of them. The `webhook-id` stays.

        One that is still being told has its next tries made at once, and is told again where
        it is dead or `endpoint` asks for it. `dead_only` tells those again that never took
        it, and leaves alone what has no such. Raises InvalidRequestError for an endpoint
        that it never went to.
        """
        described = await self._describe()
        if described.status is _RUNNING:
            return await self._hurry(endpoint, dead_only=dead_only)
        order, view = await self._input(), await self.view()
        recipients = [each.endpoint for each in order.recipients]
        if endpoint is not None and endpoint not in recipients:
            raise InvalidRequestError(
                f"it never went to {endpoint}, only to {', '.join(recipients)}"
            )
        again = _not_delivered(view) if dead_only else recipients
        again = [name for name in again if endpoint in {None, name}]
        if not again:
            return Replayed.LEFT_ALONE
        # What was ended by force goes on wherever it was under way; the rest stands as it stands.
        others = tuple(
            each
            for each in view.deliveries
            if each.state in DELIVERY.terminal and each.endpoint not in again
        )
        told = set(recipients) - {each.endpoint for each in others}
        await self._start_again(
            described, order.model_copy(update={"only": tuple(sorted(told)), "others": others})
        )
        return Replayed.STARTED_AGAIN

    async def _hurry(self, endpoint: str | None, *, dead_only: bool) -> Replayed:
        if endpoint and not dead_only:
            await self._ordering(EventWorkflow.send_now, endpoint)
            return Replayed.SENT_NOW
        view = await self.view()
        names = _dead(view) if dead_only else _not_delivered(view)
        wanted = [name for name in names if endpoint in {None, name}]
        for name in wanted:
            await self._ordering(EventWorkflow.send_now, name)
        return Replayed.SENT_NOW if wanted else Replayed.LEFT_ALONE

    async def _start_again(
        self, described: WorkflowExecutionDescription, order: EventDelivery
    ) -> None:
        """A new run of the same id; its whole list of recipients is kept."""
        told = [each.endpoint for each in order.told]
        dead = any(each.state is DeliveryState.DEAD for each in order.others)
        with temporal_errors():
            await self._client.start_workflow(
                EventWorkflow.run,
                order,
                id=self._handle.id,
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=_as_before(
                    described, DeliveryState.DEAD if dead else DeliveryState.SENDING
                ),
                static_summary=f"{order.event.type} again to {in_a_line(told)}",
            )

    async def _input(self) -> EventDelivery:
        """What the last run was started with, from its history."""
        with temporal_errors():
            async for first in self._handle.fetch_history_events(page_size=1):
                payloads = first.workflow_execution_started_event_attributes.input.payloads
                [order] = await self._client.data_converter.decode(payloads, [EventDelivery])
                return EventDelivery.model_validate(order)
        raise InvalidRequestError(f"{self._handle.id} has no history any more")

    def _standing(self, view: EventReceipt) -> str:
        return "DEAD" if _dead(view) else "DELIVERED"

    def _is_last(self, view: EventReceipt) -> bool:
        return all(each.state in DELIVERY.terminal for each in view.deliveries)


def _dead(receipt: EventReceipt) -> list[str]:
    return [each.endpoint for each in receipt.deliveries if each.state is DeliveryState.DEAD]


def _not_delivered(receipt: EventReceipt) -> list[str]:
    delivered = DeliveryState.DELIVERED
    return [each.endpoint for each in receipt.deliveries if each.state is not delivered]


def _as_before(
    described: WorkflowExecutionDescription, state: DeliveryState
) -> TypedSearchAttributes:
    ours = [pair for pair in described.typed_search_attributes if pair.key.name in REGISTRY]
    return TypedSearchAttributes(ours).updated(SearchAttributePair(search_attributes.STATE, state))
