"""The JSON Schemas in docs/api/, for callers in any language.

`python -m starter.schemas` writes them; with `--check` it fails where one is stale.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from fulgurite.model import Model
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.requests import Approval, Cancellation, PaymentRequest, Rejection
from starter.cli.documents import Outcome, Problem, Proof, PublicKey
from starter.client import PaymentSummary

FOLDER = Path(__file__).parent.parent / "docs" / "api"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What callers send: a field with a default may be left out.
_INPUTS: tuple[type[Model], ...] = (PaymentRequest, Approval, Rejection, Cancellation)
# What they get: every field is there.
_RESULTS: tuple[type[Model], ...] = (
    Receipt,
    PaymentView,
    PaymentSummary,
    Outcome,
    Problem,
    Proof,
    PublicKey,
)


def schemas() -> dict[str, str]:
    """File name → text, the same for the same models on every machine."""
    texts = {_file_name(model): _text(model, "validation") for model in _INPUTS}
    return texts | {_file_name(model): _text(model, "serialization") for model in _RESULTS}


def stale(folder: Path = FOLDER) -> list[str]:
    """The files that are missing, differ from the models, or belong to no model."""
    wanted = schemas()
    found = {path.name: path.read_text() for path in folder.glob("*.schema.json")}
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


def write(folder: Path = FOLDER) -> list[str]:
    """Brings the folder up to date; gives the names of what changed."""
    changed = stale(folder)
    wanted = schemas()
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name])
        else:
            (folder / name).unlink()
    return changed


def _file_name(model: type[Model]) -> str:
    return f"{re.sub(r'(?<!^)(?=[A-Z])', '-', model.__name__).lower()}.schema.json"


def _text(model: type[Model], mode: JsonSchemaMode) -> str:
    schema = {
        "$schema": _DIALECT,
        **model.model_json_schema(mode=mode, schema_generator=_Generator),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Requires of a result what every result has: all of its fields."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


def main(arguments: list[str]) -> str | None:
    """What to say on stderr before failing, or None."""
    match arguments:
        case []:
            write()
            return None
        case ["--check"]:
            names = ", ".join(stale())
            return f"stale in docs/api: {names}; run `python -m starter.schemas`" if names else None
        case _:
            return "usage: python -m starter.schemas [--check]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
