"""Several swaps, one after another: begun once by their key, watched, and changed."""

from __future__ import annotations

from typing import ClassVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import KeyReusedError
from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.requests import Word
from fulgurite.swaps.sequence import SEQUENCE, SequenceReceipt, SequenceState, SequenceView
from fulgurite.swaps.sequence_requests import SequenceChange, SwapSequenceRequest
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows.swap_sequence import SwapSequenceWorkflow


class SwapSequence(Handle[SequenceReceipt, SequenceView]):
    """A sequence that was begun: `receipt`, `view`, `watch`, and what may be said to it."""

    _NOUN: ClassVar = "sequence"

    def __init__(self, client: Client, key: str, *, attached: bool) -> None:
        """`attached`: it was under way before, under the same key."""
        super().__init__(
            client.get_workflow_handle_for(SwapSequenceWorkflow.run, ids.swap_sequence_id(key)),
            SwapSequenceWorkflow.view,
        )
        self.key = key
        self.attached = attached

    def __repr__(self) -> str:
        return f"SwapSequence({self.key}, attached={self.attached})"

    async def change(self, change: SequenceChange) -> SequenceView:
        """For the swaps that have not begun. Raises InvalidRequestError when it is over."""
        return await self._ordering(SwapSequenceWorkflow.change, change)

    async def pause(self, word: Word) -> SequenceView:
        """After the swap that is under way."""
        return await self._ordering(SwapSequenceWorkflow.pause, word)

    async def resume(self, word: Word) -> SequenceView:
        return await self._ordering(SwapSequenceWorkflow.resume, word)

    async def cancel(self, cancellation: Cancellation) -> SequenceView:
        """No further swap; the one that is under way goes to its end."""
        return await self._ordering(
            SwapSequenceWorkflow.cancel, cancellation, done={SequenceState.CANCELED}
        )

    def _standing(self, view: SequenceView) -> str:
        return view.state

    def _is_last(self, view: SequenceView) -> bool:
        return view.state in SEQUENCE.terminal


async def begin_sequence(client: Client, request: SwapSequenceRequest) -> SwapSequence:
    """Starts one, or joins the one of the same key; what `FulguriteClient.swap_sequence` does."""
    attached = False
    try:
        with temporal_errors():
            await client.start_workflow(
                SwapSequenceWorkflow.run,
                request,
                id=ids.swap_sequence_id(request.key),
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                static_summary=f"{request.direction} {request.order.amount_sat:,} sat in swaps, "
                f"{request.node}",
            )
    except WorkflowAlreadyStartedError:
        attached = True
    sequence = SwapSequence(client, request.key, attached=attached)
    if attached:
        view = await sequence.view()
        if (view.node, view.direction) != (request.node, request.direction):
            raise KeyReusedError(
                f"the key {request.key} belongs to another sequence: take a new one"
            )
    return sequence
