"""A way around: out by one of the node's channels, in by another. In LND's terms of a route."""

from __future__ import annotations

from pydantic import Field

from fulgurite.identity import ChannelId, NodePubkey
from fulgurite.model import Model
from fulgurite.money import Msat


class Hop(Model):
    """One channel of a route, and the node at its far end."""

    channel_id: ChannelId
    to: NodePubkey
    forward_msat: Msat = Field(description="what that node passes on, or keeps if it is the last")
    fee_msat: Msat = Field(description="what it takes for that")
    expiry_height: int


class Route(Model):
    """Hops from the node back to itself. LND sends it as it stands: it is checked before."""

    total_msat: Msat = Field(description="what leaves, fees included")
    expiry_height: int = Field(description="at which the first HTLC expires")
    hops: tuple[Hop, ...] = Field(min_length=2)

    @property
    def delivered_msat(self) -> Msat:
        return self.hops[-1].forward_msat

    @property
    def fees_msat(self) -> Msat:
        """By what leaves and what arrives, whatever the hops say of their fees."""
        return self.total_msat - self.delivered_msat

    def pair(self, source_index: int) -> Pair | None:
        """The link that failed, by the place of who says so: 0 is the node itself.

        None: the last node, which passes nothing on.
        """
        if not 0 <= source_index < len(self.hops):
            return None
        own = self.hops[-1].to
        sender = self.hops[source_index - 1].to if source_index else own
        return Pair(sender=sender, receiver=self.hops[source_index].to)

    def words(self) -> str:
        """For an operator."""
        way = " → ".join(hop.to[:8] for hop in self.hops[:-1])
        return f"over {way} for {self.fees_msat}"


class Pair(Model):
    """Two neighbours, in the direction in which money was to go."""

    sender: NodePubkey
    receiver: NodePubkey


class Avoided(Model):
    """A pair that failed, and the amount from which on it is not tried again."""

    pair: Pair
    from_msat: Msat


class HtlcFailure(Model):
    """Why an attempt came back, by BOLT 4, and from which place of the route."""

    code: str
    source_index: int
