"""What a ladder asks of the world."""

from __future__ import annotations

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import ChannelPoint
from fulgurite.model import Model
from fulgurite.stuck.receipts import Picture
from fulgurite.stuck.requests import StuckRequest


class LookAtStuck(Model):
    """Find the payment's HTLCs, and what is known of the channels they were on."""

    request: StuckRequest
    known: tuple[ChannelPoint, ...] = Field(
        default=(),
        description="where they were seen before: on chain they no longer say their hash",
    )
    ask_payment: bool = Field(
        description="ask LND for its word on the payment; it is asked anyway where nothing hangs, "
        "and no channel of it is closing"
    )


LOOK_AT_STUCK = Call("stuck.look", LookAtStuck, Picture)
