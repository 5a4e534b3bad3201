"""The published schemas: fresh, stable, and true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fulgurite.payments.requests import PaymentRequest
from starter import schemas

SCHEMA = json.loads((schemas.FOLDER / "payment-request.schema.json").read_text())

LEAST = {"node": "alice", "invoice": "lnbcrt1…", "fee_limit": {"sat": 0}}


def test_what_is_published_is_what_the_models_say() -> None:
    assert schemas.stale() == []
    assert schemas.main(["--check"]) is None


def test_a_stale_a_missing_and_a_forgotten_schema_are_found_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas.write(tmp_path)
    (tmp_path / "receipt.schema.json").write_text("{}")
    (tmp_path / "approval.schema.json").unlink()
    (tmp_path / "no-longer.schema.json").write_text("{}")
    stale = ["approval.schema.json", "no-longer.schema.json", "receipt.schema.json"]

    assert schemas.stale(tmp_path) == stale
    assert schemas.write(tmp_path) == stale
    assert schemas.stale(tmp_path) == []
    monkeypatch.setattr(schemas, "stale", lambda: stale)
    assert "run `python -m starter.schemas`" in str(schemas.main(["--check"]))
    assert "usage" in str(schemas.main(["--chekc"]))


@pytest.mark.parametrize("name", sorted(schemas.schemas()))
def test_every_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schemas.schemas()[name]))


def test_what_a_request_becomes_as_json_is_valid() -> None:
    request = PaymentRequest.model_validate(LEAST)
    jsonschema.validate(json.loads(request.model_dump_json()), SCHEMA)
    jsonschema.validate(LEAST, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fee_limit": None},
        {"fee_limit": {"sat": 1.5}},
        {"fee_limit": {"sat": -1}},
        {"amount_msat": "5"},
        {"max_fee": 3},
        {"node": "Alice"},
        {"last_hop": "02ab"},
        {"timeout_seconds": 0},
    ],
)
def test_what_the_workflow_would_refuse_the_schema_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(LEAST | wrong, SCHEMA)
    with pytest.raises(ValueError, match="validation error"):
        PaymentRequest.model_validate_json(json.dumps(LEAST | wrong))
