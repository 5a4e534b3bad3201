"""Invariant 8 for any number of held invoices: who finds no place to watch from looks in time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.exceptions import TimeoutType

from fulgurite import ids
from fulgurite.identity import Preimage
from fulgurite.invoices.calls import WATCH_INVOICE, InvoiceOf, Watch, Watched
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.states import DECIDE_BEFORE_EXPIRY_BLOCKS, LndInvoiceState
from fulgurite.money import Msat
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import run
from tests.unit.stage import Stage, World, failed
from workflows import at_lnd, calling

INVOICE = InvoiceOf(node="carol", payment_hash=Preimage(bytes(32)).hash())
LONG = EPOCH + timedelta(days=30)
A_BLOCK_SECONDS = 600
BEGAN = 800_000
FIRST_EXPIRY = BEGAN + 144
# As `InvoiceProgress.decide_before_height` has it.
UNTIL = FIRST_EXPIRY - DECIDE_BEFORE_EXPIRY_BLOCKS - 4


@dataclass
class Chain:
    """Its blocks come as they do: every ten minutes, and by no clock."""

    seed: int
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance, at = random.Random(self.seed), 0.0
        for _ in range(200):
            at += chance.expovariate(1 / A_BLOCK_SECONDS)
            self.seconds.append(at)

    def height(self, now: datetime) -> int:
        return BEGAN + sum(at <= (now - EPOCH).total_seconds() for at in self.seconds)


async def nothing(_: str, __: Any) -> None:
    raise NotImplementedError


class Full(Stage):
    """Every place to watch from is taken. A look needs none."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(World(nothing), "invoice/x")
        self.chain = chain
        self.state = LndInvoiceState.ACCEPTED
        self.dark_from = LONG
        self.looks = 0
        self.place_after = 1_000_000  # looks; then there is one

    def start_activity(self, name: str, ask: Any, **how: Any) -> asyncio.Task[Any]:
        assert name == WATCH_INVOICE.name
        return asyncio.create_task(self._watch(ask, **how))

    async def _watch(
        self,
        ask: Watch,
        *,
        task_queue: str,
        schedule_to_start_timeout: timedelta | None = None,
        **_: Any,
    ) -> Watched:
        if task_queue == ids.held_watch_queue("carol"):
            if self.looks < self.place_after:
                assert schedule_to_start_timeout is not None
                await asyncio.sleep(schedule_to_start_timeout.total_seconds())
                nobody = failed("")
                nobody.__cause__ = TemporalTimeoutError(
                    "nobody", type=TimeoutType.SCHEDULE_TO_START, last_heartbeat_details=[]
                )
                raise nobody
            assert ask.until_height is not None
            mined_at = EPOCH + timedelta(seconds=self.chain.seconds[ask.until_height - BEGAN - 1])
            await asyncio.sleep((mined_at - self.now()).total_seconds() + 1)
        else:
            assert (task_queue, ask.until) == (ids.invoice_queue("carol"), self.now())
            self.looks += 1
        dark = self.now() >= self.dark_from
        return Watched(
            update=InvoiceUpdate(state=self.state, paid_msat=Msat(1), parts=1),
            height=0 if dark else self.chain.height(self.now()),
        )


def waited(stage: Full) -> tuple[InvoiceUpdate | None, int]:
    """What came of waiting, and at which height."""

    async def wait() -> tuple[InvoiceUpdate | None, int]:
        with pytest.MonkeyPatch.context() as patch:
            for module in (at_lnd, calling):
                patch.setattr(module, "workflow", stage)
            word = await at_lnd.next_word(INVOICE, LndInvoiceState.ACCEPTED, LONG, UNTIL)
            return word, stage.chain.height(stage.now())

    # The stage's clock is the loop's.
    return run(wait())


def full(seed: int = 0) -> Full:
    async def make() -> Full:
        return Full(Chain(seed))

    return run(make())


@pytest.mark.parametrize("seed", range(50))
def test_it_is_decided_in_time_though_there_is_never_a_place(seed: int) -> None:
    stage = full(seed)
    word, height = waited(stage)

    assert word is None
    assert UNTIL <= height <= FIRST_EXPIRY - DECIDE_BEFORE_EXPIRY_BLOCKS
    assert stage.looks < 60, "a look costs actions"


def test_what_lnd_says_meanwhile_ends_the_waiting() -> None:
    stage = full()
    stage.state = LndInvoiceState.CANCELED
    word, _ = waited(stage)

    assert word is not None
    assert (word.state, stage.looks) == (LndInvoiceState.CANCELED, 1)


def test_a_place_that_becomes_free_is_taken() -> None:
    stage = full()
    stage.place_after = 2
    word, height = waited(stage)

    assert (word, height, stage.looks) == (None, UNTIL, 2)


def test_a_tip_that_cannot_be_read_for_long_counts_as_reached() -> None:
    stage = full()
    stage.dark_from = EPOCH
    word, height = waited(stage)

    assert word is None
    assert height < UNTIL
    assert 4 <= stage.looks <= 8


def test_a_worker_that_fails_is_no_busy_one() -> None:
    class Broken(Full):
        async def _watch(self, *_: Any, **__: Any) -> Watched:
            raise failed("NodeUnavailableError")

    async def make() -> Broken:
        return Broken(Chain(0))

    with pytest.raises(Exception, match="activity failed"):
        waited(run(make()))
