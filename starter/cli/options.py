"""What commands make of their options: amounts, times, nodes, requests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from fulgurite.errors import InvalidRequestError
from fulgurite.model import Model, mistakes
from fulgurite.money import MSAT_PER_SAT
from settings import Settings

Asked = TypeVar("Asked", bound=Model)

_SECONDS_OF = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def asked(model: type[Asked], **fields: Any) -> Asked:
    """The request, without what was not given. Raises InvalidRequestError, option by option."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidRequestError(mistakes(error)) from None


def only_node(settings: Settings, verb: str) -> str:
    """The node where one is configured. Raises InvalidRequestError otherwise."""
    if len(settings.nodes) == 1:
        return next(iter(settings.nodes))
    raise InvalidRequestError(f"which node {verb}? Give --node, or set FULGURITE_NODE")


def msat(name: str, sat: int | None, msat: int | None) -> int | None:
    """The amount, given in one unit or not at all."""
    if sat is not None and msat is not None:
        raise InvalidRequestError(f"give --{name}-sat or --{name}-msat, not both")
    return msat if sat is None else sat * MSAT_PER_SAT


def seconds(option: str, text: str | None) -> int | None:
    """`90`, `90s`, `15m`, `1h` or `2d`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip().lower())
    if not found:
        raise InvalidRequestError(f"{option} is a time such as 90s, 15m, 1h or 2d")
    return int(found[1]) * _SECONDS_OF[found[2]]


def moment(option: str, text: str | None) -> datetime | None:
    """`2026-01-31`, `2026-01-31T12:00Z`, or so long ago: `15m`, `2h`, `3d`. UTC unless told."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        ago = re.fullmatch(r"(\d{1,6})([smhd])", text.strip().lower())
        if not ago:
            raise InvalidRequestError(
                f"{option} is a time such as 2026-01-31T12:00Z, or so long ago: 15m, 2h, 3d"
            ) from None
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS_OF[ago[2]])
    return at if at.tzinfo else at.replace(tzinfo=UTC)
