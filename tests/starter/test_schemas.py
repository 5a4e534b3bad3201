"""The published schemas: fresh, stable, and true."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from temporalio.testing import ActivityEnvironment

from activities.events import EventActivities
from fulgurite.events.calls import Posting
from fulgurite.events.catalogue import CATALOGUE, EventType, event
from fulgurite.model import Model
from fulgurite.payments.requests import PaymentRequest
from nodes.webhooks.sender import Answer
from starter import schemas

# Made once: it takes a moment.
PUBLISHED = schemas.schemas()
SCHEMA = json.loads((schemas.FOLDER / "payment-request.schema.json").read_text())

# What the models of events' data must have, by the name of the field.
NEWS: dict[str, object] = {
    "payment_hash": "ab" * 32,
    "destination": "02" * 33,
    "payment_request": "lnbcrt1…",
    **dict.fromkeys(("node", "incoming_node", "outgoing_node"), "alice"),
    **dict.fromkeys(("amount_msat", "asked_msat", "fee_limit_msat"), 5_000),
    **dict.fromkeys(
        ("created_at", "expires_at", "requested_at", "completed_at", "deadline"),
        "2026-01-31T12:00:00Z",
    ),
    **dict.fromkeys(("resource", "ours", "theirs", "action", "because"), "words"),
    **dict.fromkeys(("plan", "headline"), "words"),
    "moves": (),
    "key": "order-17",
    **dict.fromkeys(("amount_sat", "duration_blocks", "worst_sat", "leased_sat"), 100_000),
    "channel_point": "ab" * 32 + ":0",
    "channel_id": "800000x12x1",
    "peer": "02" * 33,
    **dict.fromkeys(("since", "kept_at"), "2026-01-31T12:00:00Z"),
    **dict.fromkeys(("capacity_sat", "local_sat", "remote_sat", "pending_htlcs", "channels"), 5),
}

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
    (tmp_path / "events" / "invoice.settled.v0.schema.json").write_text("{}")
    stale = [
        "approval.schema.json",
        "events/invoice.settled.v0.schema.json",
        "no-longer.schema.json",
        "receipt.schema.json",
    ]

    assert schemas.stale(tmp_path) == stale
    assert schemas.write(tmp_path) == stale
    assert schemas.stale(tmp_path) == []
    monkeypatch.setattr(schemas, "stale", lambda: stale)
    assert "run `python -m starter.schemas`" in str(schemas.main(["--check"]))
    assert "usage" in str(schemas.main(["--chekc"]))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(PUBLISHED[name]))


def test_what_a_request_becomes_as_json_is_valid() -> None:
    request = PaymentRequest.model_validate(LEAST)
    jsonschema.validate(json.loads(request.model_dump_json()), SCHEMA)
    jsonschema.validate(LEAST, SCHEMA)


def news_of(model: type[Model]) -> Model:
    """The least that is one."""
    fields: dict[str, object] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            continue
        kind = field.annotation
        if name in NEWS:
            fields[name] = NEWS[name]
        elif isinstance(kind, type) and issubclass(kind, StrEnum):
            fields[name] = next(iter(kind))
        elif isinstance(kind, type) and issubclass(kind, int):
            fields[name] = 5
        else:
            assert isinstance(kind, type), f"{model.__name__}.{name}"
            assert issubclass(kind, Model), f"{model.__name__}.{name}"
            fields[name] = news_of(kind)
    return model.model_validate(fields)


async def sent(kind: EventType) -> Any:
    """The body of a webhook of this type, as the worker makes it."""
    news = event(
        kind,
        news_of(CATALOGUE[kind].data),
        subject="ab" * 32,
        resource="invoice/" + "ab" * 32,
        node="alice",
        timestamp=datetime.now(UTC),
        after="invoice-expired-" + "ab" * 32,
    )
    bodies: list[bytes] = []

    class Listening:
        async def send(self, name: str, message_id: str, body: bytes) -> Answer:
            assert (name, message_id) == ("shop", news.id)
            bodies.append(body)
            return Answer(200, b"", 0.1)

    nobody: Any = None
    webhooks: Any = Listening()
    activities = EventActivities(nobody, nobody, webhooks)
    await ActivityEnvironment().run(activities.send, Posting(endpoint="shop", event=news))
    return json.loads(bodies[0])


@pytest.mark.parametrize("kind", EventType)
async def test_every_webhook_is_valid_by_the_schema_of_its_type(kind: EventType) -> None:
    schema = json.loads((schemas.FOLDER / schemas.event_file_name(kind)).read_text())
    body = await sent(kind)
    jsonschema.validate(body, schema)
    later = {"new": 1, "data": body["data"] | {"new": {"of": "tomorrow"}}}
    jsonschema.validate(body | later, schema)
    wrongs: list[dict[str, object]] = [
        {"type": "invoice.sold"},
        {"version": 2},
        {"id": "short"},
        {"data": {}},
        {"timestamp": None},
    ]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body | wrong, schema)
    for missing in body:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: body[name] for name in body if name != missing}, schema)


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
