"""What is asked of a ladder. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from pydantic import Field

from fulgurite.identity import NodeName, PaymentHash
from fulgurite.model import Model
from fulgurite.stuck.policy import LadderPolicy


class StuckRequest(Model):
    """A payment that hangs in flight, and what may be done about it."""

    node: NodeName = Field(description="the configured node that sent it")
    payment_hash: PaymentHash
    policy: LadderPolicy | None = Field(default=None, description="null: the node's own")
    followed: bool = Field(
        default=False,
        description="the payment's own workflow follows it, and signals LND's verdict; false: "
        "LND is asked at every block",
    )
