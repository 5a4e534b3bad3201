"""Another node of ours in the model's world: somebody pays the relay's hash from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState, PaymentStatus
from tests.properties.clock import EPOCH


class OtherNode:
    """What its LND has of the hash."""

    NAME = "dave"

    def __init__(self) -> None:
        self.word: PaymentStatus | None = None
        self.on_the_wire = False
        self.unclear = False  # a payment from here was ended by force, and nobody has asked since
        self._landed = asyncio.Event()

    @property
    def has_it(self) -> bool:
        """Whether it has paid, or may be about to."""
        has = self.word in {PaymentStatus.IN_FLIGHT, PaymentStatus.SUCCEEDED}
        return has or self.on_the_wire or self.unclear

    async def fly(self, after_seconds: float, settles: Callable[[], bool]) -> None:
        """One send, to its end."""
        self.word = PaymentStatus.IN_FLIGHT
        self._landed.clear()
        await asyncio.sleep(after_seconds)
        self.word = PaymentStatus.SUCCEEDED if settles() else PaymentStatus.FAILED
        self._landed.set()

    async def arrive_later(
        self, wire_seconds: float, after_seconds: float, settles: Callable[[], bool]
    ) -> None:
        """The same, where the payment's workflow was ended by force while it was sent."""
        self.on_the_wire = self.unclear = True
        await asyncio.sleep(wire_seconds)
        self.on_the_wire = False
        await self.fly(after_seconds, settles)

    async def verdict(self) -> None:
        """Its end, if it has any."""
        if self.word is PaymentStatus.IN_FLIGHT:
            await self._landed.wait()

    async def asked(self, request: PaymentRequest) -> PaymentState:
        """Of a payment's workflow that may send nothing from here."""
        until = request.no_attempt_after
        assert until is not None, "another node was to pay for the relay's"
        assert until < EPOCH, "another node was to pay for the relay's"
        await self.verdict()
        self.unclear = False
        return PaymentState.EXPIRED if self.word is None else PaymentState(str(self.word))
