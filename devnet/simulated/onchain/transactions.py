"""What is written on the chain: transactions, their outputs, and who may take those.

Scripts are not run here. An output says in plain words what its script would: whose it is,
how old it must be, and for an HTLC who may take it by which secret and from which height on.
The ledger reads these words as well, and judges by them for itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class OutputKind(StrEnum):
    """What an output is for."""

    WALLET = "wallet"  # plain coins of a node
    FOREIGN = "foreign"  # given away by its owner, to an address outside
    FUNDING = "funding"  # a channel: both of its ends must sign
    TO_LOCAL = "to local"  # the balance of the end that published its commitment, after CSV
    TO_REMOTE = "to remote"  # the balance of the other end
    ANCHOR = "anchor"  # next to nothing, for a child that pays the commitment's fee
    HTLC = "htlc"
    ACCOUNT = "account"  # of Pool: its owner's, and the auctioneer signs too
    SECOND_LEVEL = "second level"  # of the HTLC transaction of whose commitment it is, after CSV


@dataclass(frozen=True)
class Outpoint:
    txid: str
    index: int

    def __str__(self) -> str:
        return f"{self.txid}:{self.index}"


@dataclass(frozen=True)
class HtlcTerms:
    """`payee` may take it with the preimage, `payer` from `expiry_height` on without."""

    payer: str
    payee: str
    payment_hash: bytes
    amount_msat: int
    expiry_height: int


@dataclass(frozen=True)
class Output:
    """`owner` may spend it once it is `csv_blocks` old; of an HTLC that is its payer."""

    kind: OutputKind
    owner: str
    amount_sat: int
    csv_blocks: int = 0
    htlc: HtlcTerms | None = None


@dataclass(frozen=True)
class Spend:
    """An input. `by` signs it, and shows `preimage` where an HTLC is taken by it."""

    outpoint: Outpoint
    by: str
    preimage: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Draw:
    """What a transaction takes out of a node's wallet.

    A wallet here is a sum, so that nothing drawn from it leaves change behind.
    """

    node: str
    amount_sat: int


@dataclass(frozen=True)
class Transaction:
    """A signed transaction of `publisher`. It may be mined above `lock_height`."""

    publisher: str
    label: str
    spends: tuple[Spend, ...]
    draws: tuple[Draw, ...]
    outputs: tuple[Output, ...]
    fee_sat: int
    weight: int
    lock_height: int = 0
    salt: int = 0  # tells funding transactions of the same terms apart

    @cached_property
    def txid(self) -> str:
        """Its hash, as people write it."""
        content = (self.spends, self.draws, self.outputs, self.lock_height, self.salt)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    @property
    def sat_per_kw(self) -> int:
        """Its fee rate in lnd's inner unit, rounded down."""
        return self.fee_sat * 1_000 // self.weight

    def outpoint(self, index: int) -> Outpoint:
        return Outpoint(self.txid, index)
