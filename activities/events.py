"""Telling endpoints what happened: one workflow an event, one activity a try."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import heartbeating
from activities.starting import searchable
from fulgurite import attributes, ids
from fulgurite.errors import FulguriteError
from fulgurite.events.calls import (
    EMIT_EVENT,
    FIND_BEFORE,
    SEND_WEBHOOK,
    Before,
    Emitted,
    Posted,
    Posting,
    Turn,
)
from fulgurite.events.catalogue import Event, EventId, EventType
from fulgurite.events.delivery import (
    DeliveryState,
    EventDelivery,
    Recipient,
    in_a_line,
)
from nodes.webhooks.sender import Webhooks

_ANSWER: Final = timedelta(seconds=10)
_NODE: Final = SearchAttributeKey.for_keyword(attributes.NODE)


class Announcer:
    """Makes an event durable, once, for those who want it."""

    def __init__(self, client: Client, webhooks: Webhooks) -> None:
        """`client` must carry the converter that the workers have."""
        self._client = client
        self._webhooks = webhooks

    def wanted(self, kinds: Iterable[EventType], node: str) -> bool:
        """Whether any endpoint wants any of these."""
        return any(self._webhooks.names_wanting(kind, node) for kind in kinds)

    async def emit(self, event: Event) -> Emitted:
        """Starts the event's workflow, unless it was started before or nobody wants it."""
        emitted, is_new = await self._start(event)
        if not is_new and await self._is_another_nodes(event):
            # Two nodes can have an invoice of one hash: each one's news are told.
            of_node = event.model_copy(update={"id": f"{event.id}-{event.node}"})
            emitted, _ = await self._start(of_node)
        return emitted

    async def _is_another_nodes(self, event: Event) -> bool:
        """Whether what has this id already happened on another node."""
        known = self._client.get_workflow_handle(ids.event_id(event.id))
        try:
            described = await known.describe(rpc_timeout=_ANSWER)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.typed_search_attributes.get(_NODE, event.node) != event.node

    async def _start(self, event: Event) -> tuple[Emitted, bool]:
        """Who is told, and whether this is the first time."""
        names = self._webhooks.names_wanting(event.type, event.node)
        if not names:
            return Emitted(endpoints=()), True
        order = EventDelivery(
            event=event,
            recipients=tuple(
                Recipient(endpoint=name, ordered=self._webhooks.config(name).ordered)
                for name in names
            ),
        )
        payment_hash = ids.hash_of_resource(event.resource)
        # What has been told is not told again for as long as Temporal remembers; after that a
        # receiver knows it by its id.
        try:
            await self._client.start_workflow(
                "EventWorkflow",
                order,
                id=ids.event_id(event.id),
                task_queue=ids.TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=searchable(
                    {
                        attributes.STATE: DeliveryState.SENDING,
                        attributes.NODE: event.node,
                        attributes.EVENT_TYPE: event.type,
                        **({attributes.PAYMENT_HASH: payment_hash} if payment_hash else {}),
                    }
                ),
                static_summary=f"{event.type} to {in_a_line(names)}",
                request_eager_start=True,
            )
        except WorkflowAlreadyStartedError:
            return Emitted(endpoints=names), False
        return Emitted(endpoints=names), True


class EventActivities:
    """Events out of workflows, and webhooks out of events."""

    def __init__(self, client: Client, announcer: Announcer, webhooks: Webhooks) -> None:
        self._client = client
        self._announcer = announcer
        self._webhooks = webhooks

    @activity.defn(name=EMIT_EVENT.name)
    async def emit(self, event: Event) -> Emitted:
        """Durable once it returns; safe to repeat."""
        return await self._announcer.emit(event)

    @activity.defn(name=SEND_WEBHOOK.name)
    async def send(self, ask: Posting) -> Posted:
        """One signed try. Raises DeliveryError, EndpointGoneError or UnknownEndpointError."""
        body = ask.event.model_dump_json(exclude={"after"}).encode()
        try:
            async with heartbeating():
                answer = await self._webhooks.send(ask.endpoint, ask.event.id, body)
        except FulguriteError as error:
            raise application_error(error) from error
        return Posted(status=answer.status, milliseconds=round(answer.seconds * 1_000))

    @activity.defn(name=FIND_BEFORE.name)
    async def find_before(self, ask: Turn) -> Before:
        """The latest event, from `ask.event_id` back, that went to the endpoint as well.

        Those that went to others only are looked through: what was before them may still be
        under way.
        """
        before: EventId | None = ask.event_id
        while before is not None:
            order = await self._order(before)
            if order is None:
                return Before(event_id=None)
            if any(each.endpoint == ask.endpoint for each in order.recipients):
                break
            before = order.event.after
        return Before(event_id=before)

    async def _order(self, event_id: EventId) -> EventDelivery | None:
        """What an event's workflow was started with, running or not."""
        workflow = self._client.get_workflow_handle(ids.event_id(event_id))
        try:
            async for first in workflow.fetch_history_events(page_size=1):
                payloads = first.workflow_execution_started_event_attributes.input.payloads
                [order] = await self._client.data_converter.decode(payloads, [EventDelivery])
                return EventDelivery.model_validate(order)
        except RPCError as error:
            # Nobody wanted it, or it is too old to be remembered.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return None
