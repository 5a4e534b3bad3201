"""What a lease asks of the world."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.chain.tip import Tip
from fulgurite.identity import NodeName, NodePubkey
from fulgurite.leases.market import Account, Bid, LeasedChannel
from fulgurite.leases.pricing import Quote
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import Refusal
from fulgurite.model import Line, Model


class QuoteLease(Model):
    """Ask what the lease can cost, and whether there is a market for it."""

    request: LeaseRequest


class Quoted(Model):
    """poold's answer; without a quote it says why there is none."""

    quote: Quote | None = None
    approval_above_sat: int | None = Field(default=None, description="the node's own threshold")
    refusal: Refusal = Refusal.NONE
    because: str = ""


class LookAtLease(Model):
    """Find what poold and LND have of a lease, by the mark of its bid."""

    node: NodeName
    mark: NodePubkey
    known: tuple[LeasedChannel, ...] = ()
    ask_poold: bool = Field(
        default=True, description="false: the bid is over, and LND alone has what it has won"
    )
    tip: Tip | None = Field(
        default=None, description="the block that is the reason to look; null: something else is"
    )


class Picture(Model):
    """What they say at one moment."""

    tip: Tip
    accounts: tuple[Account, ...] = Field(default=(), description="those that are not closed")
    bids: tuple[Bid, ...] = Field(
        default=(), description="all with the lease's mark, the oldest first: one, or none"
    )
    channels: tuple[LeasedChannel, ...] = Field(default=(), description="that those have won")
    connected: bool = Field(default=True, description="poold is connected with its auctioneer")


class OpenAccount(Model):
    """Fund a new account, unless there is one of just this amount and expiry."""

    node: NodeName
    value_sat: int
    expiry_height: int
    fee_sat_per_vbyte: int
    until: datetime = Field(description="after this none is funded any more")


class RenewAccount(Model):
    """Move an account's expiry to a height, unless it is there or beyond."""

    node: NodeName
    account: NodePubkey
    expiry_height: int
    fee_sat_per_vbyte: int


class AccountWord(Model):
    """The account as it is now; without one it says why."""

    account: Account | None = None
    refusal: Refusal = Refusal.NONE
    because: str = ""


class SubmitBid(Model):
    """Make the bid, unless poold has one with its mark."""

    request: LeaseRequest
    mark: NodePubkey
    account: NodePubkey
    until: datetime = Field(description="after this none is made any more")


class Submitted(Model):
    """The bid as poold lists it; without one it says why there is none, for certain."""

    bid: Bid | None = None
    refusal: Refusal = Field(
        default=Refusal.NONE, description="NONE without a bid: the time was over"
    )
    because: str = ""


class WithdrawBid(Model):
    """Take a bid back. Once more is no harm."""

    node: NodeName
    nonce: Line


class Withdrawn(Model):
    """Whether poold has taken it back; it has not where the bid is executed."""

    done: bool
    because: str = ""


# What a lease does next, as one of these.
LeaseOrder = QuoteLease | OpenAccount | RenewAccount | SubmitBid | WithdrawBid

QUOTE_LEASE = Call("lease.quote", QuoteLease, Quoted)
LOOK_AT_LEASE = Call("lease.look", LookAtLease, Picture)
OPEN_ACCOUNT = Call("lease.open_account", OpenAccount, AccountWord)
RENEW_ACCOUNT = Call("lease.renew_account", RenewAccount, AccountWord)
SUBMIT_BID = Call("lease.submit_bid", SubmitBid, Submitted)
WITHDRAW_BID = Call("lease.withdraw_bid", WithdrawBid, Withdrawn)
