"""docs/webhooks.md is true: its configuration loads, and its receiver verifies what we send."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devnet.receiver import new_secret
from fulgurite.events.delivery import PAUSES
from nodes.webhooks.config import WebhookConfig
from nodes.webhooks.signing import signed_headers

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_its_configurations_are_accepted() -> None:
    names = []
    for block in blocks("toml"):
        for name, settings in tomllib.loads(block)["webhooks"].items():
            assert WebhookConfig.model_validate(settings)
            names.append(name)
    assert names == ["shop", "dev"]


def test_its_receiver_takes_what_we_sign_and_nothing_else() -> None:
    (example,) = blocks("python")
    found: dict[str, Any] = {}
    exec(example, found)
    event_of: Callable[[bytes, dict[str, str], str], dict[str, Any] | None] = found["event_of"]
    secret, body = new_secret(), b'{"type":"invoice.settled"}'
    headers = signed_headers((secret,), "settled_1", datetime.now(UTC), body)
    assert event_of(body, headers, secret) == {"type": "invoice.settled"}
    assert event_of(body, headers, new_secret()) is None
    assert event_of(body, headers | {"webhook-signature": "garbage"}, secret) is None
    assert event_of(b"\xff", headers, secret) is None


def test_its_table_has_every_setting() -> None:
    described = re.findall(r"^\| `([a-z_]+)` \|", TEXT, re.MULTILINE)
    assert described == list(WebhookConfig.model_fields)


def test_its_pauses_are_the_real_ones() -> None:
    told = "5 seconds, then 5 and 30 minutes, then 2, 5, 10, 14, 20 and 24 hours"
    assert told in TEXT
    assert [pause.total_seconds() for pause in PAUSES] == [
        5,
        *(minutes * 60 for minutes in (5, 30)),
        *(hours * 3_600 for hours in (2, 5, 10, 14, 20, 24)),
    ]
