"""What the autopilot looks at: channels and their forwards, and what earlier plans have begun.

Nothing here moves anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import heartbeating
from fulgurite import attributes, ids
from fulgurite.budgets.policy import BudgetName
from fulgurite.budgets.receipts import BudgetView
from fulgurite.channels.channel import Channel
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import NodeName
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.states import LeaseState
from fulgurite.liquidity.calls import LOOK_AT_LIQUIDITY, RECALL_DEEDS, Asking, Recall, Recalled
from fulgurite.liquidity.deeds import Deed, DeedState, newest
from fulgurite.liquidity.flows import FlowMeter
from fulgurite.liquidity.picture import Holding, Snapshot
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy
from fulgurite.liquidity.pricing import Purse
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.model import Model
from fulgurite.money import MSAT_PER_SAT
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.states import RebalanceState
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.states import SwapState
from nodes.registry import Nodes

_PATIENCE: Final = timedelta(seconds=10)
# Each plan carries what still counts of those before it: a few are enough. Temporal lists
# those that run first, which may be many: one that waits for a person can be about to begin.
_PLANS_READ: Final = 5
_PLANS_LISTED: Final = 100
# A plan that gives no answer then gives none for ever: it is wedged, or of another version.
_ASKED_SO_OFTEN: Final = 3

# How an answer fails to be of the kind that it should be: another version has written it.
_UNREADABLE: Final = (ValueError, RuntimeError)
# What is the same when it is asked again: it was deleted, or no worker of its kind is left.
_NEVER: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT})

_STATE = SearchAttributeKey.for_keyword(attributes.STATE)

_MOVED: Final = frozenset({RebalanceState.MOVED, RebalanceState.PARTLY_MOVED})
# The channel is there, and the lease's workflow watches it for weeks yet.
_LEASED: Final = frozenset({LeaseState.LEASED, LeaseState.TERM_ENDED, LeaseState.CLOSED_EARLY})


# Who gave up looking for a swap does not know whether loopd has it.
_OF_SWAP: Final = {
    SwapState.SUCCEEDED: DeedState.DONE,
    SwapState.GIVEN_UP: DeedState.UNKNOWN,
}
_RECEIPTS: Final[dict[Remedy, type[Model]]] = {
    Remedy.REBALANCE: RebalanceReceipt,
    Remedy.LOOP_OUT: SwapReceipt,
    Remedy.LOOP_IN: SwapReceipt,
    Remedy.LEASE: LeaseReceipt,
}


class LiquidityActivities:
    """Looks, for nodes whose observe credential this worker holds, and remembers for all."""

    def __init__(self, nodes: Nodes, client: Client) -> None:
        """`client` must carry the converter that the workers have."""
        self._nodes = nodes
        self._client = client

    @activity.defn(name=LOOK_AT_LIQUIDITY.name)
    async def look(self, ask: LiquidityRequest) -> Snapshot:
        """The node's open channels with their flows. Raises NodeErrors, to be retried for ever.

        A history that cannot be read leaves the flows out and says so: balances are enough for
        a plan, and no forecast is better than a wrong one.
        """
        try:
            async with heartbeating():
                return await self._look(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _look(self, ask: LiquidityRequest) -> Snapshot:
        config = self._nodes.connection(ask.node).config
        policy = ask.policy or config.liquidity
        now = datetime.now(UTC)
        channels = await self._nodes.channels(ask.node).channels()
        meter, told = await self._flows(ask.node, policy, now)
        configured = {Remedy.REBALANCE}
        configured |= {Remedy.LOOP_OUT, Remedy.LOOP_IN} if config.loop else set()
        configured |= {Remedy.LEASE} if config.pool else set()
        return Snapshot(
            node=ask.node,
            taken_at=now,
            channels=tuple(_holding(channel, meter) for channel in channels),
            policy=policy,
            remedies=tuple(remedy for remedy in Remedy if remedy in configured),
            flows_told=told,
        )

    async def _flows(
        self, node: NodeName, policy: LiquidityPolicy, now: datetime
    ) -> tuple[FlowMeter | None, str]:
        since = now - timedelta(days=policy.history_days)
        meter = FlowMeter(since, now)
        try:
            async for forwards in self._nodes.forwarding(node).pages(since, now):
                meter.add(forwards)
        except FulguriteError as error:
            return None, f"no flows: {error}"
        return meter, ""

    @activity.defn(name=RECALL_DEEDS.name)
    async def recall(self, ask: Recall) -> Recalled:
        """What earlier plans have begun, each with Temporal's present word on it.

        Raises RPCError, to be retried, where Temporal or a plan does not answer.
        """
        async with heartbeating():
            plans = [each async for each in self._plans(ask.node)]
            plans.sort(key=lambda each: each[1].planned_at or each[1].began_at)
            deeds = newest(ask.known, *(plan.deeds for _, plan in plans))
            current = [await self._now(deed) for deed in deeds]
            horizon = datetime.now(UTC) - timedelta(hours=ask.backoff_hours)
            return Recalled(
                deeds=tuple(deed for deed in current if _counts(deed, horizon)),
                purse=await self._purse(ask.node, ask.budget),
                asking=tuple(each for name, plan in plans for each in _asking(name, plan)),
            )

    async def _plans(self, node: NodeName) -> AsyncIterator[tuple[str, LiquidityPlan]]:
        """Those that run, and the last of those that have ended, however they have; by id."""
        own, read = activity.info().workflow_id, 0
        listed = self._client.list_workflows(
            f"WorkflowType = 'LiquidityWorkflow' AND {attributes.NODE} = '{node}'",
            limit=_PLANS_LISTED,
        )
        async for found in listed:
            if found.id == own or not (plan := await self._plan(found)) or not plan.remembers:
                continue
            yield found.id, plan
            read += found.status is not WorkflowExecutionStatus.RUNNING
            if read >= _PLANS_READ:
                return

    async def _plan(self, found: WorkflowExecution) -> LiquidityPlan | None:
        """As it stands, or as it stood when it was ended by force: its moves go on without it."""
        handle = self._client.get_workflow_handle(
            found.id, run_id=found.run_id, result_type=LiquidityPlan
        )
        try:
            if found.status is WorkflowExecutionStatus.COMPLETED:
                plan: LiquidityPlan = await handle.result(rpc_timeout=_PATIENCE)
            else:
                plan = await handle.query("view", result_type=LiquidityPlan, rpc_timeout=_PATIENCE)
        except RPCError as error:
            if activity.info().attempt < _ASKED_SO_OFTEN and error.status not in _NEVER:
                raise
            because = _line(error)
        except (WorkflowQueryFailedError, *_UNREADABLE) as error:
            because = _line(error)
        else:
            return plan
        # What it alone has begun is lost to us. While it runs it keeps its turn: nobody begins.
        activity.logger.warning("a plan that cannot be read: %s: %s", found.id, because)
        return None

    async def _now(self, deed: Deed) -> Deed:
        """The deed as its workflow stands now. Of one that is over, its own last word."""
        if deed.state in {DeedState.DONE, DeedState.FAILED} and not deed.brought:
            return deed
        described = await self._described(deed.workflow_id)
        if described and described.status is WorkflowExecutionStatus.RUNNING:
            return await self._running(deed, described.typed_search_attributes.get(_STATE) or "")
        over = deed.model_copy(update={"brought": ()})
        if deed.state is DeedState.DONE:  # its term is over, or nobody watches it any more
            return over
        if described is None:
            return _said(over, DeedState.UNKNOWN, "retained no more by Temporal")
        ended = over.model_copy(update={"ended_at": described.close_time})
        if described.status is WorkflowExecutionStatus.COMPLETED:
            return await self._outcome(ended)
        # A refused request has moved nothing; one that was ended by force may have.
        refused = described.status is WorkflowExecutionStatus.FAILED
        word = described.status.name if described.status else "ended"
        return _said(ended, DeedState.FAILED if refused else DeedState.UNKNOWN, word)

    async def _described(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        """None where Temporal has no such workflow, or has it no more."""
        try:
            return await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def _running(self, deed: Deed, state: str) -> Deed:
        """A lease is done when it is in its term: its channels are ours for so long."""
        if deed.remedy is not Remedy.LEASE:
            return _said(deed, DeedState.UNDER_WAY, state)
        handle = self._client.get_workflow_handle(deed.workflow_id)
        try:
            view = await handle.query("view", result_type=LeaseView, rpc_timeout=_PATIENCE)
        except (RPCError, WorkflowQueryFailedError, *_UNREADABLE) as error:
            return deed if deed.brought else _said(deed, DeedState.UNDER_WAY, _line(error))
        won = deed.model_copy(update={"brought": tuple(c.channel_point for c in view.channels)})
        if view.state not in _LEASED:
            return _said(won, DeedState.UNDER_WAY, view.state)
        won = won.model_copy(update={"ended_at": deed.ended_at or datetime.now(UTC)})
        return _said(won, DeedState.DONE, view.state, view.cost.total_sat * MSAT_PER_SAT)

    async def _outcome(self, deed: Deed) -> Deed:
        """What a receipt says: whether anything has moved, and for how much."""
        kind = _RECEIPTS[deed.remedy]
        handle = self._client.get_workflow_handle(deed.workflow_id, result_type=kind)
        try:
            receipt = await handle.result(rpc_timeout=_PATIENCE)
        except (WorkflowFailureError, RPCError, *_UNREADABLE) as error:
            return _said(deed, DeedState.UNKNOWN, _line(error))
        match receipt:
            case RebalanceReceipt():
                state = DeedState.DONE if receipt.status in _MOVED else DeedState.FAILED
                return _said(deed, state, receipt.reason, int(receipt.fee_msat))
            case SwapReceipt():
                cost_msat = receipt.cost.total_sat * MSAT_PER_SAT
                state = _OF_SWAP.get(receipt.status, DeedState.FAILED)
                return _said(deed, state, f"{receipt.status} {receipt.reason}", cost_msat)
            case LeaseReceipt():
                cost_msat = receipt.cost.total_sat * MSAT_PER_SAT
                state = DeedState.DONE if receipt.status in _LEASED else DeedState.FAILED
                return _said(deed, state, f"{receipt.status} {receipt.refusal}", cost_msat)
        raise AssertionError(f"{kind.__name__} is no receipt of a remedy")

    async def _purse(self, node: NodeName, budget: BudgetName | None) -> Purse:
        """What the budget has left for fees; null, and why, where it cannot be read."""
        if budget is None:
            return Purse(node=node, named=False)
        handle = self._client.get_workflow_handle(ids.budget_id(budget))
        try:
            view = await handle.query("view", result_type=BudgetView, rpc_timeout=_PATIENCE)
        except (RPCError, WorkflowQueryFailedError, *_UNREADABLE) as error:
            because = f"budget {budget} did not answer: {_line(error)}"
            return Purse(node=node, named=True, because=because[:400])
        free = [each for each in (view.free_msat, view.free_fee_msat) if each is not None]
        because = "" if free else f"nobody has set budget {budget}: `fulgurite budget set`"
        left_msat = int(min(free)) if free else None
        return Purse(node=node, named=True, left_msat=left_msat, read_at=view.at, because=because)


def _holding(channel: Channel, meter: FlowMeter | None) -> Holding:
    return Holding(
        channel_point=channel.channel_point,
        channel_id=channel.channel_id,
        peer=channel.peer,
        peer_alias=channel.peer_alias,
        active=channel.active,
        capacity_sat=channel.capacity_sat,
        local_sat=channel.local_sat,
        remote_sat=channel.remote_sat,
        flow=meter.flow(channel.channel_id) if meter else None,
    )


def _asking(name: str, plan: LiquidityPlan) -> Iterator[Asking]:
    if plan.state is PlanState.AWAITING_APPROVAL and plan.planned_at:
        for line in plan.moves:
            assert line.move is not None
            yield Asking(plan=name, planned_at=plan.planned_at, peer=line.peer, need=line.move.need)


def _said(deed: Deed, state: DeedState, because: str, cost_msat: int | None = None) -> Deed:
    return deed.model_copy(update={"state": state, "because": because, "cost_msat": cost_msat})


def _counts(deed: Deed, horizon: datetime) -> bool:
    lasts = deed.state is DeedState.UNDER_WAY or bool(deed.brought)
    return lasts or (deed.ended_at or deed.began_at) > horizon


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
