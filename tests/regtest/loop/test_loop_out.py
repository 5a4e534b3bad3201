"""Loop Out between the real loopd and our swap server, and each way in which it can end."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from coincurve import PrivateKey

from devnet.node import CANCELED, SETTLED, TestInvoice
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.looprpc import client_pb2
from protos.swapserverrpc import server_pb2, server_pb2_grpc
from tests.regtest.loop.swapping import (
    AMOUNT_SAT,
    CERTAIN_BLOCKS,
    FEE_PPM,
    OUT_DELTA_BLOCKS,
    PREPAY_SAT,
    Swapping,
)

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.usefixtures("served"),
    pytest.mark.timeout(1800),  # the first time it builds btcd, lnd and loopd
]

FEE_SAT = AMOUNT_SAT * FEE_PPM // 1_000_000

SUCCEEDED = lightning_pb2.Payment.SUCCEEDED
FAILED = lightning_pb2.Payment.FAILED


@asynccontextmanager
async def _server(swapping: Swapping) -> AsyncIterator[server_pb2_grpc.SwapServerAsyncStub]:
    """The server as a client sees it that is no loopd."""
    async with grpc.aio.insecure_channel(swapping.network.swap_server.address) as channel:
        yield server_pb2_grpc.SwapServerStub(channel)


async def _offered(
    server: server_pb2_grpc.SwapServerAsyncStub, swapping: Swapping
) -> tuple[server_pb2.ServerLoopOutResponse, bytes]:
    """A swap that nobody has paid for yet, and its preimage."""
    preimage = secrets.token_bytes(32)
    answer = await server.NewLoopOutSwap(
        server_pb2.ServerLoopOutRequest(
            receiver_key=PrivateKey().public_key.format(),
            swap_hash=hashlib.sha256(preimage).digest(),
            amt=AMOUNT_SAT,
            protocol_version=server_pb2.MUSIG2,
            expiry=(await swapping.alice.info()).block_height + OUT_DELTA_BLOCKS,
        )
    )
    return answer, preimage


async def test_terms_and_quotes_are_the_servers(swapping: Swapping) -> None:
    async with swapping.loop.client() as client:
        terms = await client.LoopOutTerms(client_pb2.TermsRequest())
        quote = await client.LoopOutQuote(client_pb2.QuoteRequest(amt=AMOUNT_SAT, conf_target=9))

    assert terms.min_swap_amount < AMOUNT_SAT < terms.max_swap_amount
    assert terms.min_cltv_delta == OUT_DELTA_BLOCKS
    assert (quote.swap_fee_sat, quote.prepay_amt_sat) == (FEE_SAT, PREPAY_SAT)
    assert quote.htlc_sweep_fee_sat > 0


async def test_an_amount_outside_the_terms_is_refused_by_the_server_itself(
    swapping: Swapping,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="swap amount too high"):
        await swapping.out(700_000)
    with pytest.raises(grpc.aio.AioRpcError, match="swap amount too low"):
        await swapping.out(10_000)


async def test_it_succeeds_and_every_satoshi_is_where_loopd_says(swapping: Swapping) -> None:
    alice = swapping.alice
    wallet, channels = await swapping.wallet_sat(alice), await swapping.channels_sat(alice)
    paid = {payment.payment_hash for payment in await alice.payments()}

    swap_hash = await swapping.out(label="to the sat")
    told = await swapping.server_says("out", swap_hash, "FUNDED")
    await swapping.sent_to(told["script"])
    await swapping.network.mine(1)
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.PREIMAGE_REVEALED)
    sweep = await swapping.spender(told)
    await swapping.network.mine(1)
    swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)

    # Both sign, which is cheaper and says less: one signature is the whole witness.
    (spend,) = [each for each in sweep.inputs if each.txid.hex() == told["outpoint_txid"]]
    assert len(spend.witness) == 1

    assert swap.label == "to the sat"
    assert swap.cost_server == FEE_SAT
    assert await swapping.wallet_sat(alice) - wallet == AMOUNT_SAT - swap.cost_onchain
    await swapping.nothing_hangs()
    payments = [each for each in await alice.payments() if each.payment_hash not in paid]
    assert [payment.status for payment in payments] == [SUCCEEDED, SUCCEEDED]
    assert sum(payment.value_msat for payment in payments) == (AMOUNT_SAT + FEE_SAT) * 1_000
    assert swap.cost_offchain == sum(payment.fee_msat // 1_000 for payment in payments)
    moved_msat = sum(payment.value_msat + payment.fee_msat for payment in payments)
    lost_sat = channels - await swapping.channels_sat(alice)
    # Each channel's balance is told in whole satoshis.
    assert abs(lost_sat * 1_000 - moved_msat) < 1_000 * len(await alice.channels())


async def test_two_at_once_are_funded_one_from_the_change_of_the_other_and_both_succeed(
    swapping: Swapping,
) -> None:
    first, second = await swapping.out(), await swapping.out(AMOUNT_SAT + 1)
    for swap_hash in (first, second):
        told = await swapping.server_says("out", swap_hash, "FUNDED")
        await swapping.sent_to(told["script"])
    await swapping.network.mine(1)
    for swap_hash in (first, second):
        await swapping.spender(swapping.journal("out", swap_hash))
    await swapping.network.mine(1)

    for swap_hash in (first, second):
        swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)
        assert swap.cost_server == FEE_SAT
        await swapping.server_says("out", swap_hash, "SUCCEEDED")


async def test_a_client_that_never_pays_has_its_invoices_canceled_and_no_htlc(
    swapping: Swapping,
) -> None:
    before = {each.tx_hash for each in await swapping.carol.transactions()}
    async with _server(swapping) as server:
        answer, preimage = await _offered(server, swapping)
    swap_hash = hashlib.sha256(preimage).digest()
    told = await swapping.server_says("out", swap_hash, "OFFERED")

    # Too late for any client to reveal a preimage, and so for a server to begin.
    await swapping.network.mine(OUT_DELTA_BLOCKS - 29)
    await swapping.server_says("out", swap_hash, "CANCELED")

    for payment_hash in (swap_hash, bytes.fromhex(told["prepay_hash"])):
        invoice = TestInvoice("", payment_hash, b"")
        await swapping.carol.wait_for_invoice(invoice, CANCELED)
    assert {each.tx_hash for each in await swapping.carol.transactions()} == before
    assert answer.swap_invoice == told["payment_request"]


async def test_a_client_that_finds_no_route_cancels_and_owes_nothing(swapping: Swapping) -> None:
    swap_hash = await swapping.out(max_routing_sat=0)

    swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.FAILED)

    assert swap.failure_reason == client_pb2.FAILURE_REASON_OFFCHAIN
    await swapping.server_says("out", swap_hash, "CANCELED")
    assert (swap.cost_server, swap.cost_onchain, swap.cost_offchain) == (0, 0, 0)


async def test_only_who_was_given_the_invoice_cancels_or_has_a_signature(
    swapping: Swapping,
) -> None:
    async with _server(swapping) as server:
        answer, preimage = await _offered(server, swapping)
        swap_hash = hashlib.sha256(preimage).digest()
        with pytest.raises(grpc.aio.AioRpcError, match="wrong payment address"):
            await server.CancelLoopOutSwap(
                server_pb2.CancelLoopOutSwapRequest(swap_hash=swap_hash, payment_address=bytes(32))
            )
        async with swapping.alice.lightning() as lightning:
            invoice = await lightning.DecodePayReq(
                lightning_pb2.PayReqString(pay_req=answer.swap_invoice)
            )
        # Signed before it is paid, the HTLC would be the client's without its preimage.
        with pytest.raises(grpc.aio.AioRpcError, match="not settled"):
            await server.MuSig2SignSweep(
                server_pb2.MuSig2SignSweepReq(
                    swap_hash=swap_hash, payment_address=invoice.payment_addr
                )
            )
        await server.CancelLoopOutSwap(
            server_pb2.CancelLoopOutSwapRequest(
                swap_hash=swap_hash, payment_address=invoice.payment_addr
            )
        )
    await swapping.server_says("out", swap_hash, "CANCELED")


async def test_a_funding_that_a_reorg_takes_back_is_mined_again_and_sent_once(
    swapping: Swapping,
) -> None:
    swap_hash = await swapping.out(htlc_confirmations=2)
    told = await swapping.server_says("out", swap_hash, "FUNDED")
    funding = await swapping.sent_to(told["script"])
    await swapping.network.mine(1)

    await swapping.network.reorg(1)

    again = await swapping.sent_to(told["script"])
    assert again.txid == funding.txid
    await swapping.network.mine(2)
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.PREIMAGE_REVEALED)
    await swapping.spender(told)
    await swapping.network.mine(1)
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)
    await swapping.server_says("out", swap_hash, "SUCCEEDED")
    assert await _fundings(swapping, told["script"]) == 1


async def test_a_client_that_stays_away_past_the_expiry_is_refunded_and_so_is_the_server(
    swapping: Swapping,
) -> None:
    had_sat = await swapping.wallet_sat(swapping.carol)
    swap_hash = await swapping.out()
    told = await swapping.server_says("out", swap_hash, "FUNDED")
    await swapping.sent_to(told["script"])
    await swapping.network.stop_loop("alice")
    try:
        await swapping.network.mine(told["expiry"] - await _height(swapping))
        told = await swapping.server_says("out", swap_hash, "REFUNDING")
        await swapping.spender(told)
        await swapping.network.swap_server.kill()
        await swapping.network.swap_server.start()
        # What is held is not given back before the refund is certain.
        invoice = TestInvoice("", swap_hash, b"")
        assert (await swapping.carol.lookup(invoice)).state == lightning_pb2.Invoice.ACCEPTED
        await swapping.network.mine(CERTAIN_BLOCKS)
        await swapping.server_says("out", swap_hash, "REFUNDED")
    finally:
        await swapping.network.start_loop("alice")

    swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.FAILED)
    assert swap.failure_reason == client_pb2.FAILURE_REASON_TIMEOUT
    payment = await eventually(
        lambda: swapping.alice.payment(swap_hash),
        lambda found: found is not None and found.status != lightning_pb2.Payment.IN_FLIGHT,
        what="alice's verdict",
    )
    assert payment is not None
    assert payment.status == FAILED
    # It cost the server the fees of two transactions, and the client the prepayment.
    assert 0 < had_sat - await swapping.wallet_sat(swapping.carol) < 2_000


async def test_a_server_that_is_killed_at_every_step_keeps_its_word(swapping: Swapping) -> None:
    server = swapping.network.swap_server
    swap_hash = await swapping.out()
    await server.kill()
    await server.start()
    told = await swapping.server_says("out", swap_hash, "FUNDED")

    # As if it had died after it sent the HTLC and before it wrote that down.
    await server.kill()
    file = server.journal / "out" / f"{swap_hash.hex()}.json"
    file.write_text(json.dumps(told | {"state": "FUNDING", "outpoint_txid": ""}))
    await server.start()
    assert await swapping.server_says("out", swap_hash, "FUNDED") == told

    # While the preimage is revealed nobody hears it: it must be read from the chain.
    await server.kill()
    await swapping.network.mine(1)
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.PREIMAGE_REVEALED)
    await swapping.spender(told)
    await swapping.network.mine(1)
    await server.start()
    await swapping.server_says("out", swap_hash, "SUCCEEDED")

    # loopd waits until it is charged, so that it can tell what the swap has cost.
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)
    await swapping.carol.wait_for_invoice(TestInvoice("", swap_hash, b""), SETTLED)
    assert await _fundings(swapping, told["script"]) == 1


async def _height(swapping: Swapping) -> int:
    return (await swapping.alice.info()).block_height


async def _fundings(swapping: Swapping, script: str) -> int:
    """How many of the server's transactions pay to a script."""
    return sum(
        output.pk_script == script
        for each in await swapping.carol.transactions()
        for output in each.output_details
    )
