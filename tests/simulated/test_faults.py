"""Trouble happens exactly as often as it was ordered, and where it was ordered."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from devnet.node import ACCEPTED, LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import (
    Delay,
    DropAnswer,
    NeverClose,
    Refuse,
    RepeatMessages,
    RestartNode,
    Stall,
)
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

from .driving import Payment, Reason, ends, refused, send, sending, to_pay, track, word

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_refused_call_has_no_effect(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000)
    refusal = Refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "later, please")
    network.faults.add("alice", "SendPaymentV2", refusal, times=2)
    for _ in range(2):
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "later, please"):
            await send(alice, to_pay(invoice.payment_request))
    assert await alice.payment(invoice.payment_hash) is None
    assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_dropped_answer_hides_a_payment_that_was_made(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, quiet: bool
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", DropAnswer())
    with refused(UNAVAILABLE, ""):
        await send(alice, to_pay(invoice.payment_request, no_inflight_updates=quiet))
    assert await word(alice, invoice.payment_hash) == ("SUCCEEDED", "FAILURE_REASON_NONE")


async def test_a_dropped_answer_does_not_wait_for_a_verdict(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", DropAnswer())
    with refused(UNAVAILABLE, ""):
        await send(alice, to_pay(invoice.payment_request, no_inflight_updates=True))
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await carol.settle(invoice)
    await ends(alice, invoice.payment_hash, Payment.SUCCEEDED)


async def test_a_dropped_answer_leaves_an_invoice_behind(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    request = lightning_pb2.Invoice(r_preimage=b"\7" * 32, value_msat=1_000)
    network.faults.add("bob", "AddInvoice", DropAnswer())
    async with bob.lightning() as lightning:
        with refused(UNAVAILABLE, ""):
            await lightning.AddInvoice(request)
        with refused(grpc.StatusCode.UNKNOWN, "invoice with payment hash already exists"):
            await lightning.AddInvoice(request)


async def test_a_request_refused_by_lnd_is_refused_before_its_answer_is_dropped(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    network.faults.add("alice", "TrackPaymentV2", DropAnswer())
    with refused(grpc.StatusCode.NOT_FOUND, "payment isn't initiated"):
        await track(alice, bytes(32))


async def test_a_delayed_call_takes_effect_without_its_caller(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", Delay(0.3))
    with refused(DEADLINE_EXCEEDED, ""):
        await send(alice, to_pay(invoice.payment_request), timeout=0.1)
    assert await alice.payment(invoice.payment_hash) is None
    await ends(alice, invoice.payment_hash, Payment.SUCCEEDED)


async def test_a_delayed_call_is_answered_late(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    network.faults.add("alice", "GetInfo", Delay(0.1))
    started = asyncio.get_running_loop().time()
    assert (await alice.info()).alias == "alice"
    assert asyncio.get_running_loop().time() - started >= 0.1


async def test_a_stalled_stream_is_open_and_silent(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    silent, one_message = await bob.invoice(10_000_000), await bob.invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", Stall())
    with refused(DEADLINE_EXCEEDED, ""):
        await send(alice, to_pay(silent.payment_request), timeout=0.5)
    await ends(alice, silent.payment_hash, Payment.SUCCEEDED)

    network.faults.add("alice", "SendPaymentV2", Stall(after_messages=1))
    async with alice.router() as router:
        stream = router.SendPaymentV2(to_pay(one_message.payment_request), timeout=0.5)
        assert (await anext(aiter(stream))).status == Payment.IN_FLIGHT
        with refused(DEADLINE_EXCEEDED, ""):
            await anext(aiter(stream))


async def test_messages_come_twice(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000)
    await alice.pay(invoice.payment_request)
    network.faults.add("alice", "TrackPaymentV2", RepeatMessages())
    first, second = await track(alice, invoice.payment_hash)
    assert first == second
    assert len(await track(alice, invoice.payment_hash)) == 1


async def test_a_stream_stays_open_after_its_verdict(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", NeverClose())
    request = to_pay(invoice.payment_request, no_inflight_updates=True)
    async with alice.router() as router:
        stream = router.SendPaymentV2(request, timeout=0.5)
        assert (await anext(aiter(stream))).status == Payment.SUCCEEDED
        with refused(DEADLINE_EXCEEDED, ""):
            await anext(aiter(stream))


async def test_a_payment_exists_before_the_node_can_find_it(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        network.faults.hide_payments("alice", times=2)
        for _ in range(2):
            with refused(grpc.StatusCode.NOT_FOUND, "payment isn't initiated"):
                await track(alice, invoice.payment_hash)
        assert await word(alice, invoice.payment_hash) == ("IN_FLIGHT", "FAILURE_REASON_NONE")
        await carol.settle(invoice)
        assert (await stream)[-1].status == Payment.SUCCEEDED


@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_node_dies_in_a_call_and_comes_back(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, after_effect: bool
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.faults.add("alice", "SendPaymentV2", RestartNode(after_effect=after_effect))
    with refused(UNAVAILABLE, ""):
        await send(alice, to_pay(invoice.payment_request))
    await network.restarted()
    found = await alice.payment(invoice.payment_hash)
    assert (found is not None) == after_effect


async def test_calls_that_die_together_die_of_one_crash(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    network.faults.add("alice", "GetInfo", RestartNode(), times=3)
    codes = await asyncio.gather(*(alice.info() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(code, grpc.aio.AioRpcError) for code in codes)
    await network.restarted()
    network.faults.clear()
    assert (await alice.info()).alias == "alice"


async def test_a_unary_call_can_kill_its_node_too(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    network.faults.add("bob", "AddInvoice", RestartNode())
    request = lightning_pb2.Invoice(r_preimage=b"\7" * 32, value_msat=1_000)
    async with bob.lightning() as lightning:
        with refused(UNAVAILABLE, ""):
            await lightning.AddInvoice(request)
    await network.restarted()
    async with bob.lightning() as lightning:
        with refused(grpc.StatusCode.UNKNOWN, "invoice with payment hash already exists"):
            await lightning.AddInvoice(request)


@pytest.mark.parametrize("node", ["bob", "carol"])
async def test_a_held_htlc_can_be_released_or_sent_back(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode, node: str
) -> None:
    first, second = await carol.invoice(10_000_000), await carol.invoice(10_000_000)
    hold = network.faults.hold_htlcs(node, payment_hash=first.payment_hash)
    async with sending(alice, to_pay(first.payment_request)) as stream:
        await hold.caught()
        # Only that hash is held.
        assert (await alice.pay(second.payment_request)).status == Payment.SUCCEEDED
        hold.release()
        assert (await stream)[-1].status == Payment.SUCCEEDED

    third = await carol.invoice(10_000_000)
    hold = network.faults.hold_htlcs(node)
    async with sending(alice, to_pay(third.payment_request)) as stream:
        await hold.caught()
        hold.fail(lightning_pb2.Failure.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS)
        verdict = (await stream)[-1]
    assert verdict.failure_reason == Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS
    assert verdict.htlcs[0].failure.failure_source_index == {"bob": 1, "carol": 2}[node]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.FAILURE_REASON_TIMEOUT,
        Reason.FAILURE_REASON_NO_ROUTE,
        Reason.FAILURE_REASON_ERROR,
        Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS,
        Reason.FAILURE_REASON_INSUFFICIENT_BALANCE,
        Reason.FAILURE_REASON_CANCELED,
    ],
)
async def test_the_next_payment_ends_as_ordered(
    network: SimulatedNetwork,
    alice: LightningNode,
    bob: LightningNode,
    reason: Reason.ValueType,
) -> None:
    invoice = await bob.invoice(10_000_000)
    network.faults.end_next_payment("alice", reason)
    receipt = await alice.pay(invoice.payment_request)
    assert (receipt.status, receipt.failure_reason) == (Payment.FAILED, reason)
    assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED


async def test_a_fee_above_the_limit_is_charged_once(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    network.faults.overcharge_next_payment("alice", 50_000)
    dear, fair = await carol.invoice(10_000_000), await carol.invoice(10_000_000)
    receipt = await alice.pay(dear.payment_request, fee_limit_msat=10_000)
    assert (receipt.status, receipt.fee_msat) == (Payment.SUCCEEDED, 52_000)
    assert network.ledger.received_msat("bob", dear.payment_hash) == 52_000
    assert (await alice.pay(fair.payment_request, fee_limit_msat=10_000)).fee_msat == 2_000


async def test_an_htlc_hangs_while_a_link_is_down(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        network.disconnect("bob", "carol")
        await carol.settle(invoice)
        assert await word(alice, invoice.payment_hash) == ("IN_FLIGHT", "FAILURE_REASON_NONE")
        network.connect("bob", "carol")
        assert (await stream)[-1].status == Payment.SUCCEEDED


async def test_clearing_ends_all_trouble(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)
    network.faults.hold_htlcs("bob")
    network.faults.add("alice", "SendPaymentV2", Refuse(), times=100)
    network.faults.end_next_payment("alice", Reason.FAILURE_REASON_ERROR)
    network.faults.clear()
    receipt = await alice.pay(invoice.payment_request)
    assert receipt.status == Payment.SUCCEEDED

    hold = network.faults.hold_htlcs("bob")
    held = await carol.invoice(10_000_000)
    async with sending(alice, to_pay(held.payment_request)) as stream:
        await hold.caught()
        network.faults.clear()
        assert (await stream)[-1].status == Payment.SUCCEEDED

    async def nothing_held() -> bool:
        return hold.caught_count == 0

    await eventually(nothing_held, what="the hold to be empty", timeout_seconds=1)
