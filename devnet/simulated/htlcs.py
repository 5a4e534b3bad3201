"""HTLCs on their way: out hop by hop to the payee, and back with a preimage or a failure.

Everything happens at once and in order unless something is in the way: a hold at a node,
or a link that is down. Then the HTLC stays locked where it is, and goes on from there. Where
a channel closes under it, the chain decides that hop, and the rest follows from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.forwards import ForwardingLog
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
    """One attempt's HTLCs along its whole route. `locked` are those that were locked in.

    The last node that it reaches has its word on it once, and the payer its outcome, which
    the chain can have decided otherwise meanwhile.
    """

    payment_hash: bytes
    route: Route
    onion: Onion
    on_resolved: Callable[[Outcome], None]
    locked: list[PendingHtlc] = field(default_factory=list)
    is_returned: bool = False
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
        self.forwards = ForwardingLog()
        self._payees: dict[str, Payee] = {}
        self._on_decision: list[Callable[[PendingHtlc], None]] = []

    def add_payee(self, name: str, payee: Payee) -> None:
        self._payees[name] = payee

    def on_decision(self, listener: Callable[[PendingHtlc], None]) -> None:
        """Tells of HTLCs that their receiver has decided, and only the chain can carry out."""
        self._on_decision.append(listener)

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
            if (objection := self._objection(htlc, hop)) is not None:
                self.fail(htlc, objection)
                return
            channel = self._channel_for(hop)
            if channel is None:
                self.fail(htlc, self._why_not(hop))
                return
            self._lock_in(htlc, hop, channel)
            if self._holds.catch(hop.receiver, htlc, self._released):
                return

        self._payees[htlc.last_hop.receiver].arrive(htlc)

    def _objection(self, htlc: RoutedHtlc, hop: Hop) -> FailureCode.ValueType | None:
        """What a forwarder has against it: a route can be older than its terms, or made up."""
        if not htlc.locked:
            return None
        taken, policy = htlc.locked[-1], hop.channel.policies[hop.sender]
        if taken.amount_msat - hop.amount_msat < policy.fee_msat(hop.amount_msat):
            return FailureCode.FEE_INSUFFICIENT
        if taken.expiry_height - hop.expiry_height < policy.cltv_expiry_delta_blocks:
            return FailureCode.INCORRECT_CLTV_EXPIRY
        return None

    def _lock_in(self, htlc: RoutedHtlc, hop: Hop, channel: Channel) -> None:
        pending = channel.offer(hop.sender, hop.amount_msat, htlc.payment_hash, hop.expiry_height)
        pending.on_chain = partial(self._resolved_on_chain, htlc, len(htlc.locked))
        if htlc.locked:
            pending.upstream = htlc.locked[-1]
            pending.incoming_channel_id = pending.upstream.channel.channel_id
            pending.upstream.outgoing_channel_id = channel.channel_id
        htlc.locked.append(pending)
        self._graph.updated(channel)

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
            last = htlc.locked[-1]
            is_there = len(htlc.locked) == len(htlc.route.hops)
            if last.is_resolved:
                return
            if failure is not None:
                self.fail(htlc, failure)
            elif is_there or not last.channel.is_closing:
                # Nobody forwards what came over a channel that is closing; a payee may take it.
                self._advance(htlc)

        self._graph.when_active(htlc.locked[-1].channel, go_on)

    def _return(self, htlc: RoutedHtlc, outcome: Outcome) -> None:
        """The word of the node that has the HTLC now."""
        assert not htlc.is_returned, "an HTLC is resolved once"
        htlc.is_returned = True
        self._pass_back(htlc, len(htlc.locked), outcome)

    def _pass_back(self, htlc: RoutedHtlc, at: int, outcome: Outcome) -> None:
        """Hop `at` is resolved, so its sender knows what to do with the hop before it."""
        if at == 0:
            htlc.outcome = outcome
            htlc.on_resolved(outcome)
        else:
            if at < len(htlc.locked) and isinstance(outcome, Settled):
                self._note_forward(htlc.locked[at - 1], htlc.locked[at])
            self._decide(htlc, at - 1, outcome)

    def _note_forward(self, come: PendingHtlc, gone: PendingHtlc) -> None:
        channels = come.channel.channel_id, gone.channel.channel_id
        self.forwards.add(gone.sender, channels, (come.amount_msat, gone.amount_msat))

    def _decide(self, htlc: RoutedHtlc, at: int, outcome: Outcome) -> None:
        """The receiver of hop `at` has its word on it, which goes back when the link is up."""
        pending = htlc.locked[at]
        if pending.is_resolved:
            return  # the chain was faster
        channel = pending.channel
        if isinstance(outcome, Settled):
            pending.preimage = outcome.preimage
        if channel.is_closing:
            # A forwarder has no way to give an HTLC back on chain: its sender takes it.
            is_payee = at == len(htlc.route.hops) - 1
            pending.is_abandoned = is_payee and isinstance(outcome, Failed)
            for listener in self._on_decision:
                listener(pending)
        elif not channel.active:
            self._graph.when_active(channel, lambda: self._decide(htlc, at, outcome))
        else:
            self._resolve(htlc, pending, outcome)
            self._graph.updated(channel)
            self._pass_back(htlc, at, outcome)

    def _resolve(self, htlc: RoutedHtlc, pending: PendingHtlc, outcome: Outcome) -> None:
        channel = pending.channel
        if isinstance(outcome, Failed):
            channel.fail(pending)
            return
        channel.settle(pending)
        self._ledger.hop_settled(
            htlc.payment_hash,
            channel.channel_id,
            pending.sender,
            pending.receiver,
            pending.amount_msat,
        )

    def _resolved_on_chain(self, htlc: RoutedHtlc, at: int, preimage: bytes | None) -> None:
        if preimage is None:
            code = FailureCode.PERMANENT_CHANNEL_FAILURE
            self._pass_back(htlc, at, Failed(code, at, self._height()))
        else:
            self._pass_back(htlc, at, Settled(preimage))
