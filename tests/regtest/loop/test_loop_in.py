"""Loop In between the real loopd and our swap server, and each way in which it can end."""

from __future__ import annotations

import pytest

from devnet.swapserver.transactions import Transaction
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.looprpc import client_pb2
from tests.regtest.loop.swapping import (
    AMOUNT_SAT,
    CERTAIN_BLOCKS,
    FEE_PPM,
    Swapping,
)

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.usefixtures("served"),
    pytest.mark.timeout(1800),  # the first time it builds btcd, lnd and loopd
]

FEE_SAT = AMOUNT_SAT * FEE_PPM // 1_000_000
SAT_PER_VBYTE = 25  # what lnd takes for granted on this chain


async def test_terms_and_quotes_are_the_servers(swapping: Swapping) -> None:
    async with swapping.loop.client() as client:
        terms = await client.GetLoopInTerms(client_pb2.TermsRequest())
        quote = await client.GetLoopInQuote(client_pb2.QuoteRequest(amt=AMOUNT_SAT, conf_target=6))

    assert terms.min_swap_amount < AMOUNT_SAT < terms.max_swap_amount
    assert quote.swap_fee_sat == FEE_SAT
    assert quote.htlc_publish_fee_sat > 0


async def test_it_succeeds_and_every_satoshi_is_where_loopd_says(swapping: Swapping) -> None:
    alice = swapping.alice
    wallet, channels = await swapping.wallet_sat(alice), await swapping.channels_sat(alice)

    swap_hash = await swapping.into(label="to the sat")
    told = await swapping.server_says("in", swap_hash, "OFFERED")
    htlc = await swapping.sent_to(told["script"])
    await swapping.network.mine(1)
    told = await swapping.server_says("in", swap_hash, "CLAIMING")
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.INVOICE_SETTLED)
    await swapping.spender(told)
    await swapping.network.mine(1)
    swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)

    assert swap.label == "to the sat"
    assert swap.cost_server == FEE_SAT
    fee_sat = await _fee_sat(swapping, htlc)
    assert wallet - await swapping.wallet_sat(alice) == AMOUNT_SAT + fee_sat
    _check_told(swap.cost_onchain, fee_sat)
    await swapping.nothing_hangs()
    assert await swapping.channels_sat(alice) - channels == AMOUNT_SAT - FEE_SAT
    await swapping.network.mine(CERTAIN_BLOCKS)
    await swapping.server_says("in", swap_hash, "SUCCEEDED")


async def test_a_server_that_is_killed_at_every_step_keeps_its_word(swapping: Swapping) -> None:
    server = swapping.network.swap_server
    swap_hash = await swapping.into()
    await server.kill()
    told = swapping.journal("in", swap_hash)
    await swapping.sent_to(told["script"])
    await swapping.network.mine(1)
    await server.start()
    told = await swapping.server_says("in", swap_hash, "CLAIMING")

    # As if it had died after it paid and before it wrote that down.
    await server.kill()
    file = server.journal / "in" / f"{swap_hash.hex()}.json"
    file.write_text(
        file.read_text().replace('"CLAIMING"', '"PAYING"').replace(told["preimage"], "")
    )
    await server.start()
    told = await swapping.server_says("in", swap_hash, "CLAIMING")
    await swapping.spender(told)
    await server.kill()
    await swapping.network.mine(1)
    await server.start()

    await swapping.loop.wait_for_swap(swap_hash, client_pb2.SUCCESS)
    await swapping.network.mine(CERTAIN_BLOCKS)
    await swapping.server_says("in", swap_hash, "SUCCEEDED")
    sent = [
        each for each in await swapping.carol.payments() if each.payment_hash == swap_hash.hex()
    ]
    assert [payment.status for payment in sent] == [lightning_pb2.Payment.SUCCEEDED]


async def test_a_server_that_stays_away_leaves_the_client_its_refund(swapping: Swapping) -> None:
    alice, server = swapping.alice, swapping.network.swap_server
    wallet, channels = await swapping.wallet_sat(alice), await swapping.channels_sat(alice)
    swap_hash = await swapping.into()
    told = swapping.journal("in", swap_hash)
    await swapping.sent_to(told["script"])
    await server.kill()
    await swapping.network.mine(1)
    await swapping.loop.wait_for_swap(swap_hash, client_pb2.HTLC_PUBLISHED)
    height = (await alice.info()).block_height
    await swapping.network.mine(told["expiry"] - height)
    await eventually(swapping.waiting, what="the client's refund")
    await swapping.network.mine(1)
    swap = await swapping.loop.wait_for_swap(swap_hash, client_pb2.FAILED)

    assert swap.failure_reason == client_pb2.FAILURE_REASON_TIMEOUT
    _check_told(swap.cost_onchain, wallet - await swapping.wallet_sat(alice))
    assert await swapping.channels_sat(alice) == channels
    # It finds the HTLC when it is back, and does not pay for what it cannot claim any more.
    await server.start()
    await swapping.server_says("in", swap_hash, "EXPIRED")
    assert swap_hash.hex() not in {each.payment_hash for each in await swapping.carol.payments()}


async def _fee_sat(swapping: Swapping, transaction: Transaction) -> int:
    """What alice's lnd says that it paid for one of its own."""
    txid = transaction.txid[::-1].hex()
    listed = await swapping.alice.transactions()
    return next(each.total_fees for each in listed if each.tx_hash == txid)


def _check_told(told_sat: int, paid_sat: int) -> None:
    """loopd reckons the HTLC's fee by its signed size, where lnd paid for an estimate of it."""
    assert 0 <= paid_sat - told_sat <= SAT_PER_VBYTE
