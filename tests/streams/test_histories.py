"""Whatever happens to the node, the way to it, and those who listen: no settlement is lost.

Hypothesis writes the history: invoices made and paid in any order, indices reset, streams cut,
deaf and repeating, the node and Temporal away, workers killed. Then the trouble ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.invoice_scans import EVERY_SECONDS
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import OVERLAP
from tests.streams.model_lnd import CANCELED, OPEN, SETTLED, ModelLnd
from tests.streams.world import Workers, World, in_virtual_time, is_listening

# Until a backoff is over, everything was listed, and what a worker left undone is done.
HEALED_SECONDS = 5 * 60


class Happening(StrEnum):
    """One line of a history."""

    MADE = "made"  # an invoice of ours
    MADE_BY_OTHERS = "made by others"
    MADE_AFTER_A_GAP = "made after a gap"
    PAID = "paid"  # the oldest that is open
    PAID_LAST = "paid last"  # the newest that is open
    HELD = "held"
    CANCELED = "canceled"
    DELETED = "deleted"  # the newest that is open is canceled, and no trace is left
    SHOWN_LATE = "shown late"  # the next invoices are written, and not yet listed
    SHOWN = "shown"
    CUT = "cut"
    DOWN = "down"
    UP = "up"
    DEAF = "deaf"
    HEARING = "hearing"
    REPEATING = "repeating"
    CLOSING = "closing"  # every stream, at once
    OPEN_AGAIN = "open again"
    SETTLES_RENUMBERED = "settles renumbered"
    INVOICES_RENUMBERED = "invoices renumbered"
    SQL = "sql"
    TEMPORAL_DOWN = "temporal down"
    TEMPORAL_UP = "temporal up"
    KILLED = "killed"  # the worker; another one comes at once
    LEFT_ALONE = "left alone"  # the worker is killed, and nobody comes
    BACK = "back"


H = Happening
lines = st.tuples(
    # Weighted: a history without payments proves nothing.
    st.sampled_from([*H, H.MADE, H.MADE, H.PAID, H.PAID, H.PAID_LAST, H.MADE_BY_OTHERS]),
    st.sampled_from([0.0, 0.01, 0.4, 1.0, 3.0, 20.0, 45.0, 400.0]),
)
histories = st.lists(lines, min_size=5, max_size=60)


class Story:
    """A node, a world and workers, that live through a history."""

    def __init__(self, *, ahead: timedelta, registers_after: float, seed: int) -> None:
        self.lnd = ModelLnd(clock_ahead=ahead, registers_after_seconds=registers_after)
        self.world = World()
        self.workers = Workers(self.lnd, self.world, draw=random.Random(seed).random)
        self.open: list[PaymentHash] = []
        self.ours_settled: set[PaymentHash] = set()
        self.others_settled: set[PaymentHash] = set()
        self.settled_before: set[PaymentHash] = set()
        self.is_running = False

    async def live(self, history: list[tuple[Happening, float]]) -> None:
        for happening, then_seconds in history:
            await self._happens(happening)
            await asyncio.sleep(then_seconds)
        await self._heal()

    async def _happens(self, what: Happening) -> None:
        lnd, trouble = self.lnd, self.lnd.trouble
        simple: dict[Happening, Callable[[], object]] = {
            H.MADE: lambda: self._make(ours=True),
            H.MADE_BY_OTHERS: lambda: self._make(ours=False),
            H.MADE_AFTER_A_GAP: lambda: self._make(ours=True, gap=7),
            H.PAID: lambda: self._end(0, lnd.settle),
            H.PAID_LAST: lambda: self._end(-1, lnd.settle),
            H.HELD: lambda: self._end(0, lnd.hold),
            H.CANCELED: lambda: self._end(0, lnd.cancel),
            H.DELETED: self._delete,
            H.SHOWN_LATE: lambda: trouble.unlisted.add(self._make(ours=True)),
            H.SHOWN: trouble.unlisted.clear,
            H.CUT: lnd.cut,
            H.SETTLES_RENUMBERED: lambda: lnd.renumber_settlements(1),
            H.INVOICES_RENUMBERED: lambda: lnd.renumber_invoices(3),
        }
        switches: dict[Happening, tuple[object, str, bool]] = {
            H.DOWN: (trouble, "down", True),
            H.UP: (trouble, "down", False),
            H.DEAF: (trouble, "deaf", True),
            H.HEARING: (trouble, "deaf", False),
            H.REPEATING: (trouble, "repeats", True),
            H.CLOSING: (trouble, "closes_at_once", True),
            H.OPEN_AGAIN: (trouble, "closes_at_once", False),
            H.SQL: (lnd, "is_sql", True),
            H.TEMPORAL_DOWN: (self.world, "temporal_is_down", True),
            H.TEMPORAL_UP: (self.world, "temporal_is_down", False),
        }
        if what in simple:
            simple[what]()
        elif what in switches:
            setattr(*switches[what])
            if what in {H.DOWN, H.CLOSING}:
                lnd.cut()
        elif what is H.BACK:
            self._begin()
        else:
            await self._end_worker()
            if what is H.KILLED:
                self._begin()

    def _make(self, *, ours: bool, gap: int = 0) -> PaymentHash:
        payment_hash = self.lnd.add(gap=gap)
        self.open.append(payment_hash)
        if ours:
            self.world.ours.add(payment_hash)
        return payment_hash

    def _end(self, which: int, how: Callable[[PaymentHash], None]) -> None:
        if not self.open:
            return
        payment_hash = self.open.pop(which)
        how(payment_hash)
        if self.lnd.state(payment_hash) is SETTLED:
            ours = payment_hash in self.world.ours
            (self.ours_settled if ours else self.others_settled).add(payment_hash)

    def _delete(self) -> None:
        if self.open:
            payment_hash = self.open.pop()
            self.lnd.cancel_and_delete(payment_hash)
            self.world.ours.discard(payment_hash)

    def _begin(self) -> None:
        if not self.is_running:
            self.is_running = True
            self.workers.start()

    async def _end_worker(self) -> None:
        if self.is_running:
            self.is_running = False
            await self.workers.kill()

    async def _heal(self) -> None:
        trouble = self.lnd.trouble
        trouble.down = trouble.deaf = trouble.closes_at_once = False
        trouble.unlisted.clear()
        self.world.temporal_is_down = False
        self._begin()
        await is_listening(self.workers)
        await asyncio.sleep(HEALED_SECONDS)

    def check(self) -> None:
        assert self.world.effects == dict.fromkeys(self.ours_settled, 1)
        assert self.world.events == self.others_settled
        # What is in no list of an hour's settlements is known for good.
        told = {payment_hash for payment_hash, state in self.world.heard if state is CANCELED}
        assert {each for each in self.world.ours if self.lnd.state(each) is CANCELED} == told
        assert not any(self.lnd.state(each) is OPEN for each, _ in self.world.heard)
        assert self.workers.listened.untold == 0


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    history=histories,
    ahead=st.sampled_from([timedelta(0), -OVERLAP * 0.9, OVERLAP, timedelta(days=2)]),
    registers_after=st.sampled_from([0.0, 0.5, 1.5]),
    seed=st.integers(0, 1_000),
)
def test_every_settlement_has_its_effect_exactly_once(
    history: list[tuple[Happening, float]], ahead: timedelta, registers_after: float, seed: int
) -> None:
    async def story() -> Story:
        lived = Story(ahead=ahead, registers_after=registers_after, seed=seed)
        lived._begin()
        await lived.live(history)
        return lived

    in_virtual_time(story()).check()


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(history=histories, seed=st.integers(0, 1_000))
def test_no_history_makes_a_busy_loop(history: list[tuple[Happening, float]], seed: int) -> None:
    async def story() -> tuple[Story, float]:
        lived = Story(ahead=timedelta(0), registers_after=0.5, seed=seed)
        lived._begin()
        await lived.live(history)
        return lived, asyncio.get_running_loop().time()

    lived, seconds = in_virtual_time(story())
    disturbances = len(history)
    # The jitter can make a few pauses short, and each disturbance begins a new backoff.
    assert lived.lnd.connections <= 12 * (disturbances + 1) + seconds / 5
    assert lived.lnd.pages <= 6 * lived.lnd.connections + seconds / (EVERY_SECONDS / 8) + 50
