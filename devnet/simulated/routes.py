"""The way of a payment through the network, in the terms of BOLT 4 and lnd's Route."""

from __future__ import annotations

from dataclasses import dataclass

from devnet.simulated.channels import Channel


@dataclass(frozen=True)
class Hop:
    """One channel of a route: `amount_msat` travels over it from `sender` to `receiver`.

    `forward_msat` is what the receiver is told to pass on, or to accept at the end; what
    lies between is its fee. `expiry_height` is the HTLC's on this channel.
    """

    channel: Channel
    sender: str
    receiver: str
    amount_msat: int
    forward_msat: int
    expiry_height: int

    @property
    def fee_msat(self) -> int:
        return self.amount_msat - self.forward_msat


@dataclass(frozen=True)
class Route:
    """Hops from payer to payee; never empty."""

    hops: tuple[Hop, ...]

    @property
    def total_msat(self) -> int:
        """What leaves the payer, fees included."""
        return self.hops[0].amount_msat

    @property
    def delivered_msat(self) -> int:
        """What the payee is told to accept."""
        return self.hops[-1].forward_msat

    @property
    def fees_msat(self) -> int:
        return self.total_msat - self.delivered_msat
