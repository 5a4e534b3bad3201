"""The chain decides HTLCs: by a preimage, or by their expiry, and each hop for itself."""

from __future__ import annotations

import pytest

from devnet.node import SETTLED, LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .chain_time import (
    CLOSE_CONFIRMATIONS,
    CSV_BLOCKS,
    closed,
    forced,
    hanging,
    mine_to,
    resolutions,
    waiting,
    where,
)
from .driving import Payment, ends, word

CloseType = lightning_pb2.ChannelCloseSummary
INCOMING_BLOCKS = 16


async def test_a_preimage_on_chain_settles_the_payment(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        await alice.close_channel(hung.channel_point, force=True)
        await network.mine(CLOSE_CONFIRMATIONS)
        await bob.settle(hung.invoice)
        # Bob's sweeper acts with the next block; the one after it has the preimage.
        await network.mine(1)
        assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"
        await network.mine(1)
        paid = await ends(alice, hung.invoice.payment_hash, Payment.SUCCEEDED)
        assert bytes.fromhex(paid.payment_preimage) == hung.invoice.preimage
    await network.mine(CSV_BLOCKS + CLOSE_CONFIRMATIONS)
    local_sat = (await closed(alice)).settled_balance
    assert resolutions(await closed(alice)) == {
        ("OUTGOING_HTLC", "CLAIMED", 50_000),
        ("COMMIT", "CLAIMED", local_sat),
    }
    # On alice's commitment bob needs one transaction only.
    assert resolutions(await closed(bob)) == {
        ("COMMIT", "CLAIMED", 800_000),
        ("INCOMING_HTLC", "CLAIMED", 50_000),
    }
    assert (await closed(bob)).close_type == CloseType.REMOTE_FORCE_CLOSE
    assert network.ledger.received_msat("bob", hung.invoice.payment_hash) == 50_000_000
    assert network.ledger.sent_msat("alice", hung.invoice.payment_hash) == 50_000_000


async def test_the_payee_closes_and_claims_in_two_steps(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        network.disconnect("alice", "bob")
        await bob.settle(hung.invoice)
        assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"
        # lnd does not let a claim expire: it goes to the chain in time.
        await mine_to(network, hung.expiry_height - INCOMING_BLOCKS - 1)
        assert not (await bob.pending_channels()).waiting_close_channels
        await network.mine(1)
        assert (await waiting(bob)).channel.channel_point == hung.channel_point
        await network.mine(CLOSE_CONFIRMATIONS + 1)
        await ends(alice, hung.invoice.payment_hash, Payment.SUCCEEDED)
    await network.mine(CSV_BLOCKS + 1)
    # So much was at stake that the anchor has paid for the commitment.
    assert resolutions(await closed(bob)) == {
        ("ANCHOR", "CLAIMED", 330),
        ("COMMIT", "CLAIMED", 800_000),
        ("INCOMING_HTLC", "CLAIMED", 50_000),
        ("INCOMING_HTLC", "FIRST_STAGE", 50_000),
    }
    assert (await closed(alice)).close_type == CloseType.REMOTE_FORCE_CLOSE


async def test_on_the_peers_commitment_a_timeout_takes_one_step(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        await bob.close_channel(hung.channel_point, force=True)
        # Alice's node knows of it only when it is deep enough.
        await network.mine(CLOSE_CONFIRMATIONS - 1)
        assert hung.channel_point in [c.channel_point for c in await alice.channels()]
        await network.mine(1)
        assert hung.channel_point not in [c.channel_point for c in await alice.channels()]
        [htlc] = (await forced(alice)).pending_htlcs
        assert (htlc.stage, htlc.maturity_height) == (1, hung.expiry_height)
        await mine_to(network, hung.expiry_height + 1)
        await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
    assert ("OUTGOING_HTLC", "TIMEOUT", 50_000) in resolutions(await closed(alice))
    # Bob's node has canceled the invoice in time, and let the HTLC go.
    assert ("INCOMING_HTLC", "ABANDONED", 50_000) in resolutions(await closed(bob))


@pytest.mark.parametrize("settles", [True, False])
async def test_a_forwarder_never_fails_upstream_while_downstream_is_open(
    network: SimulatedNetwork,
    alice: LightningNode,
    bob: LightningNode,
    carol: LightningNode,
    settles: bool,
) -> None:
    async with hanging(alice, carol) as hung:
        downstream = await where(bob, hung.invoice)
        outgoing = next(
            (c.channel_point, h.expiration_height)
            for c in await bob.channels()
            for h in c.pending_htlcs
            if not h.incoming
        )
        assert downstream.invoice is hung.invoice
        await bob.close_channel(outgoing[0], force=True)
        await network.mine(CLOSE_CONFIRMATIONS + CSV_BLOCKS)
        assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"
        if settles:
            await carol.settle(hung.invoice)
            await network.mine(2)
            await ends(alice, hung.invoice.payment_hash, Payment.SUCCEEDED)
        else:
            await carol.cancel(hung.invoice)
            await mine_to(network, outgoing[1])
            assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"
            await network.mine(1)
            failed = await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
            assert failed.htlcs[0].failure.failure_source_index == 1
    await network.mine(CSV_BLOCKS + CLOSE_CONFIRMATIONS)
    # The fee is bob's either way that ends well, and alice's channel was never touched.
    earned_msat = network.ledger.received_msat("bob", hung.invoice.payment_hash)
    assert earned_msat == (6_000 if settles else 0)
    assert len(await alice.channels()) == 2
    kinds = [kind for kind, _, _ in resolutions(await closed(bob))]
    assert kinds.count("OUTGOING_HTLC") == (1 if settles else 2)


async def test_both_hops_on_chain_end_alike(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    """Carol is gone for good; bob goes to the chain at its expiry, alice closes at once."""
    async with hanging(alice, carol) as hung:
        await network.stop_node("carol")
        await alice.close_channel(hung.channel_point, force=True)
        await mine_to(network, hung.expiry_height + 2)
        await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
    await network.mine(10)
    assert ("INCOMING_HTLC", "TIMEOUT", 50_006) in [
        each for summary in await bob.closed_channels() for each in resolutions(summary)
    ]
    assert network.ledger.sent_msat("alice", hung.invoice.payment_hash) == 0
    assert network.ledger.sent_msat("bob", hung.invoice.payment_hash) == 0


async def test_a_multi_part_payment_with_one_part_on_chain(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob, 1_500_000_000) as hung:
        [part] = [
            channel
            for channel in await alice.channels()
            if channel.channel_point == hung.channel_point
        ]
        assert len(await alice.channels()) == 2
        await alice.close_channel(part.channel_point, force=True)
        await network.mine(CLOSE_CONFIRMATIONS)
        await bob.settle(hung.invoice)
        # One part is settled off chain, the other waits for the chain; no verdict before.
        assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"
        await network.mine(2)
        paid = await ends(alice, hung.invoice.payment_hash, Payment.SUCCEEDED)
    assert {htlc.status for htlc in paid.htlcs} == {lightning_pb2.HTLCAttempt.SUCCEEDED}
    await network.mine(CSV_BLOCKS)
    assert (await bob.lookup(hung.invoice)).state == SETTLED
    assert network.ledger.received_msat("bob", hung.invoice.payment_hash) == 1_500_000_000


async def test_dust_has_no_output_and_fails_at_once(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob, 200_000) as hung:
        await alice.close_channel(hung.channel_point, force=True)
        await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
        await network.mine(CLOSE_CONFIRMATIONS)
        assert not (await forced(alice)).pending_htlcs
    # The miners have it.
    assert network.ledger.miners_msat("alice") == (284 + 200) * 1_000
