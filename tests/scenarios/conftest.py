"""What every scenario stands on: channels with coins, and an oracle that has the last word."""

from __future__ import annotations

import pytest

from devnet.house import House
from devnet.node import LightningNode
from devnet.topology import CHANNELS
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

# What alice may have less than at the beginning before she is given it back.
LOW_BY_SAT = 200_000


@pytest.fixture(autouse=True)
async def liquidity(home: House) -> None:
    """Undoes what earlier scenarios had alice pay or be paid, so that none starves the next."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    began_sat = sum(c.capacity_sat - c.push_sat for c in CHANNELS if c.opener == "alice")
    missing_sat = began_sat - sum(await balances_sat(alice))
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
    fullest_sat = max(await balances_sat(home.network.nodes["alice"]))
    return (fullest_sat + 10_000) * 1_000


async def balances_sat(node: LightningNode) -> list[int]:
    """Its side of each channel, with what it has been paid: a payer knows of that sooner."""
    channels = await eventually(
        node.channels,
        lambda found: not any(htlc.incoming for each in found for htlc in each.pending_htlcs),
        what=f"{node.name} with nothing on its way to it",
    )
    return [channel.local_balance for channel in channels]


@pytest.fixture(autouse=True)
def always(oracle: None) -> None:
    """The ledger is asked after each scenario."""
