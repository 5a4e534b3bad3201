"""An account with the real poold and our auctioneer: opened, renewed, closed."""

from __future__ import annotations

import grpc
import pytest

from devnet.poold import FEE_RATE_SAT_PER_KW
from devnet.regtest.pool import PoolNetwork
from protos.lnrpc import lightning_pb2
from protos.poolrpc import trader_pb2
from tests.regtest.pool.conftest import ACCOUNT_CONFIRMATIONS

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(1800),  # the first time it builds btcd, lnd and poold
]


async def test_an_account_is_opened_renewed_and_closed(network: PoolNetwork) -> None:
    node, pool = network.nodes["alice"], network.pools["alice"]
    before = (await node.balance()).total_balance

    key = await pool.open_account(500_000)
    assert (await pool.accounts())[key].state == trader_pb2.PENDING_OPEN
    await network.mine(ACCOUNT_CONFIRMATIONS)
    opened = await pool.wait_for_account(key, trader_pb2.OPEN)
    assert opened.value == opened.available_balance == 500_000

    async with pool.trader() as trader:
        renewed = await trader.RenewAccount(
            trader_pb2.RenewAccountRequest(
                account_key=key, relative_expiry=8_000, fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW
            )
        )
    assert renewed.account.state == trader_pb2.PENDING_UPDATE
    assert renewed.account.expiration_height > opened.expiration_height
    await network.mine(ACCOUNT_CONFIRMATIONS)
    later = await pool.wait_for_account(key, trader_pb2.OPEN)
    assert later.outpoint != opened.outpoint
    assert later.value == renewed.account.value < opened.value

    txid = await pool.close_account(key)
    await network.mine(ACCOUNT_CONFIRMATIONS)
    await pool.wait_for_account(key, trader_pb2.CLOSED)

    # All that is gone are the fees of three transactions, and the chain has them all.
    fees = {each.tx_hash: each.total_fees for each in await node.transactions()}
    (close,) = [each for each in await node.transactions() if each.tx_hash == txid]
    assert close.num_confirmations == ACCOUNT_CONFIRMATIONS
    opening = fees[opened.outpoint.txid[::-1].hex()]
    closing = later.value - close.amount
    after = (await node.balance()).total_balance
    assert before - after == opening + (opened.value - later.value) + closing


async def test_an_account_is_filled_and_drained_with_both_signatures(
    network: PoolNetwork,
) -> None:
    node, pool = network.nodes["dave"], network.pools["dave"]
    key = await pool.open_account(500_000)
    await network.mine(ACCOUNT_CONFIRMATIONS)
    await pool.wait_for_account(key, trader_pb2.OPEN)

    async with pool.trader() as trader:
        await trader.DepositAccount(
            trader_pb2.DepositAccountRequest(
                trader_key=key, amount_sat=300_000, fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW
            )
        )
    await network.mine(ACCOUNT_CONFIRMATIONS)
    assert (await pool.wait_for_account(key, trader_pb2.OPEN)).value == 800_000

    async with node.lightning() as lightning:
        address = (await lightning.NewAddress(lightning_pb2.NewAddressRequest())).address
    async with pool.trader() as trader:
        drained = await trader.WithdrawAccount(
            trader_pb2.WithdrawAccountRequest(
                trader_key=key,
                outputs=[trader_pb2.Output(value_sat=200_000, address=address)],
                fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW,
            )
        )
    await network.mine(ACCOUNT_CONFIRMATIONS)
    left = (await pool.wait_for_account(key, trader_pb2.OPEN)).value
    txid = drained.withdraw_txid[::-1].hex()
    (seen,) = [each for each in await node.transactions() if each.tx_hash == txid]
    assert seen.amount == 200_000
    assert 599_000 < left < 600_000  # without the fee


async def test_an_expired_account_is_closed_by_its_trader_alone(network: PoolNetwork) -> None:
    pool = network.pools["alice"]
    key = await pool.open_account(500_000, expires_in_blocks=144)
    await network.mine(ACCOUNT_CONFIRMATIONS)
    account = await pool.wait_for_account(key, trader_pb2.OPEN)
    height = (await network.nodes["alice"].info()).block_height
    await network.mine(account.expiration_height - height)
    await pool.wait_for_account(key, trader_pb2.EXPIRED)

    await network.stop_auctioneer()
    try:
        txid = await pool.close_account(key)
        await network.mine(ACCOUNT_CONFIRMATIONS)
        transactions = await network.nodes["alice"].transactions()
        (close,) = [each for each in transactions if each.tx_hash == txid]
        assert close.num_confirmations == ACCOUNT_CONFIRMATIONS
    finally:
        await network.start_auctioneer()

    await pool.wait_for_account(key, trader_pb2.CLOSED)


async def test_a_small_account_is_refused_by_poold(network: PoolNetwork) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="minimum account value"):
        await network.pools["alice"].open_account(99_999)
