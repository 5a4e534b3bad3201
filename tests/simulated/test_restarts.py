"""A node that dies keeps what it stored, finishes what was in flight, and begins nothing."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from devnet.node import ACCEPTED, LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from protos.lnrpc import stateservice_pb2

from .driving import Payment, Reason, ends, refused, send, sending, to_pay, track, word


async def test_a_stopped_node_is_not_listening(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    await network.stop_node("alice")
    with refused(grpc.StatusCode.UNAVAILABLE, ""):
        await alice.info()
    host, port = alice.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_identity_invoices_and_payments_survive(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    paid = await carol.invoice(10_000_000)
    await alice.pay(paid.payment_request)
    before = (await alice.info(), await alice.payments(), await carol.lookup(paid))
    for name in ("alice", "carol"):
        await network.stop_node(name)
        await network.start_node(name)
    assert (await alice.info(), await alice.payments(), await carol.lookup(paid)) == before


async def test_callers_lose_a_node_that_dies(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        await network.stop_node("alice")
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await stream


@pytest.mark.parametrize("order", ["settle", "cancel"])
async def test_an_htlc_in_flight_over_a_restart_gives_its_result(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode, order: str
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)):
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await network.stop_node("alice")
        await (carol.settle if order == "settle" else carol.cancel)(invoice)
        await network.start_node("alice")

    expected = Payment.SUCCEEDED if order == "settle" else Payment.FAILED
    await ends(alice, invoice.payment_hash, expected)


async def test_no_attempt_is_made_after_a_restart(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)
    hold = network.faults.hold_htlcs("bob")
    async with sending(alice, to_pay(invoice.payment_request)):
        await hold.caught()
        await network.stop_node("alice")
        await network.start_node("alice")
        assert await word(alice, invoice.payment_hash) == ("IN_FLIGHT", "FAILURE_REASON_NONE")
        hold.fail()

    verdict = await ends(alice, invoice.payment_hash, Payment.FAILED)
    assert verdict.failure_reason == Reason.FAILURE_REASON_NO_ROUTE
    [only] = network.ledger.sends(invoice.payment_hash)
    assert len(only.attempts) == 1
    assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED


async def test_a_result_that_waited_for_the_restart_begins_nothing_either(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(100_000_000)
    hold = network.faults.hold_htlcs("bob")
    async with sending(alice, to_pay(invoice.payment_request)):
        await hold.caught()
        await network.stop_node("alice")
        hold.fail()
        await network.start_node("alice")
    verdict = await ends(alice, invoice.payment_hash, Payment.FAILED)
    assert verdict.failure_reason == Reason.FAILURE_REASON_NO_ROUTE
    assert len(verdict.htlcs) == 1


async def test_without_a_restart_a_failed_attempt_is_followed_by_another(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(100_000_000)
    hold = network.faults.hold_htlcs("bob")
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        await hold.caught()
        hold.fail()
        assert (await stream)[-1].status == Payment.SUCCEEDED
    [only] = network.ledger.sends(invoice.payment_hash)
    assert len(only.attempts) > 1


async def test_a_forwarder_that_dies_leaves_htlcs_hanging(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await network.stop_node("bob")
        await carol.settle(invoice)
        assert await word(alice, invoice.payment_hash) == ("IN_FLIGHT", "FAILURE_REASON_NONE")
        await network.start_node("bob")
        assert (await stream)[-1].status == Payment.SUCCEEDED


async def test_a_starting_node_says_that_it_is_not_ready(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    await network.stop_node("alice")
    network.faults.slow_next_start("alice", 0.5)
    starting = asyncio.create_task(network.start_node("alice"))

    async def state() -> stateservice_pb2.WalletState.ValueType | None:
        try:
            async with alice.state() as service:
                answer = await service.GetState(stateservice_pb2.GetStateRequest())
        except grpc.aio.AioRpcError:
            return None
        return answer.state

    await eventually(state, lambda s: s == stateservice_pb2.UNLOCKED, what="the first state")
    with refused(grpc.StatusCode.UNKNOWN, "not yet ready to accept calls"):
        await alice.info()
    await starting
    assert await state() == stateservice_pb2.SERVER_ACTIVE
    await alice.info()


async def test_an_offline_peer_leaves_no_balance_to_send_with(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.disconnect("alice", "bob")
    assert not any(channel.active for channel in await alice.channels())
    receipt = await alice.pay(invoice.payment_request)
    assert receipt.failure_reason == Reason.FAILURE_REASON_INSUFFICIENT_BALANCE
    network.connect("alice", "bob")
    assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED


async def test_an_offline_payee_is_found_out_by_the_attempt(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)
    network.disconnect("bob", "carol")
    states = await send(alice, to_pay(invoice.payment_request))
    assert states[-1].failure_reason == Reason.FAILURE_REASON_NO_ROUTE
    assert states[-1].htlcs[0].failure.failure_source_index == 1
    assert [s.status for s in await track(alice, invoice.payment_hash)] == [Payment.FAILED]
