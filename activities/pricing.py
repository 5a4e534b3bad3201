"""What each remedy would cost now: asked of LND, of loopd and of poold, in one scale.

Asking moves nothing, and a price that is not to be had is an answer too.
"""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio import activity

from activities.heartbeats import heartbeating
from fulgurite.errors import CredentialError, FulguriteError, RouteNotFoundError
from fulgurite.identity import Digest, NodeName, NodePubkey
from fulgurite.leases.market import AccountState
from fulgurite.leases.requests import UNIT_SAT, LeaseRequest
from fulgurite.liquidity.calls import ASK_PRICES, AskPrices, Prices
from fulgurite.liquidity.orders import lease_sat
from fulgurite.liquidity.policy import LeaseTerms, Remedy
from fulgurite.liquidity.pricing import Ask, Need, NoPrice, Price, costs, of_swap, unpriced
from fulgurite.money import MSAT_PER_SAT, Msat
from fulgurite.rebalances.calls import Attempt
from fulgurite.rebalances.requests import RebalanceMethod
from fulgurite.swaps.limits import MAX_SAT, Cap, Direction, SwapLimits, Terms
from fulgurite.swaps.requests import SwapRequest
from nodes.registry import Nodes

# Above every sensible cap: what is too dear is news too.
_LOOK_UP_TO_PPM: Final = 50_000
# lnd's own, for an invoice that names none.
_FINAL_CLTV_BLOCKS: Final = 80
_AT_ONCE: Final = 4
_KEY: Final = "price"


class PricingActivities:
    """Asks for prices. Its worker holds what the queue's remedies take."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @activity.defn(name=ASK_PRICES.name)
    async def prices(self, ask: AskPrices) -> Prices:
        """One an ask. Raises nothing: what cannot be priced says why."""
        asking = _Asking(self._nodes, ask.node, ask.lease)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def price(each: Ask) -> Price:
            async with gate:
                return await asking.price(each)

        async with heartbeating():
            return Prices(prices=tuple(await asyncio.gather(*map(price, ask.asks))))


class _Asking:
    """One round of questions; what does not change during it is asked once."""

    def __init__(self, nodes: Nodes, node: NodeName, lease: LeaseTerms) -> None:
        self._nodes = nodes
        self._node = node
        self._lease = lease
        self._own_key: NodePubkey | None = None
        self._terms: dict[Direction, Terms] = {}

    async def price(self, ask: Ask) -> Price:
        try:
            return await self._told(ask)
        except RouteNotFoundError:
            return unpriced(ask, NoPrice.NO_WAY, "no route")
        except CredentialError as error:
            return unpriced(ask, NoPrice.NOT_CONFIGURED, str(error))
        except FulguriteError as error:
            return unpriced(ask, NoPrice.NOT_TOLD, str(error))

    async def _told(self, ask: Ask) -> Price:
        match ask.remedy:
            case Remedy.REBALANCE:
                return await self._rebalance(ask)
            case Remedy.LOOP_OUT:
                return await self._swap(ask, Direction.OUT)
            case Remedy.LOOP_IN:
                return await self._swap(ask, Direction.IN)
            case Remedy.LEASE:
                return await self._leased(ask)

    async def _rebalance(self, ask: Ask) -> Price:
        """The route that would be taken now. Whether it carries so much, only sending tells."""
        assert ask.partner_id is not None
        assert ask.partner_peer is not None
        fills = ask.need is Need.LOCAL
        if self._own_key is None:
            self._own_key = (await self._nodes.connection(self._node).check()).pubkey
        amount = Msat.from_sat(ask.amount_sat)
        up_to = Msat(int(amount) * _LOOK_UP_TO_PPM // 1_000_000)
        attempt = Attempt(
            node=self._node,
            key=_KEY,
            identity=Digest("0" * 64),
            number=1,
            method=RebalanceMethod.ROUTES,
            amount_msat=amount,
            fee_limit_msat=up_to,
            outgoing_channels=(ask.partner_id if fills else ask.channel_id,),
            last_hop=ask.peer if fills else ask.partner_peer,
        )
        route = await self._nodes.routes(self._node).find(
            attempt,
            own_key=self._own_key,
            fee_limit=up_to,
            final_cltv_blocks=_FINAL_CLTV_BLOCKS,
        )
        return costs(ask, int(route.fees_msat), because=route.words())

    async def _swap(self, ask: Ask, direction: Direction) -> Price:
        """The server's fee and the chain's, as quoted; loopd finds the routes' when it pays."""
        loop = self._nodes.loop(self._node)
        if direction not in self._terms:
            self._terms[direction] = await loop.terms(direction)
        terms = self._terms[direction]
        if ask.amount_sat < terms.min_sat:
            told = f"the server swaps {terms.min_sat:,} sat and more"
            return unpriced(ask, NoPrice.OUT_OF_RANGE, told)
        within = ask.model_copy(update={"amount_sat": min(ask.amount_sat, terms.max_sat)})
        out = direction is Direction.OUT
        quote = await loop.quote(
            SwapRequest(
                key=_KEY,
                node=self._node,
                direction=direction,
                amount_sat=within.amount_sat,
                channels=(ask.channel_id,) if out else (),
                last_hop=None if out else ask.peer,
                limits=SwapLimits(total=Cap(sat=MAX_SAT)),
            )
        )
        if quote.miner_fee_sat < 0:
            told = "the wallet has not enough coins for it"
            return unpriced(within, NoPrice.NO_COINS, told)
        return of_swap(within, quote)

    async def _leased(self, ask: Ask) -> Price:
        """The most that our bid can cost: the market's own price shows when it is matched."""
        amount_sat = lease_sat(ask.amount_sat)
        if not amount_sat:
            told = f"Pool leases {UNIT_SAT:,} sat and more"
            return unpriced(ask, NoPrice.OUT_OF_RANGE, told)
        pool = self._nodes.pool(self._node)
        blocks = self._lease.duration_blocks
        if await pool.market(blocks) is None:
            told = f"Pool has no market for {blocks:,} blocks"
            return unpriced(ask, NoPrice.NO_WAY, told)
        quote = await pool.quote(
            LeaseRequest(
                key=_KEY,
                node=self._node,
                amount_sat=amount_sat,
                duration_blocks=blocks,
                max_rate_ppb=self._lease.max_rate_ppb,
                max_batch_fee_sat_per_vbyte=self._lease.max_batch_fee_sat_per_vbyte,
            )
        )
        funds = [
            account.available_sat
            for account in await pool.accounts()
            if account.state is AccountState.OPEN
        ]
        if max(funds, default=0) < quote.cost_sat:
            told = f"no open account has {quote.cost_sat:,} sat: open one with `pool accounts new`"
            return unpriced(ask, NoPrice.NO_COINS, told)
        within = ask.model_copy(update={"amount_sat": amount_sat})
        return costs(within, quote.cost_sat * MSAT_PER_SAT, term_blocks=blocks)
