"""A payment that waits for local balance, as the autopilot is told of it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime, Field

from fulgurite.identity import ChannelId, PaymentHash
from fulgurite.liquidity.picture import Holding
from fulgurite.model import Model


class Outbound(Model):
    """What LND could not send. It is a reason to move liquidity, and raises no limit."""

    payment_hash: PaymentHash = Field(description="who waits, and is told when something has moved")
    amount_sat: int = Field(gt=0, description="with the most that its routes may cost, rounded up")
    channels: tuple[ChannelId, ...] = Field(
        default=(), max_length=128, description="it may leave by these alone; none: by any"
    )
    until: AwareDatetime = Field(description="after this it waits no more, and is no reason")

    def may_leave_by(self, holding: Holding) -> bool:
        return not self.channels or holding.channel_id in self.channels

    def missing_sat(self, holdings: Iterable[Holding]) -> int:
        """What its channels cannot send of it; 0 or less: it is not for want of balance."""
        return self.amount_sat - sum(
            max(0, each.local_sat - each.reserve_sat)
            for each in holdings
            if each.active and self.may_leave_by(each)
        )
