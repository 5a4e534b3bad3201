"""The demo's last chapters: what may be spent, and liquidity that moves and says why."""

from __future__ import annotations

from rich.console import Console

from devnet.house import House
from devnet.node import TestInvoice
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.liquidity.plans import LiquidityPlan
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Rule
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.money import FeeLimit
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.swaps.limits import Cap, Direction, SwapLimits
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SWAP, SwapState
from starter.cli import liquidity_rendering
from starter.client import FulguriteClient
from starter.liquidity import LiquidityRun
from starter.payment import Payment

_BUDGET = "pocket-money"
_SWAPPED_SAT = 250_000
_TOLD = {
    SwapState.INITIATED: "loopd has it, once, under our label; the server's HTLC comes next",
    SwapState.PREIMAGE_REVEALED: "the HTLC is confirmed, and being swept into the wallet",
    SwapState.SUCCEEDED: "the coins are on chain, and the channels can receive as much more",
}


class LiquidityStory:
    """Alice has a daily limit, and more on her side of the channels than she needs."""

    def __init__(self, home: House, client: FulguriteClient, console: Console) -> None:
        self._home = home
        self._client = client
        self._console = console

    async def spends(self) -> tuple[Payment, list[Receipt]]:
        """Two payments under a budget that has room for one; the second, and both receipts."""
        budget = await self._client.budget(_BUDGET).set(
            BudgetPolicy(amount_sat=5_000), by="the operator"
        )
        self._say(f"budget {budget.name}: {budget.policy}")
        receipts = []
        for _ in range(2):
            invoice = await self._home.network.nodes["carol"].invoice(3_000_000)
            payment = await self._client.pay(_within_the_budget(invoice))
            receipts.append(await payment.receipt())
        if refusal := receipts[-1].refusal:
            self._say(refusal.words)
        return payment, receipts

    async def plans(self) -> tuple[LiquidityRun, LiquidityPlan]:
        """What the autopilot would do, and why it leaves the rest alone."""
        policy = LiquidityPolicy(
            mode=Mode.EXPLAIN, rule=Rule(remote_below=0.45), max_fee_ppm=50_000, max_fee_sat=10_000
        )
        run = await self._client.liquidity(LiquidityRequest(node="alice", policy=policy))
        plan = await run.receipt()
        self._console.print(liquidity_rendering.plan(plan))
        return run, plan

    async def swaps(self) -> SwapReceipt:
        """A Loop Out, block by block."""
        swap = await self._client.swap(
            SwapRequest(
                key="room-to-receive",
                node="alice",
                direction=Direction.OUT,
                amount_sat=_SWAPPED_SAT,
                limits=SwapLimits(total=Cap(sat=20_000)),
            )
        )
        seen: set[SwapState] = set()

        async def mine_and_look() -> SwapView:
            view = await swap.view()
            if view.state not in seen:
                seen.add(view.state)
                if words := _TOLD.get(view.state):
                    self._say(f"{view.state}: {words}")
            if view.state not in SWAP.terminal and view.swap_hash:
                await self._home.network.mine(1)
            return view

        with self._console.status("mining …"):
            await eventually(
                mine_and_look,
                lambda view: view.state in SWAP.terminal,
                what="the end of a Loop Out",
                timeout_seconds=180,
                # loopd sweeps a second after the last block: faster ones would hold it up.
                every_seconds=2,
            )
        return await swap.receipt()

    def _say(self, words: str) -> None:
        self._console.print(f"    {words}", style="dim")


def _within_the_budget(invoice: TestInvoice) -> PaymentRequest:
    return PaymentRequest(
        node="alice",
        invoice=invoice.payment_request,
        fee_limit=FeeLimit(sat=100),
        budgets=(_BUDGET,),
    )
