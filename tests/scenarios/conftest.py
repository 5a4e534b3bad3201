"""What every scenario stands on: an oracle that has the last word."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork


@pytest.fixture(autouse=True)
async def oracle(home: House) -> AsyncIterator[None]:
    """After each scenario, whatever it was about, the independent ledger is asked.

    No hash was settled twice, none was sent again while LND still had it, and all money is
    where the journal says.
    """
    yield
    if isinstance(home.network, SimulatedNetwork):
        await home.network.restarted()
        home.network.faults.clear()
        home.network.ledger.assert_settled_at_most_once()
        home.network.ledger.assert_no_overlapping_sends()
        home.network.ledger.assert_balanced()


@pytest.fixture
def simulated(home: House) -> SimulatedNetwork:
    """The network with its faults and its ledger, for scenarios that are `SIMULATED_ONLY`."""
    assert isinstance(home.network, SimulatedNetwork)
    return home.network
