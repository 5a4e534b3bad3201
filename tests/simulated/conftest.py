from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SimulatedNetwork]:
    """A fresh network; whatever a test did to it, its money must still add up."""
    async with SimulatedNetwork(tmp_path) as running:
        yield running
        running.ledger.assert_balanced()
        running.ledger.assert_settled_at_most_once()
        running.ledger.assert_no_overlapping_sends()


@pytest.fixture
def alice(network: SimulatedNetwork) -> LightningNode:
    return network.nodes["alice"]


@pytest.fixture
def bob(network: SimulatedNetwork) -> LightningNode:
    return network.nodes["bob"]


@pytest.fixture
def carol(network: SimulatedNetwork) -> LightningNode:
    return network.nodes["carol"]
