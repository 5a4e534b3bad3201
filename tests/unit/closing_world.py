"""A chain that goes on, an LND that closes channels as it is told, and those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from pydantic import BaseModel
from temporalio.exceptions import ApplicationError

from fulgurite.chain.tip import Tip
from fulgurite.channels.calls import (
    BUMP_CLOSE,
    CLOSE_CHANNEL,
    LOOK_AT_CLOSE,
    BeginClose,
    Bump,
    Bumped,
)
from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    CloseType,
    Closing,
    OutputKind,
    OutputOutcome,
)
from fulgurite.channels.progress import CloseProgress
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event
from fulgurite.identity import ChannelPoint, Outpoint, PaymentHash, Txid
from tests.relays.model_temporal import NewRun
from tests.unit.stage import World, play
from workflows import awaiting, calling, close, listeners, metrics, turns
from workflows.close import ChannelCloseWorkflow

START = 100
BLOCK_SECONDS = 600.0
POINT = ChannelPoint("ab" * 32 + ":1")
CLOSING_TXID = Txid("cd" * 32)
HASH = PaymentHash("11" * 32)
MODULES = (awaiting, calling, close, listeners, metrics)


def now() -> float:
    return asyncio.get_running_loop().time()


def order(kind: CloseKind = CloseKind.FORCE, **more: Any) -> CloseRequest:
    return CloseRequest(node="alice", channel_point=POINT, kind=kind, **more)


def output(**more: Any) -> CloseOutput:
    given = {
        "kind": OutputKind.COMMITMENT,
        "outpoint": Outpoint(f"{CLOSING_TXID}:0"),
        "amount_sat": 50_000,
    }
    return CloseOutput(**{**given, **more})


class Lnd(World):
    """One channel; what LND does with it is set by the attributes, before or meanwhile."""

    def __init__(self, *, runs_after: int = 1_000_000) -> None:
        super().__init__(self._answer, runs_after=runs_after)
        self.phase = ClosePhase.OPEN
        self.publishes = True  # a close that is asked for is published at once
        self.confirms_at: int | None = START + 1
        self.final_at: int | None = None  # at once
        self.csv_blocks = 4
        self.sweeps_at: int | None = None  # by itself at maturity + 1
        self.htlcs_expire_at: int | None = None
        self.close_type = CloseType.LOCAL_FORCE
        self.commit_fee_sat = 200
        self.refusal: tuple[str, str] | None = None
        self.answers_after_seconds = 0.0
        self.bump_taken = True
        self.branch = "a"
        self.taken_back_at: int | None = None
        self.closes: list[tuple[float, CloseRequest]] = []
        self.under_way = 0
        self.looks: list[int] = []
        self.bumps: list[tuple[int, Bump]] = []
        self.events: list[Event] = []
        self.heard: list[tuple[str, CloseView]] = []
        self.gone: set[str] = set()
        self.defects = 0
        self.turns: list[bool] = []  # asked for, and whether it is had
        self.turn_after_seconds: float | None = 0.001  # None: others have the channel for too long
        self.workflow: ChannelCloseWorkflow
        self.task: asyncio.Task[CloseReceipt]

    def history_is_full(self) -> None:
        self._left = 0

    # The chain.

    @property
    def height(self) -> int:
        return START + int(now() / BLOCK_SECONDS)

    def tip(self) -> Tip:
        return Tip(height=self.height, block_hash=Txid(self.branch * 56 + f"{self.height:08x}"))

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        if workflow_id in self.gone:
            raise ApplicationError("external workflow not found")
        if name == "wake":
            delay = max(0.0, (data.height - START) * BLOCK_SECONDS - now())
            asyncio.get_running_loop().call_later(delay, self._tell_block)
        elif name == "closing_moved":
            self.heard.append((workflow_id, data))

    def _tell_block(self) -> None:
        self.workflow.block(self.tip())

    # LND.

    async def _answer(self, name: str, ask: Any) -> BaseModel:
        if name == EMIT_EVENT.name:
            self.events.append(ask)
            return Emitted(endpoints=())
        if self.defects:
            self.defects -= 1
            raise ApplicationError("a defect of ours", type="ValueError", non_retryable=True)
        if name == LOOK_AT_CLOSE.name:
            self.looks.append(self.height)
            return self.closing()
        if name == CLOSE_CHANNEL.name:
            return await self._close(ask)
        assert name == BUMP_CLOSE.name
        self.bumps.append((self.height, ask))
        return Bumped(taken=self.bump_taken, because="" if self.bump_taken else "nothing to bump")

    async def _close(self, ask: CloseRequest) -> Closing:
        assert not self.under_way, "two ask LND at the same time"
        self.under_way += 1
        try:
            await asyncio.sleep(self.answers_after_seconds)
            self.closes.append((now(), ask))
            if self.refusal:
                kind, words = self.refusal
                raise ApplicationError(words, type=kind, non_retryable=True)
            if self.publishes:
                self.phase = ClosePhase.WAITING_CLOSE
        finally:
            self.under_way -= 1
        return self.closing()

    def closing(self) -> Closing:
        """What LND's lists say now."""
        height = self.height
        known = {"tip": self.tip(), "channel_point": POINT, "capacity_sat": 100_000}
        if self.phase in {ClosePhase.OPEN, ClosePhase.UNKNOWN}:
            return Closing(phase=self.phase, htlcs_expire_at=self.htlcs_expire_at, **known)
        at = self.confirms_at
        taken_back = self.taken_back_at is not None and height == self.taken_back_at
        in_a_block = at is not None and height >= at and not taken_back
        if at is None or not in_a_block or height < (self.final_at or at):
            return Closing(
                phase=ClosePhase.WAITING_CLOSE,
                closing_txid=CLOSING_TXID,
                close_height=at if in_a_block else None,
                limbo_sat=50_000,
                commit_fee_sat=self.commit_fee_sat,
                **known,
            )
        matures = at + self.csv_blocks
        swept_at = self.sweeps_at or matures + 1
        swept = height >= swept_at
        return Closing(
            phase=ClosePhase.CLOSED if swept else ClosePhase.FORCE_CLOSING,
            close_type=self.close_type,
            closing_txid=CLOSING_TXID,
            close_height=at,
            limbo_sat=0 if swept else 50_000,
            recovered_sat=49_900 if swept else 0,
            settled_sat=50_000,
            commit_fee_sat=self.commit_fee_sat,
            sweep_fees_sat=100 if swept else 0,
            outputs=(
                output(
                    maturity_height=matures,
                    outcome=OutputOutcome.CLAIMED if swept else OutputOutcome.PENDING,
                ),
            ),
            **known,
        )

    @asynccontextmanager
    async def _held(
        self, node: str, channels: Any, *, unless: Callable[[], bool], **terms: Any
    ) -> AsyncIterator[None]:
        """A turn, as `workflows.turns.held` gives it."""
        assert (node, list(channels), terms["urgent"]) == ("alice", [POINT], True)
        self.turns.append(False)
        patience = terms["patience"]
        if self.turn_after_seconds is not None:
            patience = timedelta(seconds=self.turn_after_seconds)
        with suppress(TimeoutError):
            await vars(close)["workflow"].wait_condition(unless, timeout=patience)
        if self.turn_after_seconds is None or unless():
            raise turns.NoTurnError("others have it")
        self.turns[-1] = True
        yield

    # The workflow.
    def run(
        self,
        request: Any,
        story: Callable[[], Coroutine[Any, Any, None]] | None = None,
        *,
        carried: CloseProgress | None = None,
        workflow_id: str = f"close/{POINT}",
    ) -> CloseReceipt:
        """To its end; `story` goes on beside it."""

        async def both() -> CloseReceipt:
            if carried:
                vars(close)["workflow"].info().continued_run_id = "before"
            self.workflow = ChannelCloseWorkflow(request, carried)
            self.task = asyncio.create_task(self.workflow.run(request, carried))
            if story:
                await story()
            return await self.task

        with mock.patch.object(turns, "held", self._held):
            receipt = play(self, workflow_id, MODULES, both)
        assert isinstance(receipt, CloseReceipt)
        return receipt

    def run_to_a_new_one(self, request: CloseRequest) -> CloseProgress:
        """What the next run begins with."""
        with pytest.raises(NewRun) as ended:
            self.run(request)
        carried = ended.value.carried
        assert isinstance(carried, CloseProgress)
        return carried

    def join(
        self, request: CloseRequest, listener: str | None = None, *, commit_fee_sat: int = 0
    ) -> None:
        order = BeginClose(request=request, listener=listener, commit_fee_sat=commit_fee_sat)
        self.workflow.join(order.model_dump(mode="json"))

    def told(self) -> list[str]:
        return [f"{event.type}" for event in self.events]
