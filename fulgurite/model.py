"""The base of everything that crosses a border as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Immutable, and strict about names: an unknown field is a caller's mistake, not noise."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A validation error must not repeat its input: the input may be a secret.
        hide_input_in_errors=True,
    )
