"""What poold is asked and what it answers, over its own API, served by the simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import DropAnswer
from fulgurite.channels.closing import ClosePhase
from fulgurite.errors import (
    BidOverError,
    CredentialError,
    FulguriteError,
    InsufficientFundsError,
    LeaseRefusedError,
    NodeNotReadyError,
    NodeUnavailableError,
    NoMarketError,
    UnexpectedAnswerError,
    UnsupportedVersionError,
)
from fulgurite.identity import NodePubkey
from fulgurite.leases.market import AccountState, BidState
from fulgurite.leases.marks import mark_of
from fulgurite.leases.requests import LeaseRequest
from nodes.config import PoolConfig
from nodes.pool.connection import PoolConnection
from nodes.pool.errors import domain_error
from nodes.pool.trader import PoolTrader

MARK = mark_of("alice", "order")


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SimulatedNetwork]:
    async with SimulatedNetwork(tmp_path) as running:
        yield running
        running.ledger.assert_balanced()


@pytest.fixture
async def pool(network: SimulatedNetwork) -> AsyncIterator[PoolTrader]:
    node = network.pools["alice"]
    config = PoolConfig(
        address=node.address, tls_cert_path=node.tls_cert_path, macaroon_path=node.macaroon_path
    )
    trader = PoolTrader(PoolConnection("alice", config))
    yield trader
    await trader.connection.close()


def asked(**changes: object) -> LeaseRequest:
    usual = {
        "key": "order",
        "node": "alice",
        "amount_sat": 500_000,
        "max_rate_ppb": 1_000,
        "max_batch_fee_sat_per_vbyte": 1,
    }
    return LeaseRequest.model_validate(usual | changes)


async def open_account(network: SimulatedNetwork, pool: PoolTrader) -> NodePubkey:
    opened = await pool.open_account(1_000_000, network.chain.height + 1_000, 1)
    assert opened.state is AccountState.PENDING_OPEN
    await network.mine(3)
    [account] = await pool.accounts()
    assert (account.key, account.state) == (opened.key, AccountState.OPEN)
    assert account.available_sat == account.value_sat == 1_000_000
    return account.key


async def test_a_quote_is_what_poold_then_holds_back(
    network: SimulatedNetwork, pool: PoolTrader
) -> None:
    account = await open_account(network, pool)
    request = asked(min_channel_sat=200_000)
    quote = await pool.quote(request)
    await pool.submit(request, MARK, account)
    [bid] = await pool.bids(MARK)
    # Two channels, the second with the rest. From a Taproot account less is held back.
    assert (quote.premium_sat, quote.execution_fee_sat) == (403 + 604, 201 + 301)
    assert quote.chain_fee_sat == 2 * 165
    assert bid.reserved_sat == quote.premium_sat + quote.execution_fee_sat + 2 * 123
    assert quote.next_batch_sat_per_vbyte == 1


async def test_a_bid_is_found_by_its_mark_and_by_nothing_else(
    network: SimulatedNetwork, pool: PoolTrader
) -> None:
    account = await open_account(network, pool)
    other = mark_of("alice", "another order")
    await pool.submit(asked(), other, account)
    nonce = await pool.submit(asked(), MARK, account)
    assert [bid.nonce for bid in await pool.bids(MARK)] == [nonce]
    assert await pool.bids(mark_of("bob", "order")) == ()


async def test_a_lease_is_told_with_its_cost_and_its_height(
    network: SimulatedNetwork, pool: PoolTrader
) -> None:
    account = await open_account(network, pool)
    network.market.ask("carol", 500_000, rate_ppb=10)
    nonce = await pool.submit(asked(), MARK, account)
    await network.run_batch()
    [bid] = await pool.bids(MARK)
    [pending] = await pool.leases([nonce])
    await network.mine(3)
    [leased] = await pool.leases([nonce])
    [channel] = [c for c in await network.nodes["alice"].channels() if c.capacity == 500_000]

    assert (bid.state, bid.unfilled_sat) == (BidState.EXECUTED, 0)
    assert pending.expiry_height is None
    assert pending.phase is ClosePhase.UNKNOWN
    assert leased.channel_point == channel.channel_point
    assert leased.peer == channel.remote_pubkey
    assert leased.expiry_height == (channel.chan_id >> 40) + 2_016
    assert (leased.premium_sat, leased.execution_fee_sat, leased.chain_fee_sat) == (1008, 501, 165)
    assert leased.cost_sat == 1008 + 501 + 165
    assert await pool.leases([]) == ()
    with pytest.raises(BidOverError):
        await pool.cancel(nonce)


async def test_what_poold_refuses_is_told_by_its_kind(
    network: SimulatedNetwork, pool: PoolTrader
) -> None:
    account = await open_account(network, pool)
    with pytest.raises(InsufficientFundsError):
        await pool.submit(asked(max_rate_ppb=10_000_000), MARK, account)
    with pytest.raises(NoMarketError):
        await pool.submit(asked(duration_blocks=999), MARK, account)
    with pytest.raises(LeaseRefusedError):
        await pool.submit(asked(), MARK, MARK)
    with pytest.raises(InsufficientFundsError):
        await pool.can_fund(900_000_000)
    with pytest.raises(LeaseRefusedError):
        await pool.open_account(1_000_000, network.chain.height + 1, 1)
    assert await pool.bids(MARK) == ()
    network.market.words.append("not you")
    with pytest.raises(LeaseRefusedError, match="not you"):
        await pool.submit(asked(), MARK, account)
    [stored] = await pool.bids(MARK)
    assert stored.state is BidState.FAILED
    assert await pool.market(999) is None
    assert await pool.market(2_016) is True
    network.market.closed.add(2_016)
    assert await pool.market(2_016) is False


async def test_an_error_that_leaves_it_open_is_no_refusal(
    network: SimulatedNetwork, pool: PoolTrader
) -> None:
    account = await open_account(network, pool)
    network.faults.add("alice.pool", "SubmitOrder", DropAnswer())
    with pytest.raises(NodeUnavailableError):
        await pool.submit(asked(), MARK, account)
    assert len(await pool.bids(MARK)) == 1
    network.market.away = True
    with pytest.raises(NodeUnavailableError):
        await pool.accounts()
    assert not await pool.connected()


async def test_a_macaroon_of_another_is_told_as_such(
    network: SimulatedNetwork, tmp_path: Path
) -> None:
    node = network.pools["alice"]
    wrong = tmp_path / "wrong.macaroon"
    wrong.write_bytes(b"not a macaroon")
    for path in (wrong, tmp_path / "missing.macaroon"):
        config = PoolConfig(
            address=node.address, tls_cert_path=node.tls_cert_path, macaroon_path=path
        )
        connection = PoolConnection("alice", config)
        with pytest.raises(CredentialError):
            await connection.check()
        await connection.close()


_STORED = "error submitting order to auctioneer: insufficient account balance"
_STARTING = "cannot submit order, trader daemon still starting up"


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (grpc.StatusCode.UNKNOWN, _STORED, UnexpectedAnswerError),
        (grpc.StatusCode.UNKNOWN, _STARTING, NodeNotReadyError),
        (grpc.StatusCode.UNKNOWN, "unable to query auctioneer terms: x", NodeUnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", NodeUnavailableError),
        (grpc.StatusCode.UNIMPLEMENTED, "unknown method", UnsupportedVersionError),
        (grpc.StatusCode.UNKNOWN, "something new", UnexpectedAnswerError),
    ],
)
def test_each_answer_has_one_meaning(
    code: grpc.StatusCode, text: str, kind: type[FulguriteError]
) -> None:
    error = domain_error("alice", AioRpcError(code, Metadata(), Metadata(), details=text))
    assert type(error) is kind
