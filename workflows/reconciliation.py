"""A reconciliation: what we say of a node's money against what it and its daemons say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field, ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from fulgurite import ids
from fulgurite.calls import Call
from fulgurite.events.catalogue import Event, EventType, event
from fulgurite.model import Model
from fulgurite.reconciliation.calls import (
    COMPARE_INVOICES,
    COMPARE_LEASES,
    COMPARE_PAYMENTS,
    COMPARE_REBALANCES,
    COMPARE_SWAPS,
    FIND_BOOKS,
    Compare,
    FindBooks,
    Reconciliation,
    Stage,
    Tally,
)
from fulgurite.reconciliation.differences import (
    MOST_LISTED,
    Book,
    Counts,
    Difference,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
    most_pressing,
)
from workflows import search_attributes
from workflows.announcing import emit
from workflows.calling import call_local, nobody_came, refused

# After so long an activity hands over what it has, so that progress is seen.
_SLICE = timedelta(seconds=20)
_SLICE_AT_MOST = timedelta(minutes=30)
_HEARTBEAT_TIMEOUT = timedelta(seconds=15)
# LND is waited for: without it there is nothing to say of a node.
_RETRY = RetryPolicy(maximum_interval=timedelta(seconds=30))
# loopd and poold may be away for a day, and what is said of LND must not wait for them. Long
# enough for a restart; then it is told that they were not compared.
_FEW_TIMES = RetryPolicy(maximum_attempts=5)
# A worker that restarts is back by then. A deployment may hold one of a node's credentials
# and not the other.
_WORKER_WITHIN = timedelta(minutes=10)
_TOLD_AT_ONCE = 20

# Runs that were recorded before told the hundred that the report lists, when all was compared.
_EVERY_ONE = "every-difference-is-told"
# And compared payments and invoices alone.
_OTHER_BOOKS = "other-books-are-compared"

_NOBODY = "no worker took it"


@dataclass(frozen=True)
class _Comparison:
    """How one book is compared, and where."""

    call: Call[Compare, Tally]
    queue: Callable[[str], str]
    retry: RetryPolicy


_COMPARISONS = {
    Book.INVOICES: _Comparison(COMPARE_INVOICES, ids.invoice_queue, _RETRY),
    Book.PAYMENTS: _Comparison(COMPARE_PAYMENTS, ids.node_queue, _RETRY),
    Book.SWAPS: _Comparison(COMPARE_SWAPS, ids.swap_queue, _FEW_TIMES),
    Book.REBALANCES: _Comparison(COMPARE_REBALANCES, ids.rebalance_queue, _FEW_TIMES),
    Book.LEASES: _Comparison(COMPARE_LEASES, ids.lease_queue, _FEW_TIMES),
}


class Carried(Model):
    """What the next run of a long reconciliation must know."""

    began_at: datetime
    tallies: dict[str, Tally]
    unfinished: tuple[str, ...]
    because: dict[str, str] = Field(default_factory=dict, description="why, of the unfinished")
    pressing: tuple[Difference, ...]


@workflow.defn(name="ReconciliationWorkflow")
class ReconciliationWorkflow:
    """Compares, tells what differs, and pays nothing. Safe to run at any time, two at once too.

    Its id is `reconcile/<node>-<time>`. It ends with a report, whatever it found. Each
    difference is told before more is compared, and a history that has grown long continues
    as new: neither memory nor history follow their number.
    """

    @workflow.init
    def __init__(self, asked: Any = None, carried: Carried | None = None) -> None:
        # Any JSON, so that a malformed request is refused and does not wedge the task.
        self._refusal: ApplicationError | None = None
        try:
            self._asked = Reconciliation.model_validate(asked)
        except ValidationError as error:
            self._refusal = refused(error)
            return
        known = carried or Carried(
            began_at=workflow.info().workflow_start_time,
            tallies={COMPARE_INVOICES.name: Tally(), COMPARE_PAYMENTS.name: Tally()},
            unfinished=(),
            pressing=(),
        )
        self._began_at = known.began_at
        self._tallies = dict(known.tallies)
        # Comparisons that nobody takes further in this run, by their calls, and why.
        self._unfinished = dict.fromkeys(known.unfinished, _NOBODY) | known.because
        self._pressing = known.pressing
        self._untold: list[Difference] = []  # by a run that was recorded before
        self._report = self._reported(ReconciliationState.COMPARING)

    @workflow.run
    async def run(self, asked: Any = None, carried: Carried | None = None) -> ReconciliationReport:
        """The report. Raises ApplicationError `InvalidRequestError` for a malformed request.

        `carried` is what an earlier run of this reconciliation knew.
        """
        if self._refusal:
            raise self._refusal
        node = self._asked.node
        if carried is None:
            workflow.upsert_search_attributes([search_attributes.NODE.value_set(node)])
        self._show(ReconciliationState.COMPARING)
        if carried is None and workflow.patched(_OTHER_BOOKS):
            await self._find_books()
        await asyncio.gather(
            *(self._compare(each) for each in _COMPARISONS.values() if self._has(each.call))
        )
        if self._left():
            workflow.continue_as_new(args=[asked, self._carried()])
        await self._tell(most_pressing(self._untold), at_once=MOST_LISTED)
        if self._report.kinds:
            self._show(ReconciliationState.DIFFERS)
        elif not self._unfinished:
            self._show(ReconciliationState.AGREES)
        else:
            self._show(ReconciliationState.INCOMPLETE)
        _count(self._report)
        return self._report

    @workflow.query
    def view(self) -> ReconciliationReport:
        if self._refusal:
            raise self._refusal
        return self._report

    async def _find_books(self) -> None:
        """What there is beside payments and invoices: most nodes have no loopd, and no poold."""
        found = await call_local(
            FIND_BOOKS,
            FindBooks(node=self._asked.node),
            summary="what is there to compare",
            for_ever=True,
        )
        for book in found.books:
            self._tallies[_COMPARISONS[book].call.name] = Tally()

    def _has(self, call: Call[Compare, Tally]) -> bool:
        return call.name in self._tallies

    async def _compare(self, comparison: _Comparison) -> None:
        """Slice by slice: to the end, or until nobody takes it, or another run must go on."""
        call = comparison.call
        while call.name in self._left() and not workflow.info().is_continue_as_new_suggested():
            tally = self._tallies[call.name]
            try:
                tally = await workflow.execute_activity(
                    call.name,
                    Compare(
                        node=self._asked.node,
                        grace_seconds=self._asked.grace_seconds,
                        began_at=self._began_at,
                        so_far=tally,
                        at_most=_SLICE,
                    ),
                    task_queue=comparison.queue(self._asked.node),
                    result_type=call.gives,
                    start_to_close_timeout=_SLICE_AT_MOST,
                    schedule_to_start_timeout=_WORKER_WITHIN,
                    heartbeat_timeout=_HEARTBEAT_TIMEOUT,
                    retry_policy=comparison.retry,
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=f"{tally.counts.all:,} compared so far",
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                if not nobody_came(error) and comparison.retry is _RETRY:
                    raise
                # What was found until then is told.
                self._unfinished[call.name] = _why_not(error)
            else:
                await self._take(call, tally)
            self._show(ReconciliationState.COMPARING)

    async def _take(self, call: Call[Compare, Tally], tally: Tally) -> None:
        """What a slice has found is told before the next one."""
        found = tally.differences
        self._pressing = most_pressing([*self._pressing, *found])
        if found and not workflow.patched(_EVERY_ONE):
            self._untold += found
            self._tallies[call.name] = tally
            return
        await self._tell(found)
        self._tallies[call.name] = tally.handed_over()

    async def _tell(self, differences: Sequence[Difference], at_once: int = _TOLD_AT_ONCE) -> None:
        for begin in range(0, len(differences), at_once):
            some = differences[begin : begin + at_once]
            await asyncio.gather(*(emit(self._news(each)) for each in some))

    def _news(self, difference: Difference) -> Event:
        return event(
            EventType.RECONCILIATION_DIFFERENCE,
            difference,
            # The same difference, found again by the next reconciliation, is no news.
            subject=difference.subject,
            resource=difference.resource,
            node=difference.node,
            timestamp=workflow.now(),
        )

    def _left(self) -> set[str]:
        """The comparisons that somebody may still take further."""
        going_on = {name for name, each in self._tallies.items() if each.stage is not Stage.DONE}
        return going_on - set(self._unfinished)

    def _carried(self) -> Carried:
        return Carried(
            began_at=self._began_at,
            tallies=self._tallies,
            unfinished=tuple(sorted(self._unfinished)),
            because=self._unfinished,
            pressing=self._pressing,
        )

    def _show(self, state: ReconciliationState) -> None:
        known = workflow.info().typed_search_attributes.get(search_attributes.STATE)
        if known != state:
            workflow.upsert_search_attributes([search_attributes.STATE.value_set(state)])
        self._report = self._reported(state)
        workflow.set_current_details(self._report.details())

    def _reported(self, state: ReconciliationState) -> ReconciliationReport:
        over = state is not ReconciliationState.COMPARING
        tallies = self._tallies.values()
        kinds: Counter[DifferenceKind] = Counter()
        for tally in tallies:
            kinds.update(tally.kinds)
        return ReconciliationReport(
            node=self._asked.node,
            state=state,
            began_at=self._began_at,
            ended_at=workflow.now() if over else None,
            invoices=self._counts(COMPARE_INVOICES),
            payments=self._counts(COMPARE_PAYMENTS),
            swaps=self._counts(COMPARE_SWAPS),
            rebalances=self._counts(COMPARE_REBALANCES),
            leases=self._counts(COMPARE_LEASES),
            not_compared={
                book: self._unfinished[each.call.name]
                for book, each in _COMPARISONS.items()
                if each.call.name in self._unfinished
            },
            kinds=dict(kinds),
            differences=self._pressing,
        )

    def _counts(self, call: Call[Compare, Tally]) -> Counts | None:
        if call.name in self._unfinished or not self._has(call):
            return None
        return self._tallies[call.name].counts


def _why_not(error: ActivityError) -> str:
    """In words, for those who read the report."""
    if nobody_came(error):
        return _NOBODY
    cause = error.cause
    words = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    return words[:400].replace("\n", " ")


def _count(report: ReconciliationReport) -> None:
    """What Prometheus is told. Kinds that are over go back to 0."""
    meter = workflow.metric_meter().with_additional_attributes({"node": report.node})
    meter.create_counter("fulgurite_reconciliations_total", "reconciliations that ended").add(
        1, {"state": report.state}
    )
    differing = meter.create_gauge(
        "fulgurite_reconciliation_differences", "found by the last reconciliation"
    )
    for kind in DifferenceKind:
        differing.set(report.kinds.get(kind, 0), {"kind": kind})
    left_out = meter.create_counter(
        "fulgurite_reconciliation_not_compared_total", "books that a reconciliation could not read"
    )
    for book in report.not_compared:
        left_out.add(1, {"book": book})
