"""Telling endpoints what happened: one workflow an event, one activity a try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.starting import searchable
from fulgurite import attributes, ids
from fulgurite.errors import FulguriteError
from fulgurite.events.calls import (
    AWAIT_TURN,
    EMIT_EVENT,
    SEND_WEBHOOK,
    Emitted,
    Posted,
    Posting,
    Turn,
    TurnCame,
)
from fulgurite.events.catalogue import Event, EventType
from fulgurite.events.delivery import (
    DELIVERY,
    DeliveryState,
    EventDelivery,
    EventReceipt,
    Recipient,
)
from nodes.webhooks.sender import Webhooks

_FIRST_LOOK_SECONDS: Final = 0.2
_LONGEST_LOOK_SECONDS: Final = 30.0
_ANSWER: Final = timedelta(seconds=10)


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
        names = self._webhooks.names_wanting(event.type, event.node)
        if not names:
            return Emitted(endpoints=())
        order = EventDelivery(
            event=event,
            recipients=tuple(
                Recipient(endpoint=name, ordered=self._webhooks.config(name).ordered)
                for name in names
            ),
        )
        payment_hash = event.data.get("payment_hash")
        # What has been told is not told again for as long as Temporal remembers; after that a
        # receiver knows it by its id.
        with suppress(WorkflowAlreadyStartedError):
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
                        **({attributes.PAYMENT_HASH: str(payment_hash)} if payment_hash else {}),
                    }
                ),
                static_summary=f"{event.type} to {', '.join(names)}",
            )
        return Emitted(endpoints=names)


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
            answer = await self._webhooks.send(ask.endpoint, ask.event.id, body)
        except FulguriteError as error:
            raise application_error(error) from error
        return Posted(status=answer.status, milliseconds=round(answer.seconds * 1_000))

    @activity.defn(name=AWAIT_TURN.name)
    async def await_turn(self, ask: Turn) -> TurnCame:
        """Returns when the earlier event has been delivered to the endpoint, or is dead."""
        async with heartbeating():
            return await until_shutdown(self._await_turn(ask))

    async def _await_turn(self, ask: Turn) -> TurnCame:
        pause_seconds = _FIRST_LOOK_SECONDS
        while not await self._is_through(ask):
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_LOOK_SECONDS)
        return TurnCame()

    async def _is_through(self, ask: Turn) -> bool:
        handle = self._client.get_workflow_handle(ids.event_id(ask.event_id))
        try:
            described = await handle.describe(rpc_timeout=_ANSWER)
            if described.status is not WorkflowExecutionStatus.RUNNING:
                return True
            receipt = await handle.query(
                "deliveries", result_type=EventReceipt, rpc_timeout=_ANSWER
            )
        except RPCError as error:
            # No such event: nobody wanted it, or it is too old to be remembered.
            return error.status is RPCStatusCode.NOT_FOUND
        return all(
            each.state in DELIVERY.terminal
            for each in receipt.deliveries
            if each.endpoint == ask.endpoint
        )
