"""What the scenarios of swaps share: requests, balances, and blocks until something is so."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from devnet.house import House
from devnet.network import Network
from devnet.regtest.fees import USUAL_SAT_PER_VBYTE
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.swaps.limits import Cap, Direction, SwapLimits
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SWAP, UNDER_WAY, SwapState
from protos.lnrpc import lightning_pb2
from protos.looprpc import client_pb2
from starter.errors import NotRetainedError, TemporalUnavailableError, WorkerUnavailableError
from starter.swap import Swap

AMOUNT_SAT = 250_000
_SUCCEEDED = lightning_pb2.Payment.SUCCEEDED
_CHANNELS = 3
_WAITS_FOR_A_BLOCK = frozenset(UNDER_WAY)
# An HTLC must not expire of our haste, and what loopd tells must be seen before the next block.
_A_BLOCK_SECONDS = {"simulated": 1.0, "regtest": 4.0}
_ENOUGH_SAT = 900_000
LIMITS = SwapLimits(total=Cap(sat=20_000))


def swap_request(direction: Direction = Direction.OUT, **more: Any) -> SwapRequest:
    """A swap of alice's under a new key, with room in every limit."""
    fields: dict[str, Any] = {
        "key": f"test-{uuid.uuid4().hex[:12]}",
        "node": "alice",
        "direction": direction,
        "amount_sat": AMOUNT_SAT,
        "limits": LIMITS,
    }
    return SwapRequest.model_validate(fields | more)


class Blocks:
    """Mines for swaps when that moves them on, and never in haste.

    loopd sweeps one second after the last block: with one every moment it never would, until
    the HTLC expires.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._clock = asyncio.get_running_loop()
        self._mined_for: SwapState | None = None
        self._mined_at = self._clock.time()

    async def mine_for(self, view: SwapView) -> None:
        """One block for each state that waits for one, at once; and more of them slowly."""
        if view.state not in _WAITS_FOR_A_BLOCK:
            return
        if view.direction is Direction.IN and view.state is SwapState.INITIATED:
            return  # its HTLC is published without a block
        kind, is_new = self._network.kind, view.state is not self._mined_for
        if kind == "regtest":  # the simulated server's wallet is nobody's to look into
            is_new = is_new and bool(await unconfirmed(self._network))
        if is_new or self._clock.time() - self._mined_at > _A_BLOCK_SECONDS[kind]:
            await self._network.mine(1)
            self._mined_at = self._clock.time()
            self._mined_for = view.state if is_new else self._mined_for


async def unconfirmed(network: Network) -> frozenset[str]:
    """The transactions that wait for a block, as far as the wallets know of them."""
    known = [each for node in network.nodes.values() for each in await node.transactions()]
    return frozenset(each.tx_hash for each in known if each.num_confirmations == 0)


async def ended(
    network: Network, swap: Swap, *, among: frozenset[SwapState] = SWAP.terminal
) -> SwapView:
    """Mines until the swap is in one of these states, and says how it stands."""
    blocks = Blocks(network)

    async def look() -> SwapView | None:
        view = await standing(swap)
        if view and view.state not in among:
            await blocks.mine_for(view)
        return view

    return await _seen(look, f"{swap} in {sorted(among)}", among)


async def until(swap: Swap, *states: SwapState, mining: Network | None = None) -> SwapView:
    """Waits until the swap is in one of these states; without a block, unless told where."""
    if mining:
        return await ended(mining, swap, among=frozenset(states))
    return await _seen(lambda: standing(swap), f"{swap} in {states}", frozenset(states))


async def standing(swap: Swap) -> SwapView | None:
    """How it stands; None while whoever could tell is away, or it has not been started."""
    try:
        return await swap.view()
    except (NotRetainedError, TemporalUnavailableError, WorkerUnavailableError):
        return None


async def _seen(
    look: Callable[[], Awaitable[SwapView | None]],
    what: str,
    states: frozenset[SwapState],
) -> SwapView:
    view = await eventually(
        look,
        lambda view: view is not None and view.state in states | SWAP.terminal,
        what=what,
        timeout_seconds=120,
        every_seconds=0.1,
    )
    assert view is not None
    assert view.state in states, view
    return view


@dataclass(frozen=True)
class Balances:
    """Alice's coins, and what she has ever paid, with and for routing, and to the chain."""

    channels_sat: int
    wallet_sat: int
    chain_fees_sat: int
    paid_msat: int
    fees_msat: tuple[int, ...]


async def balances(network: Network) -> Balances:
    """What her channels and her wallet hold, once nothing is pending on either."""
    alice = network.nodes["alice"]
    channels = await eventually(
        alice.channels,
        lambda channels: all(not each.pending_htlcs for each in channels),
        what="nothing pending on alice's channels",
    )
    payments = [each for each in await alice.payments() if each.status == _SUCCEEDED]
    return Balances(
        channels_sat=sum(each.local_balance for each in channels),
        wallet_sat=(await alice.balance()).confirmed_balance,
        chain_fees_sat=sum(each.total_fees for each in await alice.transactions()),
        paid_msat=sum(each.value_msat for each in payments),
        fees_msat=tuple(each.fee_msat for each in payments),
    )


def check_cost(receipt: SwapReceipt, before: Balances, after: Balances) -> None:
    """What loopd reports is what has left, to the satoshi; nodes keep the parts of one."""
    cost, out = receipt.cost, receipt.direction is Direction.OUT
    fees_msat = after.fees_msat[len(before.fees_msat) :]
    assert sum(fee // 1_000 for fee in fees_msat) == cost.off_chain_sat
    paid_msat = after.paid_msat - before.paid_msat
    wallet_sat = after.wallet_sat - before.wallet_sat
    channels_sat = after.channels_sat - before.channels_sat
    if out:
        assert paid_msat == (receipt.amount_sat + cost.server_sat) * 1_000
        assert wallet_sat == receipt.amount_sat - cost.on_chain_sat
        gone_msat = paid_msat + sum(fees_msat)
        # Each channel is told in whole satoshis.
        assert abs(channels_sat * 1_000 + gone_msat) < _CHANNELS * 1_000
    else:
        assert paid_msat == 0
        fee_sat = after.chain_fees_sat - before.chain_fees_sat
        assert wallet_sat == -receipt.amount_sat - fee_sat
        # loopd reckons by the size of the HTLC's transaction once signed; lnd has paid for its
        # estimate, in which a signature is never the shorter one that it can turn out to be.
        assert 0 <= fee_sat - cost.on_chain_sat <= USUAL_SAT_PER_VBYTE
        assert abs(channels_sat - (receipt.amount_sat - cost.server_sat)) < _CHANNELS


async def refill(network: Network) -> None:
    """Alice's channels hold enough for a scenario, however much was swapped out before."""
    alice, bob = network.nodes["alice"], network.nodes["bob"]
    channels = await eventually(
        alice.channels,
        lambda channels: all(each.active and not each.pending_htlcs for each in channels),
        what="alice's channels at rest",
    )
    missing_sat = _ENOUGH_SAT * len(channels) - sum(each.local_balance for each in channels)
    if missing_sat > 0:
        invoice = await alice.invoice(missing_sat * 1_000)
        paid = await bob.pay(invoice.payment_request)
        assert paid.status == _SUCCEEDED, paid.failure_reason


async def at_rest(network: SimulatedNetwork) -> None:
    """Mines until loopd has ended all that it has, also what nobody follows."""

    async def open_swaps() -> int:
        count = sum(not swap.is_final for swap in network.loopd("alice").stored.values())
        if count:
            await network.mine(1)
        return count

    await eventually(open_swaps, lambda count: not count, what="loopd at rest", every_seconds=0.1)


async def loopd_has(home: House, request: SwapRequest) -> list[client_pb2.SwapStatus]:
    """Every swap under the request's key, by loopd."""
    prefix = f"swap/{request.key}#"
    swaps = await home.network.loops["alice"].swaps()
    return [each for each in swaps if each.label.startswith(prefix)]
