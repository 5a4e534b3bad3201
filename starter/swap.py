"""A swap: begun once by its key, watched, steered, and waited for."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import KeyReusedError
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.swaps.calls import SwapPlan
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.requests import Abandonment, Adoption, SwapRequest, Word
from fulgurite.swaps.states import SWAP, SwapState
from starter.errors import of_failed_workflow, temporal_errors
from starter.handle import Handle
from workflows.swap import SwapWorkflow
from workflows.swap_quote import SwapQuoteWorkflow

# A worker and loopd have to answer within it.
_QUOTE_WITHIN: Final = timedelta(minutes=2)


class Swap(Handle[SwapReceipt, SwapView]):
    """A swap that was begun: `receipt`, `view`, `watch`, and what may be said to it."""

    _NOUN: ClassVar = "swap"

    def __init__(self, client: Client, key: str, *, attached: bool) -> None:
        """`attached`: it was under way before, under the same key."""
        super().__init__(
            client.get_workflow_handle_for(SwapWorkflow.run, ids.swap_id(key)), SwapWorkflow.view
        )
        self.key = key
        self.attached = attached

    def __repr__(self) -> str:
        return f"Swap({self.key}, attached={self.attached})"

    # Before it has begun. Each raises InvalidRequestError where it comes too late.

    async def approve(self, approval: Approval) -> SwapView:
        return await self._ordering(SwapWorkflow.approve, approval)

    async def reject(self, rejection: Rejection) -> SwapView:
        return await self._ordering(SwapWorkflow.reject, rejection)

    async def pause(self, word: Word) -> SwapView:
        """Nothing is begun until `resume`, which asks for a new quote."""
        return await self._ordering(SwapWorkflow.pause, word, done={SwapState.PAUSED})

    async def resume(self, word: Word) -> SwapView:
        return await self._ordering(SwapWorkflow.resume, word)

    async def cancel(self, cancellation: Cancellation) -> SwapView:
        """It never begins."""
        return await self._ordering(SwapWorkflow.cancel, cancellation, done={SwapState.CANCELED})

    # When nobody knows whether it has begun.

    async def initiate_again(self, word: Word) -> SwapView:
        """Another try, which a new look allows only where loopd has nothing stored of it."""
        return await self._ordering(SwapWorkflow.initiate_again, word)

    async def adopt(self, adoption: Adoption) -> SwapView:
        """It is this swap of loopd's, whatever its label."""
        return await self._ordering(SwapWorkflow.adopt, adoption)

    async def give_up(self, word: Word) -> SwapView:
        """It is looked for no more. If it turns up all the same, nobody follows it."""
        return await self._ordering(SwapWorkflow.give_up, word, done={SwapState.GIVEN_UP})

    # When it has.

    async def abandon(self, abandonment: Abandonment) -> SwapView:
        """Has loopd stop caring for a swap in. After its HTLC is published that can lose it."""
        return await self._ordering(SwapWorkflow.abandon, abandonment, done={SwapState.ABANDONED})

    def _standing(self, view: SwapView) -> str:
        return view.state

    def _is_last(self, view: SwapView) -> bool:
        return view.state in SWAP.terminal


async def begin_swap(client: Client, request: SwapRequest) -> Swap:
    """Starts a swap, or joins the one of the same key; what `FulguriteClient.swap` does."""
    attached = False
    try:
        with temporal_errors():
            await client.start_workflow(
                SwapWorkflow.run,
                request,
                id=ids.swap_id(request.key),
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                # A key that has ended keeps its outcome. Where Temporal has forgotten it, loopd
                # knows its label, and the swap is found there and not begun again.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                static_summary=f"{request.direction} {request.amount_sat:,} sat, {request.node}",
            )
    except WorkflowAlreadyStartedError:
        attached = True
    swap = Swap(client, request.key, attached=attached)
    if attached:
        await _check_same(swap, request)
    return swap


async def _check_same(swap: Swap, request: SwapRequest) -> None:
    view = await swap.view()
    asked = (request.node, request.direction, request.amount_sat)
    if (view.node, view.direction, view.amount_sat) != asked:
        raise KeyReusedError(f"the key {request.key} belongs to another swap: take a new one")


async def quote_swap(client: Client, request: SwapRequest) -> SwapPlan:
    """What it would cost now; what `FulguriteClient.quote_swap` does."""
    with temporal_errors():
        handle = await client.start_workflow(
            SwapQuoteWorkflow.run,
            request,
            id=ids.swap_quote_id(request.key),
            task_queue=ids.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            execution_timeout=_QUOTE_WITHIN,
            static_summary=f"quote {request.direction} {request.amount_sat:,} sat, {request.node}",
        )
        try:
            return await handle.result()
        except WorkflowFailureError as failure:
            raise of_failed_workflow(failure, handle.id) from failure
