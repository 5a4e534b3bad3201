"""The base of everything that crosses a border as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

# What a person writes in one line.
Line = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\r\n]*$")]


class Model(BaseModel):
    """Immutable, and strict about names: an unknown field is a caller's mistake, not noise."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A validation error must not repeat its input: the input may be a secret.
        hide_input_in_errors=True,
    )


def mistakes(error: ValidationError) -> str:
    """What is wrong, field by field, without the input: it may hold what must not be repeated."""
    told = (
        (".".join(map(str, mistake["loc"])), mistake["msg"].removeprefix("Value error, "))
        for mistake in error.errors(include_input=False, include_url=False, include_context=False)
    )
    return "; ".join(f"{place}: {what}" if place else what for place, what in told)
