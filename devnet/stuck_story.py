"""The demo's longest chapter: a payment hangs, and the chain has to decide."""

from __future__ import annotations

from rich.console import Console

from devnet.house import House
from devnet.node import ACCEPTED
from devnet.waiting import eventually
from fulgurite.money import FeeLimit
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Approval, PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView
from fulgurite.stuck.states import LADDER, LadderState
from starter.client import FulguriteClient
from starter.payment import Payment
from starter.stuck import StuckPayment

_AMOUNT_MSAT = 150_000_000
# Two hops' worth of blocks until the HTLC expires, and the sweeps after that.
_MOST_BLOCKS = 400
_TOLD = {
    LadderState.CLOSING: "the force close is ordered, once",
    LadderState.CONFIRMING: "the commitment is published",
    LadderState.MATURING: "it is confirmed; our balance waits for CSV, the HTLC for its expiry",
    LadderState.SWEEPING: "the HTLC timed out on chain: LND says FAILED; the rest is swept",
    LadderState.RESOLVED_ON_CHAIN: "the last output is back in the wallet",
}


class StuckStory:
    """Alice pays carol, and carol is gone."""

    def __init__(self, home: House, client: FulguriteClient, console: Console) -> None:
        self._home = home
        self._client = client
        self._console = console

    async def tell(self) -> tuple[Payment, Receipt, LadderReceipt]:
        """From the payment to the last sweep."""
        nodes = self._home.network.nodes
        invoice = await nodes["carol"].hold_invoice(_AMOUNT_MSAT, memo="a ship")
        payment = await self._client.pay(
            PaymentRequest(
                node="alice",
                invoice=invoice.payment_request,
                fee_limit=FeeLimit(sat=1_000),
                timeout_seconds=2,
                stuck_after_seconds=1,
                ladder=LadderPolicy(reconnect_seconds=0),
            )
        )
        await nodes["carol"].wait_for_invoice(invoice, ACCEPTED)
        await self._home.network.stop_node("carol")
        self._say("carol is gone, with the payment in her hands …")
        try:
            ladder = self._client.stuck(payment.payment_hash)
            asked = await eventually(
                lambda: self._seen(ladder, payment),
                lambda view: view is not None and view.state is LadderState.AWAITING_APPROVAL,
                what="a ladder that asks a person",
            )
            assert asked is not None
            self._ask(asked)
            await ladder.approve(Approval(approver="the operator", note="she will not come back"))
            receipt_of_ladder = await self._climb(ladder)
        finally:
            await self._home.network.start_node("carol")
        return payment, await payment.receipt(), receipt_of_ladder

    async def _seen(self, ladder: StuckPayment, payment: Payment) -> LadderView | None:
        """Once the payment has begun it."""
        stuck = (await payment.view()).state is PaymentState.STUCK
        return await ladder.view() if stuck else None

    def _ask(self, view: LadderView) -> None:
        [stake] = view.stakes
        self._say(
            f"{stake.hung_sat:,} sat hang for {view.blocks_to_expiry} blocks; a force close costs "
            f"{stake.commit_fee_sat:,} sat and the sweeps, and locks {stake.local_sat:,} sat for "
            f"{stake.csv_blocks} blocks: a person says yes …"
        )

    async def _climb(self, ladder: StuckPayment) -> LadderReceipt:
        """A block at a time, with the rungs as they come."""
        seen: set[LadderState] = set()
        mined = 0
        with self._console.status("mining …") as counter:

            async def mine_and_look() -> LadderView:
                nonlocal mined
                view = await ladder.view()
                if view.state not in seen:
                    seen.add(view.state)
                    self._rung(view, mined)
                if view.state not in LADDER.terminal:
                    assert mined < _MOST_BLOCKS, view
                    await self._home.network.mine(1)
                    mined += 1
                height = view.tip.height if view.tip else 0
                counter.update(f"block {height:,}, {mined} mined: {view.state}")
                return view

            await eventually(
                mine_and_look,
                lambda view: view.state in LADDER.terminal,
                what="the end of the ladder",
                timeout_seconds=300,
                every_seconds=0.2,
            )
        return await ladder.receipt()

    def _rung(self, view: LadderView, mined: int) -> None:
        words = _TOLD.get(view.state)
        if words:
            height = view.tip.height if view.tip else 0
            self._say(f"block {height:,} (+{mined}) {view.state}: {words}")

    def _say(self, words: str) -> None:
        self._console.print(f"    {words}", style="dim")
