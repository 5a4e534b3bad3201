"""The market of a scenario, whichever network it runs on: who offers, and when a batch is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, TypeVar, runtime_checkable

from devnet.network import Network
from devnet.poold import PoolNode
from devnet.regtest.pool import PoolNetwork
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.leases.marks import mark_of
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LEASE, LeaseState
from protos.poolrpc import trader_pb2
from starter.errors import WorkerUnavailableError
from starter.lease import Lease

AMOUNT_SAT, RATE_PPB, BLOCKS = 500_000, 1_000, 144
ACCOUNT_SAT = 2_000_000
_CONFIRMATIONS = 6
_CHANGING = {trader_pb2.PENDING_UPDATE, trader_pb2.PENDING_BATCH}
_MOST_BLOCKS = 400
_keys = count(1)

Value = TypeVar("Value")


@runtime_checkable
class Pooling(Protocol):
    """A network whose poolds can be killed."""

    async def stop_pool(self, name: str) -> None: ...

    async def start_pool(self, name: str) -> None: ...


class Venue(Protocol):
    """Where channels are offered, beside the product."""

    @property
    def network(self) -> Network: ...

    async def offer(self, amount_sat: int, rate_ppb: int, blocks: int = BLOCKS) -> None:
        """Another node opens channels of so much for that rate."""

    async def batch(self) -> None:
        """The auctioneer matches what it has."""

    async def clear_the_book(self) -> None:
        """Nothing is offered any more, and no bid is out."""


@dataclass
class SimulatedVenue:
    network: SimulatedNetwork

    async def offer(self, amount_sat: int, rate_ppb: int, blocks: int = BLOCKS) -> None:
        self.network.market.ask("carol", amount_sat, rate_ppb=rate_ppb, blocks=blocks)

    async def batch(self) -> None:
        await self.network.run_batch()

    async def clear_the_book(self) -> None:
        market = self.network.market
        market.asks.clear()
        market.words.clear()
        market.closed.clear()
        market.away = False


@dataclass
class RealVenue:
    """The other real poold is the maker, with an account of its own."""

    network: PoolNetwork
    account: bytes
    asks: list[bytes] = field(default_factory=list)

    async def offer(self, amount_sat: int, rate_ppb: int, blocks: int = BLOCKS) -> None:
        maker = self.network.pools["dave"]
        nonce = await maker.ask(
            self.account, amount_sat, rate_ppb=rate_ppb, duration_blocks=blocks, min_units=1
        )
        self.asks.append(nonce)

    async def batch(self) -> None:
        await self.network.run_batch()

    async def clear_the_book(self) -> None:
        maker = self.network.pools["dave"]
        open_asks = await maker.orders()
        for nonce in self.asks:
            if open_asks[nonce].reserved_value_sat:
                await maker.cancel_order(nonce)
        self.asks.clear()


async def venue_of(network: Network) -> Venue:
    """Ready for offers."""
    if isinstance(network, SimulatedNetwork):
        return SimulatedVenue(network)
    assert isinstance(network, PoolNetwork)
    maker = network.pools["dave"]
    account = await maker.open_account(20_000_000, expires_in_blocks=20_000)
    await network.mine(_CONFIRMATIONS)
    await maker.wait_for_account(account, trader_pb2.OPEN)
    return RealVenue(network, account)


async def close_accounts(network: Network) -> None:
    """Alice's, so that the next scenario finds none."""
    trader, closing = network.pools["alice"], []

    async def changing() -> bool:
        return any(each.state in _CHANGING for each in (await trader.accounts()).values())

    if await changing():  # renewed, or matched, by a scenario that did not wait for it
        await network.mine(_CONFIRMATIONS)
        await eventually(changing, lambda seen: not seen, what="accounts that are there")
    for key, account in (await trader.accounts()).items():
        if account.state in (trader_pb2.OPEN, trader_pb2.EXPIRED):
            await trader.close_account(key)
            closing.append(key)
    if closing:
        await network.mine(_CONFIRMATIONS)
    for key in closing:
        await trader.wait_for_account(key, trader_pb2.CLOSED)


async def open_account(
    network: Network,
    value_sat: int = ACCOUNT_SAT,
    *,
    expires_in_blocks: int = 4_032,
    node: str = "alice",
) -> bytes:
    """An account of a node of ours, made by somebody else than the product."""
    trader = network.pools[node]
    key = await trader.open_account(value_sat, expires_in_blocks=expires_in_blocks)
    await network.mine(_CONFIRMATIONS)
    await trader.wait_for_account(key, trader_pb2.OPEN)
    return key


def terms(**changes: object) -> LeaseRequest:
    """A lease like any other, under a key that nobody has used, with `changes`."""
    usual = {
        "key": f"order-{next(_keys)}",
        "node": "alice",
        "amount_sat": AMOUNT_SAT,
        "duration_blocks": BLOCKS,
        "max_rate_ppb": RATE_PPB,
        "max_batch_fee_sat_per_vbyte": 2,
        "deadline_seconds": 600,
    }
    return LeaseRequest.model_validate(usual | changes)


def opening(value_sat: int = ACCOUNT_SAT) -> dict[str, int]:
    """Account terms that let one be opened."""
    return {"open_with_sat": value_sat, "fee_sat_per_vbyte": 2}


async def answered(ask: Callable[[], Awaitable[Value]]) -> Value:
    """Asked again while nobody answers: a worker that was killed is missed after ten seconds."""

    async def once() -> list[Value]:
        try:
            return [await ask()]
        except WorkerUnavailableError:
            return []

    [value] = await eventually(once, what="an answer", timeout_seconds=90)
    return value


async def reaches(lease: Lease, *states: LeaseState, timeout_seconds: float = 60) -> LeaseView:
    """Waits, without a block. Fails at once where the lease has ended otherwise."""

    def is_there(view: LeaseView) -> bool:
        ended = view.state in LEASE.terminal and view.state not in states
        assert not ended, f"{view.state}: {view.because}\n" + "\n".join(view.timeline)
        return view.state in states

    return await eventually(
        lambda: answered(lease.view),
        is_there,
        what=f"a lease in {states}",
        timeout_seconds=timeout_seconds,
    )


async def mines_to(network: Network, lease: Lease, *states: LeaseState) -> LeaseView:
    """Mines block after block until the lease has come so far."""
    mined = 0

    async def mine_and_ask() -> LeaseView:
        nonlocal mined
        view = await answered(lease.view)
        if view.state not in states:
            assert view.state not in LEASE.terminal, f"{view.state}: {view.because}"
            assert mined < _MOST_BLOCKS, f"not {states} after {mined} blocks: {view!r}"
            await network.mine(1)
            mined += 1
        return view

    return await eventually(
        mine_and_ask,
        lambda view: view.state in states,
        what=f"a lease in {states}",
        timeout_seconds=120,
        every_seconds=0.3,
    )


async def wins(venue: Venue, lease: Lease) -> LeaseView:
    """A batch takes its bid, and its channels open."""
    await listed(lease)
    await venue.batch()
    return await mines_to(venue.network, lease, LeaseState.LEASED)


async def ends_term(venue: Venue, lease: Lease) -> LeaseReceipt:
    """Mines to the end of its term."""
    view = await answered(lease.view)
    assert view.blocks_left is not None
    await venue.network.mine(view.blocks_left)
    await mines_to(venue.network, lease, LeaseState.TERM_ENDED, LeaseState.CLOSED_EARLY)
    return await lease.receipt()


async def listed(lease: Lease) -> LeaseView:
    """Once poold has its bid."""
    return await eventually(
        lambda: answered(lease.view), lambda view: view.bid is not None, what="a bid"
    )


async def orders_of(pool: PoolNode, request: LeaseRequest) -> list[trader_pb2.Bid]:
    """The bids that carry a lease's mark, whatever became of them."""
    mark = mark_of(request.node, request.key).raw()
    async with pool.trader() as trader:
        answer = await trader.ListOrders(trader_pb2.ListOrdersRequest())
    return [bid for bid in answer.bids if mark in bid.details.not_allowed_node_ids]
