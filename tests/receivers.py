"""Receivers of webhooks that last as long as the houses whose events they are told of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devnet.house import endpoint
from devnet.receiver import Receiver, new_secret
from nodes.webhooks.config import WebhookConfig


@asynccontextmanager
async def receiving(name: str, folder: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """One that knows a secret of its own, which is in a file for those who send."""
    secret = new_secret()
    _secret_of(name, folder).write_text(secret)
    async with Receiver(secret) as receiver:
        yield receiver


def told_of(
    receiver: Receiver, name: str, folder: pytest.TempPathFactory, *events: str
) -> dict[str, WebhookConfig]:
    """It as the endpoint `name` of a house; `events` are patterns."""
    return {name: endpoint(receiver, _secret_of(name, folder), *events)}


def _secret_of(name: str, folder: pytest.TempPathFactory) -> Path:
    return folder.getbasetemp() / f"{name}.secret"
