"""Closing channels through LND, and looking at how they close.

Safe to run again at any point: whoever asks LND looks before and after, so that a lost answer
is found again, and no channel is closed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import WHILE_SENDING_SECONDS, heartbeating, until_shutdown
from activities.snapshots import Snapshots
from activities.starting import searchable
from fulgurite import attributes, ids
from fulgurite.channels.calls import (
    BEGIN_CLOSE,
    BUMP_CLOSE,
    CLOSE_CHANNEL,
    LOOK_AT_CLOSE,
    RECONNECT_PEER,
    BeginClose,
    Begun,
    Bump,
    Bumped,
    ChannelOf,
    Reconnect,
    Reconnected,
)
from fulgurite.channels.channel import Channel
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CloseState
from fulgurite.errors import FulguriteError, NodeError, NothingHangsError
from fulgurite.identity import NodeName, NodePubkey

# LND lists a channel as closing a moment after it said so.
_LISTED_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
_NODE: Final = SearchAttributeKey.for_keyword(attributes.NODE)
_STATE: Final = SearchAttributeKey.for_keyword(attributes.STATE)


class ClosingNode(Protocol):
    """What is asked of a node by its close credential; see `nodes.lnd.closing`."""

    async def close(self, request: CloseRequest) -> None: ...

    async def bump(self, ask: Bump) -> Bumped: ...

    async def reconnect(self, peer: NodePubkey) -> Reconnected: ...


class ClosingActivities:
    """Closes channels of nodes whose close credential this worker holds, and looks."""

    def __init__(self, node: Callable[[NodeName], ClosingNode], snapshots: Snapshots) -> None:
        self._node = node
        self._snapshots = snapshots

    @activity.defn(name=LOOK_AT_CLOSE.name)
    async def look(self, ask: ChannelOf) -> Closing:
        """LND's present word. Raises NodeErrors, to be retried for ever."""
        try:
            async with heartbeating():
                snapshot = await self._snapshots.of(ask.node, ask.tip)
                return await snapshot.look(ask.channel_point)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    @activity.defn(name=CLOSE_CHANNEL.name)
    async def close(self, ask: CloseRequest) -> Closing:
        """Has LND close an open channel, and says what LND's lists say then.

        Raises NodeErrors, to be retried: it looks again before it asks again. Raises
        InvalidRequestErrors, not to be retried, when nothing was done: NothingHangsError
        where the close was for payments that hang on the channel no more.
        """
        try:
            async with heartbeating(WHILE_SENDING_SECONDS):
                return await self._close(ask)
        except FulguriteError as error:
            raise application_error(error) from error

    async def _close(self, ask: CloseRequest) -> Closing:
        snapshot = await self._snapshots.fresh(ask.node)
        closing = await snapshot.look(ask.channel_point)
        if closing.phase is not ClosePhase.OPEN:
            return closing
        # In the very list that says the channel is open (invariant 9).
        _check_reason(ask, snapshot.channels[ask.channel_point])
        try:
            await self._node(ask.node).close(ask)
        except NodeError:
            raise  # it may have been done: the next try looks first
        except FulguriteError:
            closing = await self._look_anew(ask)
            if closing.phase is ClosePhase.OPEN:
                raise
            return closing
        for pause in _LISTED_SECONDS:
            closing = await self._look_anew(ask)
            if closing.phase is not ClosePhase.OPEN:
                break
            await asyncio.sleep(pause)
        return closing

    async def _look_anew(self, ask: CloseRequest) -> Closing:
        snapshot = await self._snapshots.fresh(ask.node)
        return await snapshot.look(ask.channel_point)

    @activity.defn(name=BUMP_CLOSE.name)
    async def bump(self, ask: Bump) -> Bumped:
        """Has LND raise a fee. Once more is no harm: it is the same limit."""
        try:
            async with heartbeating():
                return await self._node(ask.node).bump(ask)
        except NodeError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            return Bumped(taken=False, because=str(error)[:400].replace("\n", " "))

    @activity.defn(name=RECONNECT_PEER.name)
    async def reconnect(self, ask: Reconnect) -> Reconnected:
        """Calls a peer. That it does not answer is an answer. Raises NodeErrors."""
        try:
            async with heartbeating():
                return await until_shutdown(self._node(ask.node).reconnect(ask.peer))
        except FulguriteError as error:
            raise application_error(error) from error


def _check_reason(ask: CloseRequest, channel: Channel) -> None:
    if ask.only_while_away and channel.active:
        raise NothingHangsError("the peer is back: what hangs can be resolved off chain")
    hanging = {
        htlc.payment_hash
        for htlc in channel.htlcs
        if not htlc.incoming
        and (ask.expire_by_height is None or htlc.expiry_height <= ask.expire_by_height)
    }
    if ask.for_payments and hanging.isdisjoint(ask.for_payments):
        raise NothingHangsError(
            "no payment that the force close was ordered for hangs on the channel any more: "
            "it was resolved off chain"
        )


class CloseStarter:
    """Begins closings, or joins those that run."""

    def __init__(self, client: Client) -> None:
        """`client` must carry the converter that the workers have."""
        self._client = client

    @activity.defn(name=BEGIN_CLOSE.name)
    async def begin(self, ask: BeginClose) -> Begun:
        """Runs, and knows of the order, once it returns; safe to repeat.

        A channel that was followed to its end is not followed again for nobody: LND tells less of
        it by then, and that would be its receipt.
        """
        request = ask.request
        usual = ids.close_id(request.channel_point)
        # Both ends of a channel can be ours: who comes second has the longer id.
        either = usual, f"{usual}/{request.node}"
        closed_for = {each: await self._closed_for(each) for each in either}
        if request.kind is CloseKind.FOLLOW and ask.listener is None:
            for workflow_id in either:
                if closed_for[workflow_id] == request.node:
                    return Begun(workflow_id=workflow_id)
        for workflow_id in either:
            if closed_for[workflow_id] not in {None, request.node}:
                continue  # the other end's receipt stays where it is looked for
            handle = await self._client.start_workflow(
                "ChannelCloseWorkflow",
                request,
                id=workflow_id,
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal="join",
                start_signal_args=[ask],
                search_attributes=searchable(
                    {attributes.STATE: CloseState.REQUESTED, attributes.NODE: request.node}
                ),
                static_summary=f"{request.kind.lower()} on {request.node}",
            )
            described = await handle.describe()
            if described.typed_search_attributes.get(_NODE, request.node) == request.node:
                break
        return Begun(workflow_id=workflow_id)

    async def _closed_for(self, workflow_id: str) -> NodeName | None:
        """The node whose end of the channel was followed to CLOSED there; None: nobody's."""
        try:
            last = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        told = last.typed_search_attributes
        ended = last.status is WorkflowExecutionStatus.COMPLETED
        return told.get(_NODE) if ended and told.get(_STATE) == CloseState.CLOSED else None
