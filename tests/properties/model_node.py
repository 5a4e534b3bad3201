"""A model of LND for one payment hash: what it does is scripted, what it knows is the truth.

It follows the rules on which paying once rests, and nothing else: one payment a hash,
ALREADY_EXISTS unless the last one has FAILED, validation before that, an index that lags, a
stream that may be late, silent, repeated or cut off, and a send that arrives after its
sender has been told that the connection is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fulgurite.errors import (
    AlreadyExistsError,
    InvoiceExpiredError,
    NodeUnavailableError,
    PaymentNotFoundError,
)
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.money import Msat
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentStatus
from nodes.lnd.payments import NodePayment
from tests.properties.clock import VirtualDatetime


class OnSend(StrEnum):
    """What becomes of one call of SendPaymentV2."""

    TAKEN = "taken"  # and its stream tells the verdict
    SILENT = "silent"  # taken; the stream says nothing
    CUT = "cut"  # taken; then the connection is lost
    NEVER_ENDING = "never ending"  # taken; the verdict is told, the stream stays open
    RECANTED = "recanted"  # taken; after a success the stream says FAILED (lnd up to 0.17.5)
    LOST = "lost"  # the connection is lost, and nothing arrived
    LATE = "late"  # the connection is lost, and the send arrives after all
    SLOW = "slow"  # the stream is open; the send arrives later
    INVALID = "invalid"  # "invoice expired", whatever LND knows of the hash


class OnTrack(StrEnum):
    """What becomes of one call of TrackPaymentV2."""

    TOLD = "told"
    TWICE = "twice"  # every message is repeated
    SILENT = "silent"
    STALLED = "stalled"  # tells the present state, then nothing more, and does not end
    DOWN = "down"
    LAGS = "lags"  # NotFound, though LND has it, for as long as an index may lag


@dataclass(frozen=True)
class Fate:
    """What becomes of one send that LND took: when, and how."""

    after_seconds: float
    status: PaymentStatus
    reason: FailureReason = FailureReason.NONE


@dataclass
class Script:
    """What the node will do. Lists are used up in turn; then everything works."""

    sends: list[OnSend]
    tracks: list[OnTrack]
    fates: list[Fate]
    arrives_after_seconds: float  # a late or slow send
    lag_seconds: float  # how long the index may lag behind a send that was taken


@dataclass
class Send:
    """One send that LND took."""

    index: int
    taken_at: float
    payment: NodePayment
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def becomes(self, payment: NodePayment) -> None:
        self.payment = payment
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def next_after(self, told: NodePayment) -> NodePayment:
        while self.payment is told:
            await self._changed.wait()
        return self.payment


class ModelNode:
    """LND and the wire to it; a `PayingNode` of `activities.dispatching`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.taken: list[Send] = []
        self.asked_to_send = 0
        self.on_the_wire = 0  # sends that have not arrived and still will
        self._running: set[asyncio.Task[None]] = set()

    @property
    def truth(self) -> NodePayment | None:
        """What LND has of the hash, whether or not anybody could read it now."""
        return self.taken[-1].payment if self.taken else None

    @property
    def may_still_pay(self) -> bool:
        """Whether money is or can come under way without anybody sending again."""
        in_flight = self.truth is not None and self.truth.status is PaymentStatus.IN_FLIGHT
        return in_flight or self.on_the_wire > 0

    def put_on_the_wire(self, after_seconds: float) -> None:
        """A send of somebody who is not there any more."""
        self._later(after_seconds)

    # As a PayingNode.

    @asynccontextmanager
    async def track(self, payment_hash: PaymentHash) -> AsyncIterator[AsyncIterator[NodePayment]]:  # noqa: ARG002 - there is one hash
        yield self._tracked(self.script.tracks.pop(0) if self.script.tracks else OnTrack.TOLD)

    @asynccontextmanager
    async def send(
        self,
        request: PaymentRequest,  # noqa: ARG002 - the Protocol's
        order: Order,  # noqa: ARG002 - the Protocol's
        preimage: Preimage | None,  # noqa: ARG002 - the Protocol's
    ) -> AsyncIterator[AsyncIterator[NodePayment]]:
        self.asked_to_send += 1
        how = self.script.sends.pop(0) if self.script.sends else OnSend.TAKEN
        refused: Exception | None = None
        if how is OnSend.INVALID:
            refused = InvoiceExpiredError("invoice expired")
        elif how in {OnSend.LATE, OnSend.SLOW}:
            self._later(self.script.arrives_after_seconds)
        elif how is not OnSend.LOST:
            try:
                self._take()
            except AlreadyExistsError as error:
                refused = error
        yield self._answers(how, refused)

    async def _answers(self, how: OnSend, refused: Exception | None) -> AsyncIterator[NodePayment]:
        await asyncio.sleep(0.01)
        if how in {OnSend.LOST, OnSend.CUT, OnSend.LATE}:
            raise NodeUnavailableError("the connection was cut")
        if refused:
            raise refused
        if how in {OnSend.SILENT, OnSend.SLOW}:
            await _for_ever()
        sent = self.taken[-1]
        payment = sent.payment
        while payment.status is PaymentStatus.IN_FLIGHT:
            payment = await sent.next_after(payment)
        yield payment
        if how is OnSend.RECANTED and payment.status is PaymentStatus.SUCCEEDED:
            yield replace(payment, status=PaymentStatus.FAILED)
        if how is OnSend.NEVER_ENDING:
            await _for_ever()

    async def _tracked(self, how: OnTrack) -> AsyncIterator[NodePayment]:
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        if how is OnTrack.DOWN:
            raise NodeUnavailableError("connection refused")
        if not self.taken:
            raise PaymentNotFoundError("payment isn't initiated")
        latest = self.taken[-1]
        if how is OnTrack.LAGS and loop.time() - latest.taken_at < self.script.lag_seconds:
            raise PaymentNotFoundError("payment isn't initiated")
        if how is OnTrack.SILENT:
            await _for_ever()
        told = latest.payment
        while True:
            yield told
            if how is OnTrack.TWICE:
                yield told
            if how is OnTrack.STALLED:
                await _for_ever()
            if told.status is not PaymentStatus.IN_FLIGHT:
                return
            told = await latest.next_after(told)

    # As LND.

    def _take(self) -> None:
        if self.truth is not None and self.truth.status is not PaymentStatus.FAILED:
            raise AlreadyExistsError("payment is in transition or paid")
        loop = asyncio.get_running_loop()
        index = len(self.taken) + 1
        send = Send(index, loop.time(), _payment(index, Fate(0, PaymentStatus.IN_FLIGHT)))
        self.taken.append(send)
        fate = self.script.fates.pop(0) if self.script.fates else Fate(0.1, PaymentStatus.SUCCEEDED)
        self._spawn(self._end(send, fate))

    async def _end(self, send: Send, fate: Fate) -> None:
        created_at = send.payment.created_at
        if fate.reason is not FailureReason.NONE:
            # LND gives up trying before the last HTLC is back: a reason, and no verdict.
            await asyncio.sleep(fate.after_seconds / 2)
            given_up = Fate(0, PaymentStatus.IN_FLIGHT, fate.reason)
            send.becomes(_payment(send.index, given_up, created_at))
        await asyncio.sleep(fate.after_seconds / 2)
        send.becomes(_payment(send.index, fate, created_at))

    def _later(self, after_seconds: float) -> None:
        self.on_the_wire += 1

        async def arrive() -> None:
            await asyncio.sleep(after_seconds)
            self.on_the_wire -= 1
            try:
                self._take()
            except AlreadyExistsError:
                return  # nobody is there to be told

        self._spawn(arrive())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _payment(index: int, fate: Fate, created_at: datetime | None = None) -> NodePayment:
    return NodePayment(
        status=fate.status,
        failure_reason=fate.reason,
        payment_index=index,
        amount=Msat(50_000),
        fee=Msat(0),
        parts=0,
        attempts=0,
        created_at=created_at or VirtualDatetime.now(UTC),
        resolved_at=None,
        expiry_height=None,
        preimage=None,
    )


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
