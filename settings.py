"""How this installation is configured: `FULGURITE_*` variables over a TOML file.

The file is named by `FULGURITE_CONFIG`. Several nodes are told apart by name:
`FULGURITE_NODES__ALICE__ADDRESS` is `[nodes.alice] address` of the file. Secrets are named
by path and never by value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from fulgurite.budgets.policy import BudgetName, BudgetPolicy, payments_of
from fulgurite.errors import InvalidRequestError
from fulgurite.invoices.requests import EndpointName
from fulgurite.model import mistakes
from fulgurite.sealing import SealingKey, UnsealingKey
from nodes.config import LndConfig
from nodes.webhooks.config import WebhookConfig

CONFIG_VARIABLE = "FULGURITE_CONFIG"


class Settings(BaseSettings):
    """Everything that can be set. What has no default must be given."""

    model_config = SettingsConfigDict(
        env_prefix="FULGURITE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_tls: bool = False
    temporal_api_key_path: Path | None = Field(default=None, description="Temporal Cloud's key")

    nodes: dict[str, LndConfig] = Field(default_factory=dict)

    budgets: dict[BudgetName, BudgetPolicy] = Field(
        default_factory=dict, description="how much may be spent under a name, and in which time"
    )

    unsealing_key_path: Path | None = Field(
        default=None, description="the private half; workers and readers of proofs need it"
    )
    sealing_key: str | None = Field(
        default=None, description="the public half, for clients that send keysends"
    )

    webhooks: dict[EndpointName, WebhookConfig] = Field(
        default_factory=dict, description="who is told of events; the same for every worker"
    )

    metrics_address: str = Field(default="127.0.0.1:9464", description="Prometheus, /metrics")
    health_address: str = Field(default="127.0.0.1:9465", description="/livez and /readyz")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    runs_workflows: bool = Field(
        default=True, description="false: only pays for its nodes, on their task queues"
    )
    graceful_shutdown_seconds: int = Field(default=15, ge=0, le=600)
    max_concurrent_payments: int = Field(
        default=200, ge=1, description="local activities under way in one worker"
    )
    max_webhooks_at_once: int = Field(default=20, ge=1, description="to one endpoint")
    max_followed_payments: int = Field(
        default=2_000, ge=1, description="payments in flight that one worker follows"
    )
    max_cached_workflows: int = Field(
        default=1_000,
        ge=1,
        description="workflows that one worker keeps in memory; it reads the others again when "
        "something happens to them",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if path := os.environ.get(CONFIG_VARIABLE):
            if not Path(path).is_file():
                # pydantic-settings would go on without it, on defaults that nobody chose.
                raise InvalidRequestError(f"{CONFIG_VARIABLE} names {path}, which is no file")
            return (*sources, TomlConfigSettingsSource(settings_cls, Path(path)))
        return sources

    @model_validator(mode="after")
    def _one_policy_a_budget(self) -> Self:
        if twice := self.budgets.keys() & self._budgets_of_nodes().keys():
            raise ValueError(f"budgets that a node's payment_budget makes: {', '.join(twice)}")
        return self

    def every_budget(self) -> dict[BudgetName, BudgetPolicy]:
        """Those with a name, and those that nodes have for their payments."""
        return self.budgets | self._budgets_of_nodes()

    def _budgets_of_nodes(self) -> dict[BudgetName, BudgetPolicy]:
        return {
            payments_of(name): node.payment_budget
            for name, node in self.nodes.items()
            if isinstance(node.payment_budget, BudgetPolicy)
        }

    def unsealing_key(self) -> UnsealingKey:
        """Raises InvalidRequestError, which says how to make one."""
        if self.unsealing_key_path is None:
            raise InvalidRequestError(
                "set FULGURITE_UNSEALING_KEY_PATH to a file made by `fulgurite key new FILE`"
            )
        return UnsealingKey(_text_of(self.unsealing_key_path))

    def public_sealing_key(self) -> SealingKey:
        """The public half, as configured or as it follows from the private one."""
        if self.sealing_key is not None:
            return SealingKey(self.sealing_key)
        return self.unsealing_key().sealing_key

    def temporal_api_key(self) -> str | None:
        return _text_of(self.temporal_api_key_path) if self.temporal_api_key_path else None


def load() -> Settings:
    """Raises InvalidRequestError that names every wrong setting, and no value."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidRequestError(f"the configuration is wrong: {mistakes(error)}") from None
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{CONFIG_VARIABLE}: {error}") from None


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from None
