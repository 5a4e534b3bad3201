"""What is asked of a lease. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import NodeName, NodePubkey
from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT

LeaseKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$")]

# Pool trades in units of so many satoshis.
UNIT_SAT: Final = 100_000
# poold's own limits for what an account may hold, and for how long ahead it may expire.
MIN_ACCOUNT_SAT: Final = 100_000
MIN_ACCOUNT_BLOCKS: Final = 144
MAX_ACCOUNT_BLOCKS: Final = 52_560

_MAX_SAT = MAX_MSAT // MSAT_PER_SAT
_MAX_LEASE_SAT = 100_000 * UNIT_SAT


class NodeTier(StrEnum):
    """How good the auctioneer must rate the node that opens the channel."""

    TIER_0 = "TIER_0"  # any node
    TIER_1 = "TIER_1"  # a node that the auctioneer has found to be reliable


class AccountTerms(Model):
    """Which account of poold's pays for the lease, and what may be done so that there is one.

    Money in an account is ours: what a lease does not cost stays in it, and it can be spent
    with the auctioneer at any time, and without it after its expiry.
    """

    key: NodePubkey | None = Field(
        default=None, description="its trader key; null: any that is open and has enough"
    )
    open_with_sat: int | None = Field(
        default=None,
        ge=MIN_ACCOUNT_SAT,
        le=_MAX_SAT,
        description="where none will do, open one with so much; null: open none",
    )
    expiry_blocks: int = Field(
        default=4_320,
        ge=2 * MIN_ACCOUNT_BLOCKS,
        le=MAX_ACCOUNT_BLOCKS // 2,
        description="from now, of an account that is opened or renewed",
    )
    renew_below_blocks: int = Field(
        default=432,
        ge=MIN_ACCOUNT_BLOCKS,
        le=MAX_ACCOUNT_BLOCKS // 2,
        description="while a bid depends on it, an account that expires sooner is renewed, where "
        "`fee_sat_per_vbyte` allows it",
    )
    fee_sat_per_vbyte: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="the fee rate to open and to renew at; null: neither is done",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.key is not None and self.open_with_sat is not None:
            raise ValueError('give "key" or "open_with_sat", not both')
        if self.open_with_sat is not None and self.fee_sat_per_vbyte is None:
            raise ValueError('to open an account needs "fee_sat_per_vbyte"')
        if self.renew_below_blocks >= self.expiry_blocks:
            raise ValueError('"renew_below_blocks" must be below "expiry_blocks"')
        return self


class LeaseRequest(Model):
    """Inbound liquidity, bid for in Pool's market. One key, one bid: for ever.

    Rate and batch fee are limits that the market is told, and no default of "any" exists for
    either. Pool's clearing rate is the same for everybody in a batch, and often lower.
    """

    key: LeaseKey = Field(description="the caller's own name for it; a second request attaches")
    node: NodeName = Field(description="the configured node that is to have the channel")
    amount_sat: int = Field(
        ge=UNIT_SAT, le=_MAX_LEASE_SAT, multiple_of=UNIT_SAT, description="inbound"
    )
    min_channel_sat: int | None = Field(
        default=None,
        ge=UNIT_SAT,
        multiple_of=UNIT_SAT,
        description="the smallest channel that will do, where several asks are to fill the bid; "
        "null: one channel of the whole amount",
    )
    duration_blocks: int = Field(
        default=2_016, ge=144, le=MAX_ACCOUNT_BLOCKS, description="one that Pool has a market for"
    )
    max_rate_ppb: int = Field(
        ge=1,
        le=2**31,
        description="the bid: parts per billion of the amount, for each block (Pool's rate_fixed)",
    )
    max_batch_fee_sat_per_vbyte: int = Field(
        ge=1, le=10_000, description="no part in a batch whose transaction pays a higher rate"
    )
    max_cost_sat: int | None = Field(
        default=None,
        ge=0,
        le=_MAX_SAT,
        description="refused before the bid where premium, execution fees and chain fees can "
        "come to more; the fees of opening or renewing an account are not in it",
    )
    min_tier: NodeTier = NodeTier.TIER_1
    announced: bool = Field(default=True, description="the channel is public")
    deadline_seconds: int = Field(
        default=86_400,
        ge=1,
        le=30 * 86_400,
        description="after this the bid is taken back; what it has won by then stays",
    )
    account: AccountTerms = AccountTerms()
    budgets: tuple[BudgetName, ...] = Field(
        default=(),
        max_length=8,
        description="the most that it can cost is reserved in each as fees, and what it has cost "
        "counts there; without room in one of them it is refused. The fees of opening or renewing "
        "an account are not in it",
    )
    approval_above_sat: int | None = Field(
        default=None,
        ge=0,
        le=_MAX_SAT,
        description="ask a person where it can cost more than this, beside the node's threshold",
    )
    approval_expires_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_channel_sat is not None and self.min_channel_sat > self.amount_sat:
            raise ValueError('"min_channel_sat" is above "amount_sat"')
        return self

    @property
    def smallest_sat(self) -> int:
        """The smallest channel that will do."""
        return self.min_channel_sat or self.amount_sat


class LeaseCancellation(Model):
    """Take the bid back. What it has won by then stays, and is followed to its end."""

    reason: Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\r\n]*$")] = ""
