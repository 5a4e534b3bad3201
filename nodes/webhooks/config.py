"""How a webhook endpoint is configured: where it is, what it wants, and its secret's file."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from fulgurite.errors import UnsafeUrlError
from fulgurite.identity import NodeName
from nodes.webhooks.addresses import check_url

# `invoice.settled`, `invoice.*`, or `*`.
EventPattern = Annotated[
    str, StringConstraints(pattern=r"^(?:\*|[a-z][a-z0-9_]*\.(?:\*|[a-z][a-z0-9_]*))$")
]


class WebhookConfig(BaseModel):
    """One endpoint. Building it checks the URL; what its name leads to is checked when sending."""

    # A URL's path is often a secret in itself, and is not repeated either.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(repr=False, description="https, and public unless allow_networks says so")
    secret_path: Path = Field(
        description="a file with one whsec_… secret a line, the newest first; read at each send"
    )
    events: tuple[EventPattern, ...] = Field(
        default=("*",), min_length=1, description="invoice.settled, invoice.*, or * for all"
    )
    nodes: tuple[NodeName, ...] = Field(default=(), description="empty: the events of every node")
    ordered: bool = Field(default=False, description="events of one resource one after another")
    timeout_seconds: float = Field(default=15, ge=1, le=60, description="for a whole attempt")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="for development: private networks that the receiver may be in"
    )

    @model_validator(mode="after")
    def _leads_outside(self) -> Self:
        try:
            check_url(self.url, self.allow_networks)
        except UnsafeUrlError as error:
            # As a ValueError it is told beside its field, with whatever else is wrong.
            raise ValueError(f"url: {error}") from None
        return self

    def wants(self, event_type: str, node: str) -> bool:
        """Whether an event of `node` is sent here. `event_type` has the form `invoice.settled`."""
        if self.nodes and node not in self.nodes:
            return False
        kind, _, _ = event_type.partition(".")
        return not {"*", f"{kind}.*", event_type}.isdisjoint(self.events)
