"""A reconciliation tells what differs, each difference by itself, and never more than it knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.exceptions import TimeoutType

from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import Preimage
from fulgurite.reconciliation.calls import (
    COMPARE_INVOICES,
    COMPARE_PAYMENTS,
    Compare,
    Reconciliation,
    Stage,
    Tally,
)
from fulgurite.reconciliation.differences import (
    DONE,
    Counts,
    Difference,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
)
from tests.properties.clock import EPOCH
from tests.unit.stage import World, failed, play
from workflows import calling, reconciliation
from workflows.reconciliation import ReconciliationWorkflow

HASHES = [Preimage(bytes([number]) * 32).hash() for number in range(3)]
ASKED = Reconciliation(node="carol")


class Books:
    """Two comparisons of three slices each. Of each hash the node has what ours waits for."""

    def __init__(self, kind: DifferenceKind | None = None) -> None:
        self.events: list[Event] = []
        self.nobody_compares: set[str] = set()
        self.leaves_after = 0  # slices; then nobody compares any more
        self._kind = kind

    async def answer(self, name: str, ask: Any) -> Tally | Emitted:
        if name == EMIT_EVENT.name:
            self.events.append(ask)
            return Emitted(endpoints=())
        assert name in {COMPARE_INVOICES.name, COMPARE_PAYMENTS.name}
        if name in self.nobody_compares and ask.so_far.after_index >= self.leaves_after:
            error = failed("")
            error.__cause__ = TemporalTimeoutError(
                "nobody", type=TimeoutType.SCHEDULE_TO_START, last_heartbeat_details=[]
            )
            raise error
        return self._slice(ask, differs=name == COMPARE_INVOICES.name)

    def _slice(self, ask: Compare, *, differs: bool) -> Tally:
        index = ask.so_far.after_index
        found = [self._difference(index)] if differs and self._kind else []
        counts = Counts(ours=1, agreeing=1 - len(found), differing=len(found))
        last = index + 1 == len(HASHES)
        stage = Stage.DONE if last else Stage.THEIRS
        return ask.so_far.plus(counts, found).model_copy(
            update={"after_index": index + 1, "stage": stage}
        )

    def _difference(self, index: int) -> Difference:
        assert self._kind is not None
        return Difference(
            kind=self._kind,
            node="carol",
            payment_hash=HASHES[index],
            resource=f"invoice/{HASHES[index]}",
            ours="OPEN",
            theirs="SETTLED",
            action=DONE[self._kind],
        )

    def reconciled(self) -> ReconciliationReport:
        report = play(
            World(self.answer),
            "reconcile/carol-now",
            (calling, reconciliation),
            lambda: ReconciliationWorkflow(ASKED).run(ASKED),
        )
        assert isinstance(report, ReconciliationReport)
        return report


def test_each_difference_is_an_event_and_the_report_says_so() -> None:
    books = Books(DifferenceKind.MISSED_SETTLEMENT)
    report = books.reconciled()

    assert report.state is ReconciliationState.DIFFERS
    assert report.kinds == {DifferenceKind.MISSED_SETTLEMENT: len(HASHES)}
    told = [Difference.model_validate(each.data) for each in books.events]
    assert {each.type for each in books.events} == {EventType.RECONCILIATION_DIFFERENCE}
    assert told == list(report.differences)
    assert [each.payment_hash for each in told] == HASHES


def test_where_all_was_compared_and_nothing_differs_it_agrees() -> None:
    books = Books()
    report = books.reconciled()

    assert (report.state, books.events) == (ReconciliationState.AGREES, [])
    assert report.invoices == report.payments == Counts(ours=3, agreeing=3)
    assert report.began_at == EPOCH
    assert report.ended_at is not None
    assert report.ended_at - report.began_at < timedelta(hours=1)


def test_half_a_comparison_is_no_agreement() -> None:
    books = Books()
    books.nobody_compares.add(COMPARE_PAYMENTS.name)
    report = books.reconciled()

    assert report.state is ReconciliationState.INCOMPLETE
    assert (report.invoices is None, report.payments is None) == (False, True)


def test_what_was_found_before_the_worker_left_is_told() -> None:
    """It may have been repaired already: the next comparison would find nothing."""
    books = Books(DifferenceKind.MISSED_SETTLEMENT)
    books.nobody_compares.add(COMPARE_INVOICES.name)
    books.leaves_after = 2
    report = books.reconciled()

    assert report.state is ReconciliationState.DIFFERS
    assert report.kinds == {DifferenceKind.MISSED_SETTLEMENT: 2}
    assert report.invoices is None, "not all were compared"
    assert [event.data["payment_hash"] for event in books.events] == HASHES[:2]
