"""Pool's own things in poold's words: accounts, bids, and the channels that were leased."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import ChannelPoint, NodePubkey, Txid
from fulgurite.model import Line, Model


class AccountState(StrEnum):
    """poold's words."""

    PENDING_OPEN = "PENDING_OPEN"  # stored; its funding is not confirmed, or not even sent
    PENDING_UPDATE = "PENDING_UPDATE"  # renewed, or its amount changed; not confirmed yet
    OPEN = "OPEN"
    EXPIRED = "EXPIRED"  # nothing of it is matched any more; it can be renewed, or spent
    PENDING_CLOSED = "PENDING_CLOSED"
    CLOSED = "CLOSED"
    RECOVERY_FAILED = "RECOVERY_FAILED"
    PENDING_BATCH = "PENDING_BATCH"  # spent by a batch that is not confirmed


class Account(Model):
    """Money of ours that orders are paid from, in an output that the auctioneer signs too."""

    key: NodePubkey = Field(description="poold's trader key: what it is known by")
    state: AccountState
    value_sat: int
    available_sat: int = Field(description="without what open orders may take")
    expiry_height: int
    latest_txid: Txid | None = None


class BidState(StrEnum):
    """An order's states, in poold's words."""

    SUBMITTED = "SUBMITTED"  # in the auctioneer's book, or on its way there
    CLEARED = "CLEARED"  # in a batch that is not final
    PARTIALLY_FILLED = "PARTIALLY_FILLED"  # the rest stays in the book
    EXECUTED = "EXECUTED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"  # the auctioneer refused it, or does not know it


# Nothing of it is matched any more, by poold's word.
OVER = frozenset({BidState.EXECUTED, BidState.CANCELED, BidState.EXPIRED, BidState.FAILED})


class Bid(Model):
    """An order of ours as poold lists it."""

    nonce: Line = Field(description="what poold and the auctioneer know it by, in hex")
    account: NodePubkey
    state: BidState
    amount_sat: int
    unfilled_sat: int
    rate_ppb: int
    duration_blocks: int
    reserved_sat: int = Field(default=0, description="the most that it can still take")


class LeasedChannel(Model):
    """A channel that a bid has won. Money is what it has cost us, by poold's own figures."""

    channel_point: ChannelPoint
    amount_sat: int = Field(description="its capacity, all of it inbound")
    duration_blocks: int
    rate_ppb: int = Field(description="the batch's clearing rate: the bid's own, or lower")
    premium_sat: int
    execution_fee_sat: int
    chain_fee_sat: int = Field(
        description="our share of the batch's fee, as poold reckons it for an account of the old "
        "kind: from a Taproot account it took less"
    )
    peer: NodePubkey
    nonce: Line = Field(description="of the bid that won it")
    phase: ClosePhase = Field(
        default=ClosePhase.UNKNOWN, description="LND's list that has it; UNKNOWN: not open yet"
    )
    open_height: int | None = Field(default=None, description="where its funding is confirmed")
    expiry_height: int | None = Field(
        default=None, description="the end of its term; null: not confirmed yet"
    )

    @property
    def cost_sat(self) -> int:
        return self.premium_sat + self.execution_fee_sat + self.chain_fee_sat
