"""A channel: two balances, the HTLCs between them, and what each end charges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devnet.simulated.onchain.transactions import Outpoint

# BOLT 2 leaves the reserve to the peers; lnd asks for one percent.
RESERVE_DIVISOR = 100

# BOLT 2's limit on HTLCs that one side may have pending.
MAX_ACCEPTED_HTLCS = 483


@dataclass(frozen=True)
class FeePolicy:
    """What an end charges to forward out over its side of the channel (BOLT 7)."""

    base_fee_msat: int
    fee_rate_ppm: int
    cltv_expiry_delta_blocks: int

    def fee_msat(self, amount_msat: int) -> int:
        """The fee for forwarding `amount_msat`, rounded down as BOLT 7 says."""
        return self.base_fee_msat + amount_msat * self.fee_rate_ppm // 1_000_000


@dataclass(eq=False)
class PendingHtlc:
    """An HTLC locked in on one channel: gone from `sender`, not yet at the other end.

    `incoming_channel_id` is where the sender got it from, as the HTLC `upstream`, and
    `outgoing_channel_id` where the receiver passed it on; 0 at the payment's own ends.

    `preimage` is there once the receiver knows it, whatever keeps it from saying so. A payee
    that wants the money no more has abandoned the HTLC, which means something on chain only.
    """

    channel: Channel
    index: int
    sender: str
    amount_msat: int
    payment_hash: bytes
    expiry_height: int
    incoming_channel_id: int = 0
    outgoing_channel_id: int = 0
    upstream: PendingHtlc | None = None
    preimage: bytes | None = field(default=None, repr=False)
    is_abandoned: bool = False
    is_resolved: bool = False
    on_chain: Callable[[bytes | None], None] = lambda _: None

    @property
    def receiver(self) -> str:
        return self.channel.other(self.sender)

    def resolve_on_chain(self, preimage: bytes | None) -> None:
        """The chain has decided: by the preimage, or by the expiry. Once more changes nothing."""
        if not self.is_resolved:
            self.is_resolved = True
            self.on_chain(preimage)


@dataclass(eq=False)
class Channel:
    """A channel. The balances and the pending HTLCs always add up to the capacity.

    While it is shutting down it takes no new HTLCs, and closes when the last one is gone.
    The opener's balance is shown without what its commitment would cost it. From the moment
    that either end has published its close nothing moves over it any more; `is_spent` says
    that a block has the close, which a reorg can take back.
    """

    channel_id: int
    funding_txid: str
    output_index: int
    capacity_msat: int
    opener: str
    peer: str
    balances_msat: dict[str, int]
    policies: dict[str, FeePolicy]
    push_sat: int = 0
    private: bool = False
    is_funded: bool = True
    is_linked: bool = False
    active: bool = False
    is_shutting_down: bool = False
    is_closing: bool = False
    is_spent: bool = False
    pending: dict[int, PendingHtlc] = field(default_factory=dict)
    _next_index: int = 0

    @property
    def reserve_msat(self) -> int:
        """What each side must always keep, so that it has something to lose."""
        return self.capacity_msat // RESERVE_DIVISOR

    @property
    def funding(self) -> Outpoint:
        return Outpoint(self.funding_txid, self.output_index)

    def other(self, node: str) -> str:
        """The far end, seen from `node`."""
        return self.peer if node == self.opener else self.opener

    def spendable_msat(self, sender: str) -> int:
        """The most `sender` can offer now; 0 while the link is down or its slots are full."""
        if not self.active or self.is_shutting_down:
            return 0
        if sum(htlc.sender == sender for htlc in self.pending.values()) >= MAX_ACCEPTED_HTLCS:
            return 0
        return max(0, self.balances_msat[sender] - self.reserve_msat)

    def offer(
        self, sender: str, amount_msat: int, payment_hash: bytes, expiry_height: int
    ) -> PendingHtlc:
        """Locks in an HTLC. The caller has asked `spendable_msat` in the same breath."""
        assert amount_msat <= self.spendable_msat(sender)
        htlc = PendingHtlc(self, self._next_index, sender, amount_msat, payment_hash, expiry_height)
        self._next_index += 1
        self.balances_msat[sender] -= amount_msat
        self.pending[htlc.index] = htlc
        return htlc

    def settle(self, htlc: PendingHtlc) -> None:
        """Gives the HTLC's amount to its receiver."""
        self._resolve(htlc, to=self.other(htlc.sender))

    def fail(self, htlc: PendingHtlc) -> None:
        """Gives the HTLC's amount back to its sender."""
        self._resolve(htlc, to=htlc.sender)

    def _resolve(self, htlc: PendingHtlc, *, to: str) -> None:
        htlc.is_resolved = True
        del self.pending[htlc.index]
        self.balances_msat[to] += htlc.amount_msat
