"""A node's invoice stream: one durable listener, for as long as the node is ours."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError, is_cancelled_exception

from fulgurite import ids
from fulgurite.identity import NodeName
from fulgurite.invoices.stream import LISTEN, Cursor, Listen, Listened, StreamView
from workflows import search_attributes
from workflows.calling import start_on

# How long one activity listens before operators see how it went; sooner when that changes.
_ROUND = timedelta(minutes=10)
# An activity leaves between two scans of the node's list, which can be long.
_ROUND_AT_MOST = _ROUND + timedelta(hours=1)
# A history stays small also where Temporal would let it grow.
_ROUNDS_A_RUN = 500
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)


@workflow.defn(name="InvoiceStreamWorkflow")
class InvoiceStreamWorkflow:
    """Listens for ever. Its id is `invoice-stream/<node>`, so that there is one a node.

    It never gives up: an activity that dies is followed by one that begins where the
    heartbeats of the dead one ended.
    """

    @workflow.init
    def __init__(self, node: NodeName, carried: StreamView | None = None) -> None:
        # Not `start_time`: that is the first workflow task's, which a crash makes later.
        began_at = workflow.info().workflow_start_time
        # What others were paid before is no news; our own invoices hear of it all the same.
        self._view = carried or StreamView(
            node=node, began_at=began_at, listened=Listened(cursor=Cursor.at(began_at))
        )

    @workflow.run
    async def run(self, node: NodeName, carried: StreamView | None = None) -> None:
        """`carried` is what an earlier run knew."""
        if carried is None:
            self._show(search_attributes.NODE.value_set(node))
        for _ in range(_ROUNDS_A_RUN):
            await self._listen()
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new(args=[node, self._view])

    async def _listen(self) -> None:
        view = self._view
        listening = start_on(
            ids.invoice_queue(view.node),
            LISTEN,
            Listen(node=view.node, so_far=view.listened, until=workflow.now() + _ROUND),
            at_most=_ROUND_AT_MOST,
            summary=f"invoices of {view.node}",
        )
        try:
            listened = await listening
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # A defect of ours, which it may not end by: somebody waits for their money.
            workflow.logger.error("listening broke", extra={"because": str(error.cause)})
            listened = view.listened.interrupted().model_copy(
                update={"problem": str(error.cause or error)}
            )
            await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
        before = view.listened.state
        self._view = view.model_copy(update={"listened": listened, "rounds": view.rounds + 1})
        if listened.state is not before:
            self._show()
        workflow.set_current_details(self._view.details())

    def _show(self, *more: SearchAttributeUpdate[str]) -> None:
        state = search_attributes.STATE.value_set(self._view.listened.state)
        workflow.upsert_search_attributes([state, *more])

    @workflow.query
    def view(self) -> StreamView:
        return self._view
