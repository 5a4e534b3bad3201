"""The client's part that moves liquidity, and the budgets that bound what it costs."""

from __future__ import annotations

from fulgurite.budgets.receipts import BudgetView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.swaps.calls import SwapPlan
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.sequence_requests import SwapSequenceRequest
from starter.budget import Budget, budgets
from starter.finding import Finder
from starter.lease import Lease, begin_lease
from starter.liquidity import LiquidityRun, make_plan
from starter.rebalance import Rebalance, begin_rebalance
from starter.swap import Swap, begin_swap, quote_swap
from starter.swap_sequence import SwapSequence, begin_sequence


class Treasury(Finder):
    """Each begins what its key names at most once: all of them are safe to repeat."""

    # The autopilot.

    async def liquidity(self, request: LiquidityRequest) -> LiquidityRun:
        """Has the autopilot look at a node's channels once, and make a plan.

        In the mode ASK it then waits for `approve` or `reject`. Raises
        TemporalUnavailableError.
        """
        return await make_plan(self._client, request)

    # Rebalances.

    async def rebalance(self, request: RebalanceRequest) -> Rebalance:
        """Moves liquidity from some channels to others of a node, within both caps.

        Starts it, or joins the one of the same key: one key, one intent, also after Temporal
        was made to forget it. Raises KeyReusedError when the key belongs to another request,
        TemporalUnavailableError.
        """
        return await begin_rebalance(self._client, request)

    def rebalancing(self, key: str) -> Rebalance:
        """The handle of a rebalance, known or not."""
        return Rebalance(self._client, key.strip().removeprefix("rebalance/"), attached=True)

    # Swaps.

    async def swap(self, request: SwapRequest) -> Swap:
        """Begins a swap, or joins the one of the same key.

        loopd is asked once a key. Raises KeyReusedError where the key is another swap's, and
        TemporalUnavailableError.
        """
        return await begin_swap(self._client, request)

    async def quote_swap(self, request: SwapRequest) -> SwapPlan:
        """What a swap would cost now, and whether it would be begun. Begins nothing.

        Raises TemporalUnavailableError, and NodeErrors of loopd's.
        """
        return await quote_swap(self._client, request)

    def swap_of(self, key: str) -> Swap:
        """A swap's handle by its key, or by `swap/<key>`, known or not."""
        return Swap(self._client, key.strip().removeprefix("swap/"), attached=True)

    async def swap_sequence(self, request: SwapSequenceRequest) -> SwapSequence:
        """Begins several swaps, one after another, or joins those of the same key."""
        return await begin_sequence(self._client, request)

    def swap_sequence_of(self, key: str) -> SwapSequence:
        """A sequence's handle by its key, known or not."""
        named = key.strip().removeprefix("swap-sequence/")
        return SwapSequence(self._client, named, attached=True)

    # Leases.

    async def lease(self, request: LeaseRequest) -> Lease:
        """Bids for inbound liquidity, or joins the lease of the same key.

        One key is one bid, for ever. Raises KeyReusedError where the key is another lease's,
        WorkerUnavailableError, TemporalUnavailableError.
        """
        return await begin_lease(self._client, request)

    def lease_of(self, key: str) -> Lease:
        """A lease's handle by its key, or by `lease/<key>`, known or not."""
        return Lease(self._client, key.strip().removeprefix("lease/"), attached=True)

    # Budgets.

    def budget(self, name: str) -> Budget:
        """The handle of a budget, known or not. Raises InvalidRequestError for no name."""
        return Budget(self._client, name)

    async def budgets(self) -> tuple[BudgetView, ...]:
        """Every budget as it stands, by name. Raises WorkerUnavailableError."""
        return await budgets(self._client, self)
