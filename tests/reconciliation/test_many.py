"""A hundred thousand records, in small memory, and from where it stopped."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio.testing import ActivityEnvironment

from activities.comparing import PAGE, Comparing, OurPage, TheirPage
from activities.reconciliation import go_on
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from fulgurite.reconciliation.calls import HANDED_OVER_AT, Compare, Stage, Tally
from fulgurite.reconciliation.comparing import (
    Execution,
    Ours,
    Theirs,
    compare_invoice,
    expects_invoice,
)
from fulgurite.reconciliation.differences import Counts, Difference, DifferenceKind

MANY = 100_000
# Above this Temporal warns about a heartbeat or a result; it refuses eight times as much.
LONGEST_BLOB_BYTES = 256 * 1_024
AMOUNT = Msat(1_000)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ASK = Compare(node="alice", began_at=LONG_AGO, so_far=Tally(), at_most=timedelta(minutes=1))


def hash_of(number: int) -> PaymentHash:
    return PaymentHash(f"{number:064x}")


@dataclass
class Node:
    """A node with `count` settled invoices, made up while they are listed."""

    count: int
    young_from: int = MANY + 1
    most_alive: int = 0
    pages: list[int] = field(default_factory=list)
    _alive: weakref.WeakSet[Theirs] = field(default_factory=weakref.WeakSet)

    async def page(self, after_index: int, limit: int) -> TheirPage:
        self.pages.append(after_index)
        numbers = range(after_index + 1, min(after_index + limit, self.count) + 1)
        records = [self._record(number) for number in numbers]
        self._alive.update(records)
        self.most_alive = max(self.most_alive, len(self._alive))
        return TheirPage(records, numbers[-1] if numbers else after_index)

    async def look_up(self, payment_hash: PaymentHash) -> Theirs | None:
        number = int(payment_hash, 16)
        return self._record(number) if number <= self.count else None

    def _record(self, number: int) -> Theirs:
        young = number >= self.young_from
        return Theirs(
            hash_of(number),
            LndInvoiceState.SETTLED,
            AMOUNT,
            datetime.now(UTC) if young else LONG_AGO,
        )


@dataclass
class Index:
    """Every third invoice is ours; of those in `missed` the workflow waits for its settlement."""

    missed: range = range(0)
    terminated: bool = False  # all are ours, and somebody has ended their workflows
    under_way: Sequence[int] = ()
    told: list[PaymentHash] = field(default_factory=list)
    most_asked: int = 0

    def resource(self, payment_hash: PaymentHash) -> str:
        return f"invoice/{payment_hash}"

    async def find(self, hashes: Sequence[PaymentHash]) -> Mapping[PaymentHash, Ours]:
        self.most_asked = max(self.most_asked, len(hashes))
        return {
            each: self._ours(each) for each in hashes if self.terminated or int(each, 16) % 3 == 0
        }

    async def look_up(self, payment_hash: PaymentHash) -> Ours | None:
        return self._ours(payment_hash)

    async def running(self, before: datetime, token: bytes, limit: int) -> OurPage:
        assert before < LONG_AGO, "what was started a moment before has time to reach the node"
        begin = int.from_bytes(token)
        page = self.under_way[begin : begin + limit]
        more = begin + limit < len(self.under_way)
        return OurPage(
            [self._ours(hash_of(number)) for number in page],
            (begin + limit).to_bytes(4) if more else b"",
        )

    async def tell(self, kind: DifferenceKind, theirs: Theirs) -> bool:
        assert kind is DifferenceKind.MISSED_SETTLEMENT
        self.told.append(theirs.payment_hash)
        return True

    def _ours(self, payment_hash: PaymentHash) -> Ours:
        number = int(payment_hash, 16)
        if self.terminated:
            return Ours(payment_hash, Execution.TERMINATED, InvoiceState.OPEN, AMOUNT)
        if number in self.missed or number in self.under_way:
            return Ours(payment_hash, Execution.RUNNING, InvoiceState.OPEN, AMOUNT)
        return Ours(payment_hash, Execution.COMPLETED, InvoiceState.SETTLED, AMOUNT)


def comparing(node: Node, index: Index, ask: Compare = ASK) -> Comparing:
    return Comparing(ask, node, index, compare_invoice, expects_invoice, second_look_seconds=0)


async def to_the_end(comparison: Comparing, tally: Tally) -> Tally:
    while tally.stage is not Stage.DONE:
        tally = await comparison.further(tally)
    return tally


async def test_a_hundred_thousand_records_pass_through_small_memory() -> None:
    node, index = Node(MANY), Index(missed=range(30_000, 60_000))
    gc.disable()  # what lives is what is still referred to
    try:
        tally = await to_the_end(comparing(node, index), Tally())
    finally:
        gc.enable()

    assert node.most_alive <= 2 * PAGE
    assert index.most_asked <= PAGE
    assert tally.counts == Counts(
        ours=33_333, not_ours=66_667, agreeing=23_333, differing=10_000, too_young=0
    )
    assert tally.kinds == {DifferenceKind.MISSED_SETTLEMENT: 10_000}
    assert len(set(index.told)) == len(index.told) == 10_000, "all of them are delivered"


async def test_however_many_differ_all_are_handed_over_and_no_heartbeat_is_long() -> None:
    """Here all of a page do, and nothing is done about any."""
    books = ActivityEnvironment()
    longest = 0

    def beaten(*details: Tally) -> None:
        nonlocal longest
        longest = max(longest, *(len(each.model_dump_json()) for each in details))

    books.on_heartbeat = beaten
    node, index = Node(3_000), Index(terminated=True)
    ask, handed_over, slices = ASK, list[Difference](), 0
    while ask.so_far.stage is not Stage.DONE:
        tally = await books.run(go_on, ask, comparing(node, index, ask))
        assert len(tally.differences) < HANDED_OVER_AT + PAGE
        handed_over += tally.differences
        slices += 1
        ask = ask.model_copy(update={"so_far": tally.handed_over()})

    assert [each.payment_hash for each in handed_over] == [hash_of(n) for n in range(1, 3_001)]
    assert slices >= 3_000 / (HANDED_OVER_AT + PAGE)
    assert longest < LONGEST_BLOB_BYTES


async def test_a_worker_that_takes_over_has_what_was_not_handed_over() -> None:
    ask = ASK
    died = comparing(Node(PAGE), Index(terminated=True), ask)
    books = ActivityEnvironment()
    tally = await died.further(Tally())
    books.info = dataclasses.replace(books.info, heartbeat_details=[tally.model_dump()])

    taken_over = await books.run(go_on, ask, comparing(Node(PAGE), Index(terminated=True), ask))

    assert taken_over.differences == tally.differences
    assert len(tally.differences) == PAGE


async def test_another_worker_goes_on_where_the_first_one_was() -> None:
    index = Index(missed=range(60, 90))
    died = comparing(Node(3 * PAGE), index)
    tally = await died.further(await died.further(Tally()))
    beaten = tally.model_dump_json()

    node = Node(3 * PAGE)
    resumed = await to_the_end(comparing(node, index), Tally.model_validate_json(beaten))

    assert node.pages == [2 * PAGE, 3 * PAGE]
    assert resumed == await to_the_end(comparing(Node(3 * PAGE), index), Tally())


async def test_what_changed_a_moment_ago_is_left_to_the_next_time() -> None:
    node, index = Node(30, young_from=25), Index(missed=range(21, 30))

    tally = await to_the_end(comparing(node, index), Tally())

    assert tally.counts == Counts(ours=8, not_ours=16, agreeing=6, differing=2, too_young=6)
    assert index.told == [hash_of(21), hash_of(24)]


async def test_what_the_node_does_not_know_is_found_page_by_page() -> None:
    # The last two are beyond what the node has.
    index = Index(under_way=[3 * number for number in range(1, 2 * PAGE + 3)])
    index.missed = range(1)
    node = Node(3 * 2 * PAGE)

    tally = await to_the_end(comparing(node, index), Tally(stage=Stage.OURS))

    assert tally.kinds == {DifferenceKind.UNKNOWN_TO_NODE: 2}
    assert [each.theirs for each in tally.differences] == ["unknown", "unknown"]
    assert tally.counts == Counts(ours=2, differing=2)
