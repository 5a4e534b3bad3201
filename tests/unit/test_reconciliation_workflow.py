"""A reconciliation tells what differs, each difference by itself, and never more than it knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.exceptions import TimeoutType

from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.reconciliation.calls import (
    COMPARE_INVOICES,
    COMPARE_PAYMENTS,
    COMPARE_SWAPS,
    FIND_BOOKS,
    Books,
    Compare,
    Reconciliation,
    Stage,
    Tally,
)
from fulgurite.reconciliation.differences import (
    DONE,
    MOST_LISTED,
    Book,
    Counts,
    Difference,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
)
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import NewRun
from tests.unit.stage import World, failed, play
from workflows import calling, reconciliation
from workflows.reconciliation import Carried, ReconciliationWorkflow

HASHES = [Preimage(bytes([number]) * 32).hash() for number in range(3)]
SLICES = len(HASHES)
ASKED = Reconciliation(node="carol")


class Library:
    """Two comparisons of three slices each. Of each hash the node has what ours waits for."""

    def __init__(self, kind: DifferenceKind | None = None, *, of_each: int = 1) -> None:
        """`of_each`: so many differences a slice."""
        self.events: list[Event] = []
        self.nobody_compares: set[str] = set()
        self.others: tuple[Book, ...] = ()
        self.away: set[str] = set()
        self.runs = 0
        self.leaves_after = 0  # slices; then nobody compares any more
        self.asked_with: list[int] = []  # differences that were handed over before
        self._kind = kind
        self._of_each = of_each

    async def answer(self, name: str, ask: Any) -> Tally | Emitted | Books:
        if name == FIND_BOOKS.name:
            return Books(books=self.others)
        if name == EMIT_EVENT.name:
            self.events.append(ask)
            return Emitted(endpoints=())
        assert name in {COMPARE_INVOICES.name, COMPARE_PAYMENTS.name, COMPARE_SWAPS.name}
        if name in self.away:
            raise failed("NodeUnavailableError", "loopd of carol is away")
        if name in self.nobody_compares and ask.so_far.after_index >= self.leaves_after:
            error = failed("")
            error.__cause__ = TemporalTimeoutError(
                "nobody", type=TimeoutType.SCHEDULE_TO_START, last_heartbeat_details=[]
            )
            raise error
        return self._slice(ask, differs=name == COMPARE_INVOICES.name)

    def _slice(self, ask: Compare, *, differs: bool) -> Tally:
        index = ask.so_far.after_index
        self.asked_with.append(len(ask.so_far.differences))
        numbers = range(index * self._of_each, (index + 1) * self._of_each)
        found = [self._difference(number) for number in numbers] if differs and self._kind else []
        counts = Counts(ours=1, agreeing=1 - bool(found), differing=len(found))
        last = index + 1 == SLICES
        stage = Stage.DONE if last else Stage.THEIRS
        return ask.so_far.plus(counts, found).model_copy(
            update={"after_index": index + 1, "stage": stage}
        )

    def _difference(self, number: int) -> Difference:
        assert self._kind is not None
        payment_hash = HASHES[number] if self._of_each == 1 else PaymentHash(f"{number:064x}")
        return Difference(
            kind=self._kind,
            node="carol",
            payment_hash=payment_hash,
            resource=f"invoice/{payment_hash}",
            ours="OPEN",
            theirs="SETTLED",
            action=DONE[self._kind],
        )

    def reconciled(self, *, runs_after: int = 1_000_000) -> ReconciliationReport:
        """`runs_after`: so many activities fill a history, and another run goes on."""
        carried: Carried | None = None
        while True:
            self.runs += 1
            try:
                return self._run(carried, runs_after)
            except NewRun as order:
                carried = Carried.model_validate_json(order.carried.model_dump_json())

    def _run(self, carried: Carried | None, runs_after: int) -> ReconciliationReport:
        report = play(
            World(self.answer, runs_after=runs_after),
            "reconcile/carol-now",
            (calling, reconciliation),
            lambda: ReconciliationWorkflow(ASKED, carried).run(ASKED, carried),
        )
        assert isinstance(report, ReconciliationReport)
        return report


def test_each_difference_is_an_event_and_the_report_says_so() -> None:
    books = Library(DifferenceKind.MISSED_SETTLEMENT)
    report = books.reconciled()

    assert report.state is ReconciliationState.DIFFERS
    assert report.kinds == {DifferenceKind.MISSED_SETTLEMENT: len(HASHES)}
    told = [Difference.model_validate(each.data) for each in books.events]
    assert {each.type for each in books.events} == {EventType.RECONCILIATION_DIFFERENCE}
    assert told == list(report.differences)
    assert [each.payment_hash for each in told] == HASHES


def test_where_all_was_compared_and_nothing_differs_it_agrees() -> None:
    books = Library()
    report = books.reconciled()

    assert (report.state, books.events) == (ReconciliationState.AGREES, [])
    assert report.invoices == report.payments == Counts(ours=3, agreeing=3)
    assert report.began_at == EPOCH
    assert report.ended_at is not None
    assert report.ended_at - report.began_at < timedelta(hours=1)


def test_half_a_comparison_is_no_agreement() -> None:
    books = Library()
    books.nobody_compares.add(COMPARE_PAYMENTS.name)
    report = books.reconciled()

    assert report.state is ReconciliationState.INCOMPLETE
    assert (report.invoices is None, report.payments is None) == (False, True)


def test_a_node_without_a_daemon_has_no_book_of_it() -> None:
    report = Library().reconciled()

    assert (report.swaps, report.leases, report.not_compared) == (None, None, {})
    assert list(report.cells()) == [Book.INVOICES, Book.PAYMENTS]


def test_a_daemon_that_is_away_is_told_as_not_compared() -> None:
    """It keeps nobody from hearing of the rest; and it is no agreement."""
    library = Library()
    library.others, library.away = (Book.SWAPS,), {COMPARE_SWAPS.name}
    report = library.reconciled()

    assert report.state is ReconciliationState.INCOMPLETE
    assert report.swaps is None
    assert report.not_compared == {Book.SWAPS: "loopd of carol is away"}
    assert report.invoices == report.payments == Counts(ours=3, agreeing=3)
    assert "loopd of carol is away" in report.details()


def test_what_is_away_is_told_by_the_next_run_too() -> None:
    library = Library(DifferenceKind.STALE_INVOICE, of_each=MOST_LISTED)
    library.others, library.away = (Book.SWAPS,), {COMPARE_SWAPS.name}
    report = library.reconciled(runs_after=MOST_LISTED)

    assert library.runs > 1
    assert report.not_compared == {Book.SWAPS: "loopd of carol is away"}


def test_a_daemon_that_is_there_is_compared() -> None:
    library = Library()
    library.others = (Book.SWAPS,)
    report = library.reconciled()

    assert (report.state, report.swaps) == (
        ReconciliationState.AGREES,
        Counts(ours=3, agreeing=3),
    )


def test_what_was_found_before_the_worker_left_is_told() -> None:
    """It may have been repaired already: the next comparison would find nothing."""
    books = Library(DifferenceKind.MISSED_SETTLEMENT)
    books.nobody_compares.add(COMPARE_INVOICES.name)
    books.leaves_after = 2
    report = books.reconciled()

    assert report.state is ReconciliationState.DIFFERS
    assert report.kinds == {DifferenceKind.MISSED_SETTLEMENT: 2}
    assert report.invoices is None, "not all were compared"
    assert [event.data["payment_hash"] for event in books.events] == HASHES[:2]


def test_every_difference_is_told_however_many_there_are() -> None:
    """Incident W in small: of the same hundred each time, number 101 would be told never."""
    books = Library(DifferenceKind.MISSED_SETTLEMENT, of_each=5 * MOST_LISTED)
    report = books.reconciled()

    told = [event.data["payment_hash"] for event in books.events]
    assert len(told) == len(set(told)) == SLICES * 5 * MOST_LISTED
    assert report.kinds == {DifferenceKind.MISSED_SETTLEMENT: len(told)}
    assert len(report.differences) == MOST_LISTED
    assert {each.payment_hash for each in report.differences} < set(told)
    # Neither what is asked nor what is remembered grows with them.
    assert set(books.asked_with) == {0}


def test_a_long_reconciliation_goes_on_in_another_run_and_reports_as_one() -> None:
    at_once = Library(DifferenceKind.STALE_INVOICE, of_each=MOST_LISTED)
    whole = at_once.reconciled()
    books = Library(DifferenceKind.STALE_INVOICE, of_each=MOST_LISTED)
    report = books.reconciled(runs_after=MOST_LISTED)

    assert (at_once.runs, books.runs) == (1, SLICES)
    assert sorted(event.id for event in books.events) == sorted(
        event.id for event in at_once.events
    )
    assert report.model_copy(update={"ended_at": None}) == whole.model_copy(
        update={"ended_at": None}
    )


def test_what_nobody_compared_stays_so_in_the_next_run() -> None:
    books = Library(DifferenceKind.STALE_INVOICE, of_each=MOST_LISTED)
    books.nobody_compares.add(COMPARE_PAYMENTS.name)
    report = books.reconciled(runs_after=MOST_LISTED)

    assert books.runs > 1
    assert (report.state, report.payments) == (ReconciliationState.DIFFERS, None)
