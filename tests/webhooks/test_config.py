"""What an endpoint's configuration takes, and what it says about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fulgurite.model import mistakes
from nodes.webhooks.config import WebhookConfig


def config(**settings: Any) -> WebhookConfig:
    given = {"url": "https://hooks.example.com/x", "secret_path": Path("secret"), **settings}
    return WebhookConfig.model_validate(given)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (("*",), True),
        (("invoice.*",), True),
        (("invoice.settled",), True),
        (("payment.*", "invoice.settled"), True),
        (("payment.*",), False),
        (("invoice.expired",), False),
    ],
)
def test_an_endpoint_wants_what_a_pattern_of_it_matches(
    patterns: tuple[str, ...], wanted: bool
) -> None:
    assert config(events=patterns).wants("invoice.settled", "alice") is wanted


def test_an_endpoint_of_some_nodes_wants_nothing_of_others() -> None:
    endpoint = config(nodes=("alice",))
    assert endpoint.wants("invoice.settled", "alice")
    assert not endpoint.wants("invoice.settled", "bob")


def test_an_endpoint_wants_everything_of_every_node_unless_told() -> None:
    assert config().wants("payment.failed", "bob")


@pytest.mark.parametrize(
    "pattern", ["", "invoice", "invoice.", ".settled", "*.settled", "invoice.set*", "a.b.c", "A.b"]
)
def test_a_pattern_of_another_form_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        config(events=(pattern,))


def test_a_pattern_that_no_event_matches_is_refused_and_told_what_there_is() -> None:
    for mistyped in ("invoice.setled", "invoices.*"):
        with pytest.raises(ValidationError, match=r"invoice\.settled"):
            config(events=(mistyped,))


def test_an_endpoint_without_patterns_wants_no_event() -> None:
    assert not config(events=()).wants("invoice.settled", "alice")


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": ("Not A Node",)},
        {"timeout_seconds": 0.5},
        {"timeout_seconds": 61},
        {"allow_networks": ("127.0.0.1/8",)},  # bits set beyond the mask: surely a mistake
        {"secret": "whsec_…"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)


def test_an_unsafe_url_is_refused_when_it_is_configured() -> None:
    with pytest.raises(ValidationError) as refused:
        config(url="https://10.0.0.1/s3cret")
    assert "allow_networks" in mistakes(refused.value)
    assert "s3cret" not in str(refused.value)
    assert config(url="https://10.0.0.1/s3cret", allow_networks=["10.0.0.0/8"])


def test_an_endpoint_is_printed_without_its_url() -> None:
    assert "hooks" not in repr(config(url="https://example.com/hooks/s3cret"))
