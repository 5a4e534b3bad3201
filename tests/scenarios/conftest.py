"""What every scenario stands on: channels with coins, and an oracle that has the last word."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.topology import CHANNELS
from protos.lnrpc import lightning_pb2

# What alice may have less than at the beginning before she is given it back.
LOW_BY_SAT = 200_000


@pytest.fixture(autouse=True)
async def liquidity(home: House) -> None:
    """Undoes what earlier scenarios had alice pay or be paid, so that none starves the next."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    began_sat = sum(c.capacity_sat - c.push_sat for c in CHANNELS if c.opener == "alice")
    missing_sat = began_sat - sum(channel.local_balance for channel in await alice.channels())
    if missing_sat > LOW_BY_SAT:
        invoice = await alice.invoice(missing_sat * 1_000)
        returned = await carol.pay(invoice.payment_request, fee_limit_msat=1_000_000)
        assert returned.status == lightning_pb2.Payment.SUCCEEDED
    elif -missing_sat > LOW_BY_SAT:
        invoice = await bob.invoice(-missing_sat * 1_000)
        returned = await alice.pay(invoice.payment_request, fee_limit_msat=1_000_000)
        assert returned.status == lightning_pb2.Payment.SUCCEEDED


@pytest.fixture
async def more_than_a_channel_msat(home: House) -> int:
    """What no channel of alice's carries alone, however earlier payments have shared it out."""
    fullest_sat = max(
        channel.local_balance for channel in await home.network.nodes["alice"].channels()
    )
    return (fullest_sat + 10_000) * 1_000


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
