"""What a rebalance asks of the world."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.channels.channel import Channel
from fulgurite.identity import ChannelId, ChannelPoint, Digest, NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.model import Line, Model
from fulgurite.money import Msat
from fulgurite.payments.states import FailureReason, PaymentStatus
from fulgurite.rebalances.requests import RebalanceMethod
from fulgurite.rebalances.routes import HtlcFailure, Pair, Route


class Side(Model):
    """One channel, as its node has it now."""

    channel_point: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    peer_alias: str = ""
    active: bool
    capacity_sat: int
    local_sat: int
    remote_sat: int

    @classmethod
    def of(cls, channel: Channel) -> Self:
        return cls(
            channel_point=channel.channel_point,
            channel_id=channel.channel_id,
            peer=channel.peer,
            peer_alias=channel.peer_alias,
            active=channel.active,
            capacity_sat=channel.capacity_sat,
            local_sat=channel.local_sat,
            remote_sat=channel.remote_sat,
        )


class LookAtChannels(Model):
    """How these channels stand; those that are not open are left out."""

    node: NodeName
    channel_points: tuple[ChannelPoint, ...]


class Sides(Model):
    """The open ones among those that were asked for."""

    sides: tuple[Side, ...]


class Attempt(Model):
    """One part, before anything of it is sent. Its number makes its invoice, and its hash."""

    node: NodeName
    key: Key
    identity: Digest = Field(description="of the request")
    number: int = Field(ge=1)
    method: RebalanceMethod
    amount_msat: Msat
    fee_limit_msat: Msat
    outgoing_channels: tuple[ChannelId, ...] = ()
    last_hop: NodePubkey | None = Field(
        default=None, description="null: of an earlier run, and only followed"
    )


class Known(Model):
    """An attempt that LND has paid before, or is at."""

    payment_hash: PaymentHash
    amount_msat: Msat
    settled: bool = Field(description="it has settled already")


class Recall(Model):
    """Look for what an earlier run has sent, number by number, by its invoice and its payment."""

    node: NodeName
    key: Key
    identity: Digest = Field(description="of the request")
    after: int = Field(ge=0, description="numbers up to this one are accounted for")
    look_ahead: int = Field(
        ge=1, description="so many unknown ones in a row, and there are no more: LND can forget"
    )


class Recalled(Model):
    """The next that counts; whatever is before it can settle no more."""

    number: int = Field(description="of it; where there is none, the last one that LND knows")
    known: Known | None = Field(default=None, description="null: that was all")


class Prepare(Model):
    """Find a route for it, and write the invoice that it will pay."""

    attempt: Attempt
    avoid: tuple[Pair, ...] = ()


class PrepareOutcome(StrEnum):
    """What came of it."""

    READY = "READY"  # the route is within the limit, and the invoice is there
    NO_ROUTE = "NO_ROUTE"  # none within the limit
    KNOWN = "KNOWN"  # LND has paid this number's invoice before, or is at it
    SPENT = "SPENT"  # this number was used before, and came to nothing


class Prepared(Model):
    """What is written down before anything is sent."""

    outcome: PrepareOutcome
    payment_hash: PaymentHash | None = None
    route: Route | None = Field(default=None, description="null where LND chooses by itself")
    known: Known | None = Field(default=None, description="KNOWN: what LND has")
    cheapest_fee_msat: Msat | None = Field(
        default=None, description="NO_ROUTE: what the cheapest would cost; null: there is none"
    )


class SendAttempt(Model):
    """Send it, unless LND has it, and follow it to its verdict, or to `until`."""

    attempt: Attempt
    payment_hash: PaymentHash
    route: Route | None
    until: datetime
    send_before: datetime | None = Field(
        description="null: it is only followed, and ends where LND does not have it"
    )


class SendOutcome(StrEnum):
    """What is certain of an attempt."""

    IN_FLIGHT = "IN_FLIGHT"  # nothing, yet
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"  # LND's verdict; and its invoice can be paid no more
    NOT_SENT = "NOT_SENT"  # LND took it not; and its invoice can be paid no more

    @classmethod
    def of(cls, status: PaymentStatus) -> SendOutcome:
        return cls(status.value)


class Sent(Model):
    """LND's word on an attempt."""

    outcome: SendOutcome
    amount_msat: Msat = Msat(0)
    fee_msat: Msat = Msat(0)
    failure_reason: FailureReason = FailureReason.NONE
    failure: HtlcFailure | None = Field(
        default=None, description="of the last HTLC; null also where LND no longer knows"
    )
    because: Line = ""


LOOK_AT_CHANNELS = Call("rebalance.look", LookAtChannels, Sides)
RECALL_ATTEMPTS = Call("rebalance.recall", Recall, Recalled)
PREPARE_ATTEMPT = Call("rebalance.prepare", Prepare, Prepared)
SEND_ATTEMPT = Call("rebalance.send", SendAttempt, Sent)
