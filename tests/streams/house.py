"""One node, those who wait for its invoices, and a worker that listens."""

from __future__ import annotations

from activities.invoice_scans import EVERY_SECONDS
from fulgurite.identity import PaymentHash
from tests.streams.model_lnd import ModelLnd
from tests.streams.world import Workers, World, is_listening

# A scan, its jitter, and the look whether the stream is stalled.
TWO_SCANS_SECONDS = 2 * (EVERY_SECONDS * 1.2 + 8)


class House:
    """One node, those who wait, and a worker that listens."""

    def __init__(self, lnd: ModelLnd | None = None, *, jitter: float = 0.5) -> None:
        self.lnd = lnd or ModelLnd()
        self.world = World()
        self.workers = Workers(self.lnd, self.world, draw=lambda: jitter)

    async def listening(self) -> House:
        self.workers.start()
        await is_listening(self.workers)
        return self

    def ours(self) -> PaymentHash:
        payment_hash = self.lnd.add()
        self.world.ours.add(payment_hash)
        return payment_hash

    def paid(self) -> PaymentHash:
        payment_hash = self.ours()
        self.lnd.settle(payment_hash)
        return payment_hash
