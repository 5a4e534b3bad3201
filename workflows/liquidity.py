"""The autopilot: look, price, plan; then explain, ask or act. One run is one plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType, event
from fulgurite.liquidity.calls import (
    ASK_PRICES,
    LOOK_AT_LIQUIDITY,
    RECALL_DEEDS,
    AskPrices,
    Recall,
)
from fulgurite.liquidity.confirming import confirmed, without
from fulgurite.liquidity.deeds import Deed, Memory, newest
from fulgurite.liquidity.needs import Judgement, judge
from fulgurite.liquidity.orders import MoveOrder, order
from fulgurite.liquidity.picture import Snapshot
from fulgurite.liquidity.planning import decide
from fulgurite.liquidity.plans import (
    WHOLE_NODE,
    ChannelLine,
    LiquidityPlan,
    PlanNotice,
    PlanState,
)
from fulgurite.liquidity.policy import LONGEST_BACKOFF_HOURS, LiquidityPolicy, Mode, Remedy
from fulgurite.liquidity.pricing import Ask, NoPrice, Price, Purse, unpriced
from fulgurite.liquidity.reasons import Reason
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.liquidity.words import details, headline
from fulgurite.payments.requests import Rejection
from workflows import liquidity_asking, metrics, search_attributes, turns
from workflows.announcing import emit
from workflows.calling import nobody_came, refusal, refused, start_on, try_on
from workflows.liquidity_telling import when_moved

_LOOK_AT_MOST: Final = timedelta(minutes=5)
_PRICE_AT_MOST: Final = timedelta(minutes=2)
# A worker that restarts is back by then; one that holds no such credential never comes.
_WORKER_WITHIN: Final = timedelta(minutes=10)
_PRICER_WITHIN: Final = timedelta(seconds=30)
# To begin takes seconds. Who is ended by force loses his turn before: see workflows/turns.py.
_TURN_AT_MOST: Final = timedelta(days=1)
# After that the prices are old: the next plan is a better one.
_TURN_WITHIN: Final = timedelta(minutes=15)
_NO_EYES: Final = "no worker could read the node's channels"

_QUEUES: Final = {
    Remedy.REBALANCE: ids.rebalance_queue,
    Remedy.LOOP_OUT: ids.swap_queue,
    Remedy.LOOP_IN: ids.swap_queue,
    Remedy.LEASE: ids.lease_queue,
}


@workflow.defn(name="LiquidityWorkflow")
class LiquidityWorkflow:
    """One plan for a node's channels. Its id is `liquidity/<node>-<time>`.

    What it begins runs in workflows of its own, under keys that follow from this plan: it does
    not wait for them. The next run asks Temporal what became of them; what still counts goes
    from result to result, so that memory is as long as the backoff and no longer.
    """

    @workflow.init
    def __init__(self, request: Any = None) -> None:
        # Any JSON, so that a malformed request is refused and does not wedge the task.
        self._refusal: ApplicationError | None = None
        self._under_way: list[asyncio.Future[Any]] = []
        self._approval: PlanApproval | None = None
        self._rejection: Rejection | None = None
        try:
            self._asked = LiquidityRequest.model_validate(request)
        except ValidationError as error:
            self._refusal = refused(error)
            return
        self._plan = LiquidityPlan(
            node=self._asked.node,
            state=PlanState.LOOKING,
            mode=self._asked.mode or Mode.EXPLAIN,
            began_at=workflow.info().workflow_start_time,
        )

    @workflow.run
    async def run(self, request: Any = None) -> LiquidityPlan:  # noqa: ARG002 - read in __init__
        """The plan, and what was begun of it. Raises ApplicationError for a malformed request."""
        if self._refusal:
            raise self._refusal
        await self._run()
        metrics.count_plan(self._plan)
        if self._asked.outbound:
            await when_moved(self._asked.outbound.payment_hash, self._under_way)
        return self._plan

    async def _run(self) -> None:
        workflow.upsert_search_attributes(
            [search_attributes.NODE.value_set(self._asked.node)],
        )
        self._now(state=PlanState.LOOKING)
        snapshot = await self._look(self._asked)
        if snapshot is None:
            await self._remember_blindly()
            return
        mode = self._asked.mode or snapshot.policy.mode
        if mode is Mode.ACT and snapshot.policy.budget is None:
            raise refused(InvalidRequestError("to act by itself the policy needs a budget"))
        memory, purse = await self._recall(snapshot.policy, _known_to_the_schedule())
        judgement = judge(snapshot, memory, self._asked.outbound)
        lines = decide(judgement, await self._prices(judgement), purse)
        self._now(
            state=PlanState.PLANNED,
            mode=mode,
            planned_at=workflow.now(),
            policy=snapshot.policy,
            lines=lines,
            purse=purse,
            deeds=memory.deeds,
            note=snapshot.flows_told,
        )
        if mode is Mode.EXPLAIN or not self._plan.moves:
            return
        if mode is Mode.ASK and not await self._approved():
            return
        await self._begin(snapshot.policy)

    async def _look(self, asked: LiquidityRequest) -> Snapshot | None:
        """None where no worker holds the node's observe credential."""
        try:
            return await start_on(
                ids.chain_queue(asked.node),
                LOOK_AT_LIQUIDITY,
                asked,
                at_most=_LOOK_AT_MOST,
                start_within=_WORKER_WITHIN,
                summary="look at channels and forwards",
            )
        except ActivityError as error:
            if because := refusal(error):
                raise because from error
            if nobody_came(error):
                return None
            raise

    async def _remember_blindly(self) -> None:
        """Who sees nothing hands on what is known all the same: the next one may see."""
        asked, known = self._asked.policy, _known_to_the_schedule()
        policy = asked or LiquidityPolicy(backoff_hours=LONGEST_BACKOFF_HOURS)
        memory, _ = await self._recall(policy, known)
        self._now(state=PlanState.BLIND, deeds=memory.deeds, note=_NO_EYES)

    async def _recall(
        self, policy: LiquidityPolicy, known: tuple[Deed, ...]
    ) -> tuple[Memory, Purse]:
        """What this and other plans have begun, as Temporal knows it now, and the budget."""
        recalled = await start_on(
            ids.TASK_QUEUE,
            RECALL_DEEDS,
            Recall(
                node=self._asked.node,
                backoff_hours=policy.backoff_hours,
                known=known,
                budget=policy.budget,
            ),
            at_most=_LOOK_AT_MOST,
            summary="what is under way",
        )
        return Memory.of(recalled.deeds, workflow.now(), policy.backoff_hours), recalled.purse

    async def _prices(self, judgement: Judgement) -> list[Price]:
        """Of what is configured; each queue's workers can price their own."""
        prices: list[Price] = []
        by_queue: dict[str, list[Ask]] = {}
        for ask in judgement.asks():
            if ask.remedy in judgement.snapshot.remedies:
                queue = _QUEUES[ask.remedy](self._asked.node)
                by_queue.setdefault(queue, []).append(ask)
            else:
                prices.append(unpriced(ask, NoPrice.NOT_CONFIGURED, "not configured"))
        told = await asyncio.gather(
            *(self._ask(queue, asks, judgement) for queue, asks in by_queue.items())
        )
        return [*prices, *(price for some in told for price in some)]

    async def _ask(self, queue: str, asks: Sequence[Ask], judgement: Judgement) -> list[Price]:
        try:
            told = await try_on(
                queue,
                ASK_PRICES,
                AskPrices(node=self._asked.node, asks=tuple(asks), lease=judgement.policy.lease),
                at_most=_PRICE_AT_MOST,
                start_within=_PRICER_WITHIN,
                summary=f"{len(asks)} prices",
            )
        except ActivityError as error:
            because = "no worker came" if nobody_came(error) else str(error.cause or error)
            return [unpriced(ask, NoPrice.NOT_TOLD, because) for ask in asks]
        return list(told.prices)

    async def _approved(self) -> bool:
        """Waits for a person."""
        policy = self._plan.policy
        assert policy is not None
        self._now(state=PlanState.AWAITING_APPROVAL)
        if self._asked.outbound:
            lines = await liquidity_asking.left_to_ask(self._plan)
            self._now(lines=self._plan.lines if self._approval or self._rejection else lines)
            if not self._plan.moves:
                self._now(state=PlanState.PLANNED, note="another plan asks for it already")
                return False
        await self._tell(EventType.LIQUIDITY_AWAITING_APPROVAL)
        try:
            await workflow.wait_condition(
                lambda: bool(self._approval or self._rejection),
                timeout=timedelta(hours=policy.ask_hours),
                timeout_summary="a person is asked",
            )
        except TimeoutError:
            self._now(state=PlanState.LAPSED, note="nobody decided in time")
            return False
        if self._rejection:
            by, why = self._rejection.approver, self._rejection.reason
            self._now(state=PlanState.REJECTED, note=f"{by} said no{f': {why}' if why else ''}")
            return False
        assert self._approval is not None
        self._now(note=f"{self._approval.approver} said yes")
        return True

    async def _begin(self, policy: LiquidityPolicy) -> None:
        """One plan of a node at a time, and each by what is so when its turn has come."""
        self._now(state=PlanState.BEGINNING)
        node = self._asked.node
        try:
            async with turns.held(
                node, [WHOLE_NODE], at_most=_TURN_AT_MOST, patience=_TURN_WITHIN
            ) as turn:
                if not await self._confirm(policy):
                    return
                begun = await self._start_all(policy, turn)
        except turns.NoTurnError:
            self._now(state=PlanState.PLANNED, note="another plan was beginning its moves")
            return
        self._now(state=PlanState.BEGUN if begun else PlanState.PLANNED)
        if begun:
            await self._tell(EventType.LIQUIDITY_BEGUN)

    async def _confirm(self, policy: LiquidityPolicy) -> bool:
        """Recalls before it looks: what ends between the two is seen in the balances.

        The policy is the plan's, as it was when it was made and approved.
        """
        memory, purse = await self._recall(policy, self._plan.deeds)
        snapshot = await self._look(self._asked.model_copy(update={"policy": policy}))
        if snapshot is None:
            self._now(state=PlanState.BLIND, deeds=memory.deeds, note=_NO_EYES)
            return False
        only = self._approval.only if self._approval else ()
        judgement = judge(snapshot, memory, self._asked.outbound)
        self._now(
            lines=confirmed(self._plan.lines, judgement, purse, only),
            purse=purse,
            deeds=memory.deeds,
        )
        return True

    async def _start_all(self, policy: LiquidityPolicy, turn: turns.HeldTurn) -> int:
        """Each move in a workflow of its own, which outlives this one. How many there are.

        A deed is in the view before it is begun: others know of it, whatever becomes of this.
        """
        plan_id, node, now = workflow.info().workflow_id, self._asked.node, workflow.now()
        lines: list[ChannelLine] = []
        begun = 0
        for line in self._plan.lines:
            if not line.move:
                lines.append(line)
                continue
            if workflow.now() >= turn.until:  # no worker ran this for a day
                lines.append(without(line, Reason.IN_FLIGHT, "others may have begun meanwhile"))
                continue
            move_order = order(plan_id, node, line, policy, now)
            self._now(deeds=newest(self._plan.deeds, [move_order.deed]))
            await self._start(move_order)
            begun += 1
            move = line.move.model_copy(update={"workflow_id": move_order.workflow_id})
            lines.append(line.model_copy(update={"move": move}))
        self._now(lines=tuple(lines))
        return begun

    async def _start(self, move_order: MoveOrder) -> None:
        try:
            child = await workflow.start_child_workflow(
                move_order.workflow,
                move_order.request,
                id=move_order.workflow_id,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"by the autopilot of {self._asked.node}",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("begun before", extra={"began": move_order.workflow_id})
        else:
            child.add_done_callback(_is_over)
            self._under_way.append(child)

    async def _tell(self, kind: EventType) -> None:
        plan_id = workflow.info().workflow_id
        await emit(
            event(
                kind,
                PlanNotice(
                    node=self._asked.node,
                    plan=plan_id,
                    state=self._plan.state,
                    headline=headline(self._plan),
                    moves=self._plan.moves,
                ),
                subject=workflow.info().first_execution_run_id,
                resource=plan_id,
                node=self._asked.node,
                timestamp=workflow.now(),
            )
        )

    def _now(self, **changes: Any) -> None:
        self._plan = self._plan.model_copy(update=changes)
        known = workflow.info().typed_search_attributes.get(search_attributes.STATE)
        if known != self._plan.state:
            workflow.upsert_search_attributes([search_attributes.STATE.value_set(self._plan.state)])
        workflow.set_current_details(details(self._plan))

    # What people say.

    @workflow.update
    def approve(self, approval: PlanApproval) -> LiquidityPlan:
        """Begins the moves of the plan, or those of the channels that are named."""
        self._approval = approval
        return self._plan

    @workflow.update
    def reject(self, rejection: Rejection) -> LiquidityPlan:
        """Nothing is moved."""
        self._rejection = rejection
        return self._plan

    @approve.validator
    def _check_approval(self, approval: PlanApproval) -> None:
        self._must_be_asking()
        asked_for = {line.channel_id for line in self._plan.moves}
        if strangers := sorted(set(approval.only) - asked_for):
            raise refused(InvalidRequestError(f"the plan moves nothing on {', '.join(strangers)}"))

    @reject.validator
    def _check_rejection(self, rejection: Rejection) -> None:  # noqa: ARG002 - any rejection will do
        self._must_be_asking()

    def _must_be_asking(self) -> None:
        if self._refusal:
            raise self._refusal
        if self._plan.state is not PlanState.AWAITING_APPROVAL:
            raise refused(InvalidRequestError(f"nothing to decide: the plan is {self._plan.state}"))
        if self._approval or self._rejection:
            raise refused(InvalidRequestError("somebody has decided already"))

    @workflow.query
    def view(self) -> LiquidityPlan:
        if self._refusal:
            raise self._refusal
        return self._plan


def _is_over(child: asyncio.Future[Any]) -> None:
    """Its end is the next plan's to ask about; the future must not be left unread."""
    if not child.cancelled():
        child.exception()


def _known_to_the_schedule() -> tuple[Deed, ...]:
    """What the schedule's last run has handed on: Temporal's index may not have it yet."""
    if not workflow.has_last_completion_result():
        return ()
    try:
        last = workflow.get_last_completion_result(LiquidityPlan)
    except (ValueError, RuntimeError):  # of another version
        return ()
    return last.deeds if last else ()
