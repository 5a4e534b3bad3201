"""How a webhook endpoint is configured: where it is, what it wants, and its secret's file."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from fulgurite.errors import UnsafeUrlError
from fulgurite.events.catalogue import EventType
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
        default=("*",),
        description="invoice.settled, invoice.*, or * for all; empty: it is only asked to decide",
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

    @field_validator("events")
    @classmethod
    def _exist(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """A mistyped pattern would be found only when a webhook is missed."""
        for pattern in patterns:
            if not any(_matches(pattern, event_type) for event_type in EventType):
                known = ", ".join(sorted(EventType))
                raise ValueError(f"no event is called {pattern}; there are {known}")
        return patterns

    def wants(self, event_type: str, node: str) -> bool:
        """Whether an event of `node` is sent here. `event_type` has the form `invoice.settled`."""
        if self.nodes and node not in self.nodes:
            return False
        return any(_matches(pattern, event_type) for pattern in self.events)


def _matches(pattern: str, event_type: str) -> bool:
    return pattern in {"*", event_type, event_type.partition(".")[0] + ".*"}
