"""HTLCs on their way: out hop by hop to the payee, and back with a preimage or a failure.

Everything happens at once and in order unless something is in the way: a hold at a node,
or a link that is down. Then the HTLC stays locked where it is, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.graph import Graph
from devnet.simulated.holds import Holds
from devnet.simulated.ledger import Ledger
from devnet.simulated.routes import Hop, Route
from protos.lnrpc import lightning_pb2

FailureCode = lightning_pb2.Failure.FailureCode


@dataclass(frozen=True)
class Onion:
    """What only the payee reads (BOLT 4's final payload)."""

    total_msat: int
    payment_addr: bytes = b""
    keysend_preimage: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settled:
    preimage: bytes = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """A BOLT 4 failure from the node at `source_index` of the route; 0 is the payer."""

    code: FailureCode.ValueType
    source_index: int
    height: int


Outcome = Settled | Failed


@dataclass(eq=False)
class RoutedHtlc:
    """One attempt's HTLCs along its whole route. `locked` are those that are locked in."""

    payment_hash: bytes
    route: Route
    onion: Onion
    on_resolved: Callable[[Outcome], None]
    locked: list[PendingHtlc] = field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def last_hop(self) -> Hop:
        return self.route.hops[-1]


class Payee(Protocol):
    """The end of a route: decides now or later through `Switch.settle` and `Switch.fail`."""

    def arrive(self, htlc: RoutedHtlc) -> None: ...


class Switch:
    """Moves every HTLC of the network, and tells the ledger of each hop that settles."""

    def __init__(
        self, graph: Graph, holds: Holds, ledger: Ledger, height: Callable[[], int]
    ) -> None:
        self._graph = graph
        self._holds = holds
        self._ledger = ledger
        self._height = height
        self._payees: dict[str, Payee] = {}

    def add_payee(self, name: str, payee: Payee) -> None:
        self._payees[name] = payee

    def send(self, htlc: RoutedHtlc) -> None:
        """Starts an HTLC; `on_resolved` may be called before this returns."""
        self._advance(htlc)

    def settle(self, htlc: RoutedHtlc, preimage: bytes) -> None:
        """The payee's claim: the preimage travels back and moves each hop's amount."""
        self._return(htlc, Settled(preimage))

    def fail(self, htlc: RoutedHtlc, code: FailureCode.ValueType) -> None:
        """Sends the HTLC back from the node that has it now."""
        self._return(htlc, Failed(code, len(htlc.locked), self._height()))

    def _advance(self, htlc: RoutedHtlc) -> None:
        hops = htlc.route.hops
        while len(htlc.locked) < len(hops):
            hop = hops[len(htlc.locked)]
            channel = self._channel_for(hop)
            if channel is None:
                self.fail(htlc, self._why_not(hop))
                return
            self._lock_in(htlc, hop, channel)
            if self._holds.catch(hop.receiver, htlc, self._released):
                return

        self._payees[htlc.last_hop.receiver].arrive(htlc)

    def _lock_in(self, htlc: RoutedHtlc, hop: Hop, channel: Channel) -> None:
        pending = channel.offer(hop.sender, hop.amount_msat, htlc.payment_hash, hop.expiry_height)
        if htlc.locked:
            pending.incoming_channel_id = htlc.locked[-1].channel.channel_id
            htlc.locked[-1].outgoing_channel_id = channel.channel_id
        htlc.locked.append(pending)

    def _channel_for(self, hop: Hop) -> Channel | None:
        # Forwarding is not strict (BOLT 4): any channel between the two may carry the HTLC.
        if hop.channel.spendable_msat(hop.sender) >= hop.amount_msat:
            return hop.channel
        for channel in self._graph.between(hop.sender, hop.receiver):
            if channel.spendable_msat(hop.sender) >= hop.amount_msat:
                return channel
        return None

    def _why_not(self, hop: Hop) -> FailureCode.ValueType:
        if self._graph.connected(hop.sender, hop.receiver):
            return FailureCode.TEMPORARY_CHANNEL_FAILURE
        return FailureCode.UNKNOWN_NEXT_PEER

    def _released(self, htlc: RoutedHtlc, failure: FailureCode.ValueType | None) -> None:
        """Lets go of a held HTLC, as soon as the node that has it is in touch again."""

        def go_on() -> None:
            if failure is None:
                self._advance(htlc)
            else:
                self.fail(htlc, failure)

        self._graph.when_active(htlc.locked[-1].channel, go_on)

    def _return(self, htlc: RoutedHtlc, outcome: Outcome) -> None:
        assert htlc.outcome is None, "an HTLC is resolved once"
        htlc.outcome = outcome
        self._retreat(htlc)

    def _retreat(self, htlc: RoutedHtlc) -> None:
        assert htlc.outcome is not None
        while htlc.locked:
            pending = htlc.locked[-1]
            channel = pending.channel
            if not channel.active:
                self._graph.when_active(channel, lambda: self._retreat(htlc))
                return
            htlc.locked.pop()
            if isinstance(htlc.outcome, Failed):
                channel.fail(pending)
                continue
            channel.settle(pending)
            self._ledger.hop_settled(
                htlc.payment_hash,
                channel.channel_id,
                pending.sender,
                channel.other(pending.sender),
                pending.amount_msat,
            )
        htlc.on_resolved(htlc.outcome)
