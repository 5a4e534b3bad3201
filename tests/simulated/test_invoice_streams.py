"""What subscribers hear of invoices, and what lnd never tells them."""

from __future__ import annotations

import hashlib
import secrets

import grpc
import pytest

from devnet.node import ACCEPTED, SETTLED, LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Break, Fault, RepeatMessages, Stall
from devnet.waiting import eventually
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

from .driving import refused, sending, to_pay
from .following import add_many, following, said_all, subscribed, told


async def test_adds_and_settles_are_told_and_nothing_else(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with subscribed(bob) as heard:
        canceled = await bob.invoice(1_000)
        await bob.cancel(canceled)
        held = await bob.hold_invoice(1_000)
        async with sending(alice, to_pay(held.payment_request)):
            await bob.wait_for_invoice(held, ACCEPTED)
            await bob.settle(held)
        network.receive("bob", (await add_many(bob, 1))[0])
        messages = await said_all(bob, heard)
    first = messages[0].add_index
    assert told(messages) == [
        ("OPEN", first, 0),
        ("OPEN", first + 1, 0),
        ("SETTLED", first + 1, 1),
        ("OPEN", first + 2, 0),
        ("SETTLED", first + 2, 2),
    ]
    assert messages[2].r_preimage == held.preimage
    assert (messages[2].amt_paid_msat, messages[2].htlcs[0].amt_msat) == (1_000, 1_000)


async def test_index_zero_asks_for_nothing_of_the_past(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    for payment_hash in await add_many(bob, 3):
        network.receive("bob", payment_hash)
    async with subscribed(bob) as heard:
        assert heard.messages == []


async def test_the_past_is_all_adds_and_then_all_settles(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 5)
    for at in (4, 1, 2):
        network.receive("bob", hashes[at])
    async with subscribed(bob, add_index=2, settle_index=1) as heard:
        # An invoice is told as it is now, so one settled since its add comes twice.
        assert told(heard.messages) == [
            ("SETTLED", 3, 3),
            ("OPEN", 4, 0),
            ("SETTLED", 5, 1),
            ("SETTLED", 2, 2),
            ("SETTLED", 3, 3),
        ]


async def test_what_was_canceled_or_held_since_is_left_out_of_the_past(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    await add_many(bob, 1)
    canceled = await bob.invoice(1_000)
    await bob.cancel(canceled)
    [held] = await add_many(bob, 1, hold=True)
    assert network.receive("bob", held) is None
    await add_many(bob, 1)
    async with subscribed(bob, add_index=1) as heard:
        assert told(heard.messages) == [("OPEN", 4, 0)]


async def test_adds_up_to_the_clients_index_are_skipped(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    request = lightning_pb2.InvoiceSubscription(add_index=1_000)
    async with (
        bob.lightning() as lightning,
        following(lightning.SubscribeInvoices(request)) as heard,
    ):

        async def settle_another() -> list[lightning_pb2.Invoice]:
            network.receive("bob", (await add_many(bob, 1))[0])
            return heard.messages

        await eventually(settle_another, what="a settle", timeout_seconds=10)
        await settle_another()
        settled = (await heard.count(2))[:2]
    assert [message.state for message in settled] == [SETTLED, SETTLED]


async def test_live_settles_up_to_the_clients_index_are_skipped(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 4)
    async with subscribed(bob, settle_index=3) as heard:
        for payment_hash in hashes:
            network.receive("bob", payment_hash)
        assert told(await said_all(bob, heard)) == [("SETTLED", 4, 4)]


async def test_a_reset_settle_index_makes_a_client_deaf(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 6)
    for payment_hash in hashes[:3]:
        network.receive("bob", payment_hash)
    network.faults.reset_settle_index("bob", keep=1)
    assert [invoice.settle_index for invoice in (await bob.list_invoices())[:3]] == [0, 0, 1]

    async with subscribed(bob, settle_index=3) as deaf, subscribed(bob, settle_index=1) as other:
        for payment_hash in hashes[3:]:
            network.receive("bob", payment_hash)
        assert told(await said_all(bob, other)) == [
            ("SETTLED", 4, 2),
            ("SETTLED", 5, 3),
            ("SETTLED", 6, 4),
        ]
        assert told(await said_all(bob, deaf))[:1] == [("SETTLED", 6, 4)]


async def test_settles_count_from_one_again_after_a_reset(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 2)
    network.receive("bob", hashes[0])
    network.faults.reset_settle_index("bob")
    network.receive("bob", hashes[1])
    assert told(await bob.list_invoices()) == [("SETTLED", 1, 0), ("SETTLED", 2, 1)]


async def test_from_a_gap_bbolt_skips_one_add_too_many(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    await add_many(bob, 1)
    network.faults.skip_add_indexes("bob", 3)
    await add_many(bob, 2)
    assert [invoice.add_index for invoice in await bob.list_invoices()] == [1, 5, 6]
    async with subscribed(bob, add_index=1) as heard:
        assert told(heard.messages) == [("OPEN", 5, 0), ("OPEN", 6, 0)]
    async with subscribed(bob, add_index=2) as heard:
        assert told(heard.messages[:1]) == [("OPEN", 6, 0)]
    network.faults.use_sql_invoices("bob")
    async with subscribed(bob, add_index=2) as heard:
        assert told(heard.messages[:2]) == [("OPEN", 5, 0), ("OPEN", 6, 0)]


async def test_sql_tells_past_settles_in_the_order_of_adding(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 4)
    for at in (3, 2, 0, 1):
        network.receive("bob", hashes[at])
    network.faults.use_sql_invoices("bob")
    async with subscribed(bob, settle_index=1) as heard:
        assert told(heard.messages) == [("SETTLED", 1, 3), ("SETTLED", 2, 4), ("SETTLED", 3, 2)]
    network.faults.clear()
    async with subscribed(bob, settle_index=1) as heard:
        assert told(heard.messages) == [("SETTLED", 3, 2), ("SETTLED", 1, 3), ("SETTLED", 2, 4)]


async def test_a_subscription_repeats_stalls_and_breaks_on_request(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    await add_many(bob, 4)
    request = lightning_pb2.InvoiceSubscription(add_index=1)

    def order(fault: Fault) -> None:
        network.faults.add("bob", "SubscribeInvoices", fault)

    async with bob.lightning() as lightning:
        order(RepeatMessages())
        async with following(lightning.SubscribeInvoices(request)) as repeated:
            assert [m.add_index for m in await repeated.count(6)] == [2, 2, 3, 3, 4, 4]
        order(Stall(after_messages=1))
        async with following(lightning.SubscribeInvoices(request)) as stalled:
            await stalled.count(1)
            async with subscribed(bob) as other:
                await add_many(bob, 1)
                await other.count(1)
            assert [m.add_index for m in stalled.messages] == [2]
        for count in (2, 0):
            order(Break(count))
            heard = 0
            with refused(grpc.StatusCode.UNAVAILABLE, "Socket closed"):
                async for _ in lightning.SubscribeInvoices(request):
                    heard += 1
            assert heard == count


async def test_a_node_that_dies_ends_its_subscriptions(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    await add_many(bob, 2)
    async with bob.lightning() as lightning:
        stream = lightning.SubscribeInvoices(lightning_pb2.InvoiceSubscription(add_index=1))
        assert (await anext(aiter(stream))).add_index == 2
        await network.stop_node("bob")
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await anext(aiter(stream))
    await network.start_node("bob")
    async with subscribed(bob, add_index=1) as heard:
        assert told(heard.messages)[0] == ("OPEN", 2, 0)


async def test_one_invoice_is_followed_from_before_it_is_there_to_its_end(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    preimage = secrets.token_bytes(32)
    payment_hash = hashlib.sha256(preimage).digest()
    request = invoices_pb2.SubscribeSingleInvoiceRequest(r_hash=payment_hash)
    add = invoices_pb2.AddHoldInvoiceRequest(hash=payment_hash, value=7)
    async with (
        bob.invoices() as invoices,
        following(invoices.SubscribeSingleInvoice(request)) as early,
    ):
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED, ""):
            await anext(aiter(invoices.SubscribeSingleInvoice(request, timeout=0.3)))
        await invoices.AddHoldInvoice(add)
        await early.count(1)
        network.receive("bob", payment_hash)
        async with following(invoices.SubscribeSingleInvoice(request)) as late:
            await late.count(1)
            await invoices.SettleInvoice(invoices_pb2.SettleInvoiceMsg(preimage=preimage))
            heard = await early.end()
            assert told(await late.end()) == [("ACCEPTED", 1, 0), ("SETTLED", 1, 1)]
        async with following(invoices.SubscribeSingleInvoice(request)) as after:
            assert told(await after.end()) == [("SETTLED", 1, 1)]
    assert told(heard) == [("OPEN", 1, 0), ("ACCEPTED", 1, 0), ("SETTLED", 1, 1)]
    assert [message.amt_paid_msat for message in heard] == [0, 7_000, 7_000]
    assert [bool(message.r_preimage) for message in heard] == [False, False, True]


async def test_following_an_invoice_ends_when_it_is_canceled(bob: LightningNode) -> None:
    invoice = await bob.invoice(1_000, expiry_seconds=1)
    request = invoices_pb2.SubscribeSingleInvoiceRequest(r_hash=invoice.payment_hash)
    async with bob.invoices() as invoices:
        stream = invoices.SubscribeSingleInvoice(request, timeout=10)
        heard = [message async for message in stream]
        assert told(heard) == [("OPEN", 1, 0), ("CANCELED", 1, 0)]
        with refused(grpc.StatusCode.UNKNOWN, "invalid hash length of 1, want 32"):
            async for _ in invoices.SubscribeSingleInvoice(
                invoices_pb2.SubscribeSingleInvoiceRequest(r_hash=b"\1")
            ):
                pytest.fail("a message about no invoice")
