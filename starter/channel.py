"""The end of a channel: ordered, followed to its last output, and found again."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar, Final

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.channels.calls import BeginClose
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseRequest
from fulgurite.channels.states import CLOSE, CloseState
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelPoint, NodeName
from starter.errors import NotRetainedError, temporal_errors
from starter.handle import Handle
from workflows import search_attributes
from workflows.close import ChannelCloseWorkflow

# One that ends while it is joined is begun anew; twice in a row that is no coincidence.
_TRIES: Final = 3


class ChannelClose(Handle[CloseReceipt, CloseView]):
    """A closing: `receipt` when the last output is resolved, `view` and `watch`.

    An order that LND may have is not called back: there is nothing to cancel.
    """

    _NOUN: ClassVar = "closing"

    def __init__(self, client: Client, workflow_id: str, *, attached: bool) -> None:
        """`attached`: it was under way; a new order was added to its own."""
        super().__init__(
            client.get_workflow_handle_for(ChannelCloseWorkflow.run, workflow_id),
            ChannelCloseWorkflow.view,
        )
        self.id = workflow_id
        self.attached = attached

    def __repr__(self) -> str:
        return f"ChannelClose({self.id}, attached={self.attached})"

    def _standing(self, view: CloseView) -> str:
        return view.state

    def _is_last(self, view: CloseView) -> bool:
        return view.state in CLOSE.terminal


async def close_channel(client: Client, request: CloseRequest) -> ChannelClose:
    """Starts a closing, or joins the one under way; as `FulguriteClient.close_channel` has it."""
    usual = ids.close_id(request.channel_point)
    # Where both ends of a channel are ours, whoever comes second has the longer id.
    either = usual, f"{usual}/{request.node}"
    # A channel closes once. What LND still says of it later is less than what its receipt says.
    for workflow_id in either:
        if await _is_closed(client, workflow_id, request.node):
            return ChannelClose(client, workflow_id, attached=True)
    for _ in range(_TRIES):
        for workflow_id in either:
            if await _started(client, workflow_id, request):
                return ChannelClose(client, workflow_id, attached=False)
            # It may have ended by now: then it is begun anew.
            with suppress(NotRetainedError):
                if await _is_of(client, workflow_id, request.node):
                    await _join(client, workflow_id, request)
                    return ChannelClose(client, workflow_id, attached=True)
    raise InvalidRequestError(
        f"{usual} ends each time that it is joined: look at it in Temporal, then ask again"
    )


async def channel_close(
    client: Client, channel_point: ChannelPoint, node: NodeName | None
) -> ChannelClose:
    """The closing of a channel, known or not: `node`'s, or whoever's came first."""
    workflow_id = ids.close_id(channel_point)
    with suppress(NotRetainedError):
        if node is not None and not await _is_of(client, workflow_id, node):
            workflow_id = f"{workflow_id}/{node}"
    return ChannelClose(client, workflow_id, attached=True)


async def _started(client: Client, workflow_id: str, request: CloseRequest) -> bool:
    """False: one runs already."""
    try:
        with temporal_errors():
            await client.start_workflow(
                ChannelCloseWorkflow.run,
                request,
                id=workflow_id,
                task_queue=ids.TASK_QUEUE,
                # As with USE_EXISTING there is one; and who joins is told that he does.
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                # One that was called off, refused or ended by force is tried anew.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(search_attributes.STATE, CloseState.REQUESTED),
                        SearchAttributePair(search_attributes.NODE, request.node),
                    ]
                ),
                static_summary=f"{request.kind.lower()} on {request.node}",
            )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def _is_of(client: Client, workflow_id: str, node: NodeName) -> bool:
    described = await _described(client, workflow_id)
    return described.typed_search_attributes.get(search_attributes.NODE, node) == node


async def _is_closed(client: Client, workflow_id: str, node: NodeName) -> bool:
    try:
        last = await _described(client, workflow_id)
    except NotRetainedError:
        return False
    told = last.typed_search_attributes
    return last.status is WorkflowExecutionStatus.COMPLETED and (
        told.get(search_attributes.NODE),
        told.get(search_attributes.STATE),
    ) == (node, CloseState.CLOSED)


async def _described(client: Client, workflow_id: str) -> WorkflowExecutionDescription:
    with temporal_errors():
        return await client.get_workflow_handle(workflow_id).describe()


async def _join(client: Client, workflow_id: str, request: CloseRequest) -> None:
    running = client.get_workflow_handle_for(ChannelCloseWorkflow.run, workflow_id)
    with temporal_errors():
        await running.signal(ChannelCloseWorkflow.join, BeginClose(request=request))
