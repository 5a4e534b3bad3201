"""What a relay's workflow asks of the world, beside what invoices and payments do."""

from __future__ import annotations

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName, NodePubkey, PaymentHash
from fulgurite.model import Model
from fulgurite.payments.states import PaymentStatus


class Outlook(Model):
    """What was found."""

    pubkey: NodePubkey = Field(description="the paying node's")
    height: int = Field(description="the tip, as the paying node sees it")
    payment: PaymentStatus | None = Field(
        default=None, description="LND's word on a payment of the hash; null: it knows none"
    )
    payment_runs: bool = Field(
        default=False,
        description="a workflow of ours pays this hash, or was just ended by force while it did",
    )
    payment_ours: bool = Field(default=False, description="and a run of this relay has begun it")
    payment_retained: bool = Field(
        default=False, description="Temporal retains such a workflow, under way or ended"
    )
    elsewhere: NodeName | None = Field(
        default=None, description="another node that has paid this hash, or may be about to"
    )
    invoice_key: str | None = Field(
        default=None, description="the key of our invoice of this hash; null: there is none"
    )

    @property
    def payment_open(self) -> bool:
        """Whether it may be paid without anybody doing anything more."""
        return self.payment_runs or self.payment is PaymentStatus.IN_FLIGHT


class LookAhead(Model):
    """What the paying node, and we, have of this hash already."""

    node: NodeName
    payment_hash: PaymentHash
    known: Outlook | None = Field(
        default=None, description="what the node has said; given, only Temporal is asked again"
    )


LOOK_AHEAD = Call("relay.look_ahead", LookAhead, Outlook)
