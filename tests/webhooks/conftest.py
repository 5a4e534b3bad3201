"""A receiver that listens, and the secret that it shares with the sender."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devnet.receiver import Receiver, new_secret
from tests.webhooks.endpoints import SecretFile


@pytest.fixture
def secret_file(tmp_path: Path) -> SecretFile:
    return SecretFile(tmp_path / "secret", new_secret())


@pytest.fixture
def secret_path(secret_file: SecretFile) -> Path:
    return secret_file.path


@pytest.fixture
async def receiver(secret_file: SecretFile) -> AsyncIterator[Receiver]:
    async with Receiver(*secret_file.secrets) as listening:
        yield listening
