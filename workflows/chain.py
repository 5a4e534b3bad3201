"""A node's blocks, told to those who wait for one: one follower a node, and many waiters."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from fulgurite import ids
from fulgurite.chain.tip import FOLLOW_CHAIN, Alarm, ChainView, FollowChain, Tip
from fulgurite.identity import NodeName
from workflows import search_attributes
from workflows.calling import read_signal, start_on

# How long one activity follows, if no block comes before. It notices by itself what is dead.
_FOLLOW = timedelta(hours=1)
# A history stays small also where Temporal would let it grow.
_BLOCKS_A_RUN = 500
# So many are woken at the same time; Temporal has a limit for what one workflow signals.
_AT_ONCE = 100
# A run begins with all of them in one payload. Who comes too many looks at the chain by itself.
_ALARMS_AT_MOST = 10_000
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)


@workflow.defn(name="ChainWorkflow")
class ChainWorkflow:
    """Follows for ever. Its id is `chain/<node>`, so that there is one a node.

    A tip that the node itself does not trust wakes nobody. A block that is taken back wakes
    all: whatever they wait for may be further away than they think, or gone.
    """

    @workflow.init
    def __init__(self, node: NodeName, carried: ChainView | None = None) -> None:
        self._view = carried or ChainView(node=node)
        self._alarms = {alarm.workflow_id: alarm for alarm in self._view.alarms}

    @workflow.run
    async def run(self, node: NodeName, carried: ChainView | None = None) -> None:
        """`carried` is what an earlier run knew."""
        if carried is None:
            self._show(search_attributes.NODE.value_set(node))
        for _ in range(_BLOCKS_A_RUN):
            await self._follow()
            if workflow.info().is_continue_as_new_suggested():
                break
        # An activity that is still under way only looks, and notices that nobody waits for it.
        workflow.continue_as_new(args=[node, self._present_view()])

    async def _follow(self) -> None:
        """To the next tip, or until this run has to end. Meanwhile, who comes late is woken."""
        following = start_on(
            ids.chain_queue(self._view.node),
            FOLLOW_CHAIN,
            FollowChain(
                node=self._view.node,
                known=self._view.tip,
                trusted=self._view.trusted,
                until=workflow.now() + _FOLLOW,
            ),
            at_most=2 * _FOLLOW,
            summary=f"blocks of {self._view.node}",
        )
        while not following.done():
            await self._wake()
            await workflow.wait_condition(
                lambda: (
                    following.done()
                    or bool(self._due())
                    or workflow.info().is_continue_as_new_suggested()
                )
            )
            if workflow.info().is_continue_as_new_suggested():
                break
        if following.done():
            await self._hear(following)
        await self._wake()

    async def _hear(self, following: workflow.ActivityHandle[Tip]) -> None:
        try:
            tip = await following
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # A defect of ours, which it may not end by: somebody waits for a block.
            workflow.logger.error("following broke", extra={"because": str(error.cause)})
            await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
            return
        before = self._view
        changes: dict[str, Any] = {"tip": tip}
        if tip.synced:
            changes["trusted"] = tip
            if before.trusted and tip.takes_back(before.trusted):
                changes["reorgs"] = before.reorgs + 1
                workflow.logger.warning("a block was taken back", extra={"height": tip.height})
                self._alarms = {
                    alarm.workflow_id: alarm.model_copy(update={"height": 0})
                    for alarm in self._alarms.values()
                }
        self._view = before.model_copy(update=changes)
        if self._view.state is not before.state:
            self._show()

    async def _wake(self) -> None:
        """Everybody whose height is reached, so many at a time."""
        tip = self._view.tip
        assert tip is not None or not self._due()
        while due := self._due()[:_AT_ONCE]:
            for alarm in due:
                del self._alarms[alarm.workflow_id]
                if tip and (again := alarm.again(tip)):
                    self._alarms[alarm.workflow_id] = again
            await asyncio.gather(*(self._tell(alarm.workflow_id, tip) for alarm in due))
        workflow.set_current_details(self._present_view().details())

    async def _tell(self, workflow_id: str, tip: Tip | None) -> None:
        try:
            await workflow.get_external_workflow_handle(workflow_id).signal("block", tip)
        except FailureError:
            # It has ended, or never was: nobody waits.
            workflow.logger.info("nobody to wake", extra={"sleeper": workflow_id})
            self._alarms.pop(workflow_id, None)

    def _due(self) -> list[Alarm]:
        tip = self._view.tip
        if tip is None or not tip.synced:
            return []
        return [alarm for alarm in self._alarms.values() if alarm.height <= tip.height]

    def _show(self, *more: SearchAttributeUpdate[str]) -> None:
        state = search_attributes.STATE.value_set(self._view.state)
        workflow.upsert_search_attributes([state, *more])

    def _present_view(self) -> ChainView:
        return self._view.model_copy(update={"alarms": tuple(self._alarms.values())})

    # Who waits, and who waits no more.

    @workflow.signal
    def wake(self, *given: Any) -> None:
        """An Alarm. The newest of a workflow replaces what it asked for before."""
        alarm = read_signal(Alarm, given)
        if alarm is None:
            return
        if alarm.workflow_id not in self._alarms and len(self._alarms) >= _ALARMS_AT_MOST:
            workflow.logger.error("too many wait", extra={"sleeper": alarm.workflow_id})
            return
        self._alarms[alarm.workflow_id] = alarm

    @workflow.signal
    def forget(self, *given: Any) -> None:
        """The id of a workflow that waits no more."""
        match given:
            case [str(workflow_id)]:
                self._alarms.pop(workflow_id, None)
            case _:
                workflow.logger.warning("a signal that is no workflow id was dropped")

    @workflow.query
    def view(self) -> ChainView:
        return self._present_view()
