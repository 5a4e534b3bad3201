"""The end of a channel: ordered, followed to its last output, and found again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Final

from temporalio.client import Client, WorkflowExecutionStatus
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
        """`attached`: it was under way, and a new order was added to its own; or it is over."""
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
    for _ in range(_TRIES):
        # Where both ends of a channel are ours, whoever comes second has the longer id.
        for workflow_id in (usual, f"{usual}/{request.node}"):
            last = await _last(client, workflow_id)
            if last and (last.runs or last.closed) and not last.is_of(request.node):
                continue
            if last and last.runs:
                with suppress(NotRetainedError):
                    await _join(client, workflow_id, request)
                    return ChannelClose(client, workflow_id, attached=True)
            elif last and last.closed:
                # What LND says of it by now is less than what its receipt says.
                return ChannelClose(client, workflow_id, attached=True)
            elif await _started(client, workflow_id, request):
                return ChannelClose(client, workflow_id, attached=False)
            break  # it has ended, or somebody was faster: look again
    raise InvalidRequestError(
        f"{usual} ends each time that it is joined: look at it in Temporal, then ask again"
    )


async def channel_close(
    client: Client, channel_point: ChannelPoint, node: NodeName | None
) -> ChannelClose:
    """The closing of a channel, known or not: `node`'s, or whoever's came first."""
    workflow_id = ids.close_id(channel_point)
    if node is not None:
        last = await _last(client, workflow_id)
        if last and not last.is_of(node):
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


@dataclass(frozen=True)
class _Last:
    """A closing's latest run."""

    node: NodeName | None
    status: WorkflowExecutionStatus | None
    state: str | None

    @property
    def runs(self) -> bool:
        return self.status is WorkflowExecutionStatus.RUNNING

    @property
    def closed(self) -> bool:
        """Whether it has a receipt of the channel's last output."""
        completed = self.status is WorkflowExecutionStatus.COMPLETED
        return completed and self.state == CloseState.CLOSED

    def is_of(self, node: NodeName) -> bool:
        """One that was begun without its node's name can be anybody's."""
        return self.node in {None, node}


async def _last(client: Client, workflow_id: str) -> _Last | None:
    try:
        with temporal_errors():
            last = await client.get_workflow_handle(workflow_id).describe()
    except NotRetainedError:
        return None
    told = last.typed_search_attributes
    return _Last(
        node=told.get(search_attributes.NODE),
        status=last.status,
        state=told.get(search_attributes.STATE),
    )


async def _join(client: Client, workflow_id: str, request: CloseRequest) -> None:
    running = client.get_workflow_handle_for(ChannelCloseWorkflow.run, workflow_id)
    with temporal_errors():
        await running.signal(ChannelCloseWorkflow.join, BeginClose(request=request))
