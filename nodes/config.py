"""How a node is configured: where it is, and which files hold its credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fulgurite.bolt11 import ChainNetwork
from fulgurite.budgets.policy import BudgetName, BudgetPolicy
from fulgurite.liquidity.policy import LiquidityPolicy
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT
from fulgurite.stuck.policy import LadderPolicy
from nodes.roles import Role

DEFAULT_LND_ADDRESS = "127.0.0.1:10009"
DEFAULT_LOOP_ADDRESS = "127.0.0.1:11010"
DEFAULT_POOL_ADDRESS = "127.0.0.1:12010"

_ADDRESS = r"^[^/\s]+:\d{1,5}$"
_MAX_SAT = MAX_MSAT // MSAT_PER_SAT


def _folder_or_bucket(url: str) -> str:
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("no credentials or options in the URL: the environment has them")
    folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    bucket = parts.scheme == "s3" and parts.netloc
    if not folder and not bucket:
        raise ValueError("give file:///a/folder or s3://bucket/prefix")
    return url


class BesideConfig(BaseModel):
    """A daemon beside an LND node. Its macaroon is named by path, like every secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=_ADDRESS)
    tls_cert_path: Path
    macaroon_path: Path


class LoopConfig(BesideConfig):
    """The loopd beside an LND node."""

    address: str = Field(default=DEFAULT_LOOP_ADDRESS, pattern=_ADDRESS)
    approval_above_sat: int | None = Field(
        default=None, ge=0, le=_MAX_SAT, description="swaps above this wait for a person"
    )


class PoolConfig(BesideConfig):
    """The poold beside an LND node."""

    address: str = Field(default=DEFAULT_POOL_ADDRESS, pattern=_ADDRESS)
    approval_above_sat: int | None = Field(
        default=None,
        ge=0,
        le=_MAX_SAT,
        description="leases that can cost more than this wait for a person",
    )


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
    address: str = Field(default=DEFAULT_LND_ADDRESS, pattern=_ADDRESS)
    tls_cert_path: Path | None = None
    macaroon_dir: Path | None = None
    macaroons: dict[Role, Path] = Field(default_factory=dict)
    lndconnect_path: Path | None = None
    approval_above_sat: int | None = Field(
        default=None,
        ge=0,
        le=_MAX_SAT,
        description="payments above this wait for a person",
    )
    payment_budget: BudgetName | BudgetPolicy | None = Field(
        default=None,
        description="counts every payment of the node: a policy, or the name of a budget",
    )
    stuck: LadderPolicy = Field(
        default=LadderPolicy(), description="what may be done about a payment that hangs"
    )
    liquidity: LiquidityPolicy = Field(
        default=LiquidityPolicy(), description="what the autopilot wants, and may spend"
    )
    channel_backup_url: Annotated[str, AfterValidator(_folder_or_bucket)] | None = Field(
        default=None,
        description="where static channel backups are kept: file:///a/folder or s3://bucket/prefix",
    )
    loop: LoopConfig | None = Field(default=None, description="null: this node swaps nothing")
    pool: PoolConfig | None = Field(default=None, description="null: this node leases nothing")
    inactive_after_seconds: int = Field(
        default=600, ge=1, le=86_400, description="a channel's peer is away for so long: told of"
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
