"""docker-compose.yml as types: a key that we do not know, or of a wrong shape, is an error.

Only the part of the compose specification that the file uses. To use more, add it here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"

# What an operator writes into .env, with a value for the tests.
OPERATOR = {"BITCOIN_NETWORK": "signet"}

_UNITS = {"s": 1, "m": 60, "h": 3600}
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


def _seconds(written: object) -> int:
    if not isinstance(written, str) or not (match := re.fullmatch(r"(\d+)([smh])", written)):
        raise ValueError(f"write a duration such as 15s or 5m, not {written!r}")
    return int(match[1]) * _UNITS[match[2]]


def _variables(written: object) -> dict[str, str]:
    """Compose takes numbers and booleans too, and YAML then decides how they are spelled."""
    if not isinstance(written, dict):
        raise TypeError("write variables as a mapping")
    if wrong := [name for name, value in written.items() if not isinstance(value, str)]:
        raise ValueError(f"quote the values of {wrong}")
    return written


Seconds = Annotated[int, BeforeValidator(_seconds)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HealthCheck(_Part):
    test: list[str] = Field(min_length=2)
    interval: Seconds
    timeout: Seconds
    retries: int = Field(ge=1)
    start_period: Seconds


class Bind(_Part):
    create_host_path: Literal[False]  # a folder that appears by itself hides what is missing


class BindMount(_Part):
    type: Literal["bind"]
    source: str = Field(pattern=r"^\./")
    target: str = Field(pattern=r"^/")
    read_only: Literal[True]
    bind: Bind


class VolumeMount(_Part):
    type: Literal["volume"]
    source: str
    target: str = Field(pattern=r"^/")
    read_only: bool = False


class Condition(_Part):
    condition: Literal["service_healthy", "service_completed_successfully"]


class Limits(_Part):
    memory: str = Field(pattern=r"^\d+[mg]$")


class Resources(_Part):
    limits: Limits


class Deploy(_Part):
    resources: Resources


class Logging(_Part):
    driver: Literal["json-file"]
    options: dict[str, str]


class Service(_Part):
    image: str
    build: Literal["."] | None = None
    user: str | None = None
    command: list[str] = []
    environment: Annotated[dict[str, str], BeforeValidator(_variables)] = {}
    secrets: list[str] = []
    volumes: list[Annotated[BindMount | VolumeMount, Field(discriminator="type")]] = []
    tmpfs: list[str] = []
    networks: list[str] = Field(min_length=1)
    ports: list[str] = []
    depends_on: dict[str, Condition] = {}
    healthcheck: HealthCheck | None = None
    restart: Literal["unless-stopped", "no"]
    stop_grace_period: Seconds = 10  # compose's own default
    shm_size: str | None = None
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    logging: Logging
    deploy: Deploy

    @property
    def job(self) -> bool:
        """Whether it ends by itself, once its work is done."""
        return self.restart == "no"

    @property
    def binds(self) -> list[BindMount]:
        return [volume for volume in self.volumes if isinstance(volume, BindMount)]


class Network(_Part):
    internal: bool = False


class Secret(_Part):
    file: str = Field(pattern=r"^\./secrets/")


class Compose(_Part):
    name: str
    services: dict[str, Service]
    networks: dict[str, Network]
    volumes: dict[str, None]
    secrets: dict[str, Secret]


def load() -> Compose:
    """The file with its merges and variables resolved, as `docker compose config` would."""
    document: dict[str, Any] = yaml.safe_load(interpolated(COMPOSE_FILE.read_text()))
    return Compose.model_validate(
        {key: value for key, value in document.items() if not key.startswith("x-")}
    )


def interpolated(text: str) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?what to do}`, with the tests' .env."""

    def value(match: re.Match[str]) -> str:
        default = match["rest"] if match["kind"] == ":-" else None
        given = OPERATOR.get(match["name"], default)
        assert given is not None, f"{match['name']} has no default: the tests' .env must have it"
        return given

    return _VARIABLE.sub(value, text)
