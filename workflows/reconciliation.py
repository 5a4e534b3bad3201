"""A reconciliation: what we say of a node's payments and invoices against what it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004

from fulgurite import ids
from fulgurite.calls import Call
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType, event
from fulgurite.model import mistakes
from fulgurite.reconciliation.calls import (
    COMPARE_INVOICES,
    COMPARE_PAYMENTS,
    Compare,
    Reconciliation,
    Stage,
    Tally,
)
from fulgurite.reconciliation.differences import (
    Counts,
    Difference,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
    most_pressing,
)
from workflows import search_attributes
from workflows.announcing import emit
from workflows.calling import refused

# After so long an activity hands over what it has, so that progress is seen.
_SLICE = timedelta(seconds=20)
_SLICE_AT_MOST = timedelta(minutes=30)
_HEARTBEAT_TIMEOUT = timedelta(seconds=15)
_RETRY = RetryPolicy(maximum_interval=timedelta(seconds=30))
# A worker that restarts is back by then. A deployment may hold one of a node's credentials
# and not the other.
_WORKER_WITHIN = timedelta(minutes=10)


@workflow.defn(name="ReconciliationWorkflow")
class ReconciliationWorkflow:
    """Compares, tells what differs, and pays nothing. Safe to run at any time, two at once too.

    Its id is `reconcile/<node>-<time>`. It ends with a report, whatever it found.
    """

    @workflow.init
    def __init__(self, asked: Any = None) -> None:
        # Any JSON, so that a malformed request is refused and does not wedge the task.
        self._refusal: ApplicationError | None = None
        try:
            self._asked = Reconciliation.model_validate(asked)
        except ValidationError as error:
            self._refusal = refused(InvalidRequestError(mistakes(error)))
            return
        self._tallies = {COMPARE_INVOICES.name: Tally(), COMPARE_PAYMENTS.name: Tally()}
        self._unfinished: set[str] = set()
        self._report = self._reported(ReconciliationState.COMPARING)

    @workflow.run
    async def run(self, asked: Any = None) -> ReconciliationReport:  # noqa: ARG002 - read in __init__
        """The report. Raises ApplicationError `InvalidRequestError` for a malformed request."""
        if self._refusal:
            raise self._refusal
        node = self._asked.node
        workflow.upsert_search_attributes([search_attributes.NODE.value_set(node)])
        self._show(ReconciliationState.COMPARING)
        both = await asyncio.gather(
            self._compare(ids.invoice_queue(node), COMPARE_INVOICES),
            self._compare(ids.node_queue(node), COMPARE_PAYMENTS),
        )
        await asyncio.gather(*map(self._tell, self._report.differences))
        if self._report.kinds:
            self._show(ReconciliationState.DIFFERS)
        elif all(both):
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

    async def _compare(self, queue: str, call: Call[Compare, Tally]) -> bool:
        """Slice by slice; False when no worker of the queue took it to the end."""
        tally = self._tallies[call.name]
        while tally.stage is not Stage.DONE:
            try:
                tally = await workflow.execute_activity(
                    call.name,
                    Compare(
                        node=self._asked.node,
                        grace_seconds=self._asked.grace_seconds,
                        began_at=self._report.began_at,
                        so_far=tally,
                        at_most=_SLICE,
                    ),
                    task_queue=queue,
                    result_type=call.gives,
                    start_to_close_timeout=_SLICE_AT_MOST,
                    schedule_to_start_timeout=_WORKER_WITHIN,
                    heartbeat_timeout=_HEARTBEAT_TIMEOUT,
                    retry_policy=_RETRY,
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=f"{tally.counts.all:,} compared so far",
                )
            except ActivityError as error:
                if not _nobody_came(error):
                    raise
                self._unfinished.add(call.name)  # what was found until then is told
                self._show(ReconciliationState.COMPARING)
                return False
            self._tallies[call.name] = tally
            self._show(ReconciliationState.COMPARING)
        return True

    async def _tell(self, difference: Difference) -> None:
        await emit(
            event(
                EventType.RECONCILIATION_DIFFERENCE,
                difference,
                # The same difference, found again by the next reconciliation, is no news.
                subject=f"{difference.payment_hash}-{difference.kind.lower()}",
                resource=difference.resource,
                node=difference.node,
                timestamp=workflow.now(),
            )
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
            began_at=workflow.info().workflow_start_time,
            ended_at=workflow.now() if over else None,
            invoices=self._counts(COMPARE_INVOICES),
            payments=self._counts(COMPARE_PAYMENTS),
            kinds=dict(kinds),
            differences=most_pressing(d for tally in tallies for d in tally.differences),
        )

    def _counts(self, call: Call[Compare, Tally]) -> Counts | None:
        return None if call.name in self._unfinished else self._tallies[call.name].counts


def _nobody_came(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


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
