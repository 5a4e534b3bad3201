"""How a node is configured: where it is, and which files hold its credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fulgurite.bolt11 import ChainNetwork
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT
from nodes.roles import Role

DEFAULT_LND_ADDRESS = "127.0.0.1:10009"


class LndConfig(BaseModel):
    """One LND node. Secrets are named by path and read when the connection is made.

    Either `lndconnect_path`, a file with an `lndconnect://` URI whose macaroon then serves
    every role, or the certificate and one macaroon a role, found by `macaroon_dir` as
    `<role>.macaroon` or named one by one in `macaroons`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: ChainNetwork = Field(
        description="what the node must be on; a worker that finds another does not start"
    )
    address: str = Field(default=DEFAULT_LND_ADDRESS, pattern=r"^[^/\s]+:\d{1,5}$")
    tls_cert_path: Path | None = None
    macaroon_dir: Path | None = None
    macaroons: dict[Role, Path] = Field(default_factory=dict)
    lndconnect_path: Path | None = None
    approval_above_sat: int | None = Field(
        default=None,
        ge=0,
        le=MAX_MSAT // MSAT_PER_SAT,
        description="payments above this wait for a person",
    )

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.lndconnect_path is None and self.tls_cert_path is None:
            raise ValueError("give tls_cert_path (lnd's tls.cert), or lndconnect_path")
        return self

    def macaroon_path(self, role: Role) -> Path | None:
        """The file of a role's macaroon; None when this process does not hold the role."""
        if role in self.macaroons:
            return self.macaroons[role]
        if self.macaroon_dir and (path := self.macaroon_dir / f"{role}.macaroon").exists():
            return path
        return None
