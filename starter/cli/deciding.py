"""`fulgurite approve` and `fulgurite reject`: a person's word, whoever asks for it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from fulgurite.errors import InvalidRequestError
from fulgurite.leases.receipts import LeaseView
from fulgurite.leases.states import LEASE
from fulgurite.liquidity.plans import OVER, LiquidityPlan
from fulgurite.payments.receipts import PaymentView
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PAYMENT
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.states import LADDER
from fulgurite.swaps.receipts import SwapView
from fulgurite.swaps.states import SWAP
from fulgurite.swaps.words import where
from starter.cli import (
    lease_rendering,
    liquidity_rendering,
    rendering,
    stuck_rendering,
    swap_rendering,
)
from starter.cli.exits import ExitCode
from starter.cli.options import asked
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
    wide_err,
)

Undecided = PaymentView | LadderView | SwapView | LeaseView | LiquidityPlan
_OVER = PAYMENT.terminal | LADDER.terminal | SWAP.terminal | LEASE.terminal | OVER

Id = Annotated[
    str,
    typer.Argument(
        metavar="WORKFLOW-ID",
        help="payment/HASH, swap/KEY or lease/KEY above a threshold, stuck/HASH for a close, "
        "liquidity/… for a plan.",
    ),
]
Who = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who decides. [the user of this system]"),
]


@command
async def approve(
    workflow_id: Id,
    who: Who = None,
    note: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Says yes to whatever asks. Shows what is at stake, and asks first."""
    approval = asked(Approval, approver=who or getpass.getuser(), note=note)
    client = await connected()
    if not force:
        view = _shown(await client.undecided(workflow_id).view())
        confirm(f"{_yes(view)} as {approval.approver}?", force=force)
    return _told(await client.approve(workflow_id, approval), said="Approved.", as_json=as_json)


@command
async def reject(
    workflow_id: Id,
    who: Who = None,
    reason: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Says no: nothing is sent, or LND alone goes to the chain. Asks first."""
    rejection = asked(Rejection, approver=who or getpass.getuser(), reason=reason)
    client = await connected()
    if not force:
        view = _shown(await client.undecided(workflow_id).view())
        confirm(f"{_no(view)} as {rejection.approver}?", force=force)
    return _told(await client.reject(workflow_id, rejection), said="Rejected.", as_json=as_json)


def _shown(view: Undecided) -> Undecided:
    """What is decided about. Raises InvalidRequestError where that is no longer a question."""
    if view.state in _OVER:
        raise InvalidRequestError(f"too late: it is {view.state}")
    match view:
        case PaymentView():
            err.print(rendering.view(view), soft_wrap=True)
        case LadderView():
            err.print(stuck_rendering.at_stake(view), soft_wrap=True)
        case SwapView():
            err.print(swap_rendering.view(view), soft_wrap=True)
        case LeaseView():
            err.print(lease_rendering.view(view), soft_wrap=True)
        case LiquidityPlan():
            wide_err.print(liquidity_rendering.plan(view))
    return view


def _yes(view: Undecided) -> str:
    match view:
        case PaymentView():
            return f"Approve {view.amount_msat} from {view.node}"
        case LadderView():
            count = len(view.stakes)
            channels = "its channel" if count == 1 else f"its {count} channels"
            return f"Have {view.node} force close {channels}, which cannot be called back,"
        case SwapView():
            return f"Swap {view.amount_sat:,} sat {where(view.direction)} of {view.node}"
        case LeaseView():
            most = f", for up to {view.quote.cost_sat:,} sat" if view.quote else ""
            return f"Lease {view.request.amount_sat:,} sat for {view.node}{most},"
        case LiquidityPlan():
            return f"Move it on {view.node}"


def _no(view: Undecided) -> str:
    match view:
        case PaymentView():
            return f"Reject {view.amount_msat} from {view.node}"
        case LadderView():
            return "Leave it to LND, which goes to the chain when the HTLC expires,"
        case SwapView():
            return f"Swap nothing of {view.node}"
        case LeaseView():
            return f"Lease nothing for {view.node}"
        case LiquidityPlan():
            return f"Move nothing on {view.node}"


def _told(view: Undecided, *, said: str, as_json: bool) -> ExitCode:
    """The workflow has taken the word; what follows from it is seen a moment later."""
    if as_json:
        print_json(view)
        return ExitCode.DONE
    out.print(f"{said} What follows:")
    match view:
        case PaymentView():
            out.print(f"  fulgurite payment watch {view.payment_hash}", soft_wrap=True)
        case LadderView():
            out.print(f"  fulgurite payment stuck {view.payment_hash} --follow", soft_wrap=True)
        case SwapView():
            out.print(f"  fulgurite swap watch {view.key}", soft_wrap=True)
        case LeaseView():
            out.print(f"  fulgurite lease watch {view.key}", soft_wrap=True)
        case LiquidityPlan():
            out.print(f"  fulgurite liquidity history {view.node}", soft_wrap=True)
    return ExitCode.DONE
