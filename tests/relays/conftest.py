"""What the relays' tests stand on: coins on both sides, and the ledger's last word."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork


@pytest.fixture
def simulated(home: House) -> SimulatedNetwork:
    """The network with its faults and its ledger, for tests that are `SIMULATED_ONLY`."""
    assert isinstance(home.network, SimulatedNetwork)
    return home.network


@pytest.fixture
async def oracle(home: House) -> AsyncIterator[None]:
    """After a test the independent ledger is asked, whatever the test was about."""
    yield
    if isinstance(home.network, SimulatedNetwork):
        await home.network.restarted()
        home.network.faults.clear()
        home.network.ledger.assert_settled_at_most_once()
        home.network.ledger.assert_no_overlapping_sends()
        home.network.ledger.assert_balanced()
