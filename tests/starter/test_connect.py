"""Finding Temporal, or saying what to check."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.processes import free_ports
from settings import Settings
from starter.client import FulguriteClient
from starter.errors import TemporalUnavailableError


async def test_a_temporal_that_is_not_there_is_told_with_what_to_check(tmp_path: Path) -> None:
    [port] = free_ports(1)
    settings = Settings(temporal_address=f"127.0.0.1:{port}", unsealing_key_path=tmp_path / "key")
    with pytest.raises(TemporalUnavailableError, match="FULGURITE_TEMPORAL_ADDRESS"):
        await FulguriteClient.connect(settings)
