"""`fulgurite budget …`: how much may be spent, and how much of it is."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Annotated, Final

import typer

from fulgurite.budgets.policy import BudgetPolicy, Window
from fulgurite.budgets.receipts import BudgetView
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT, Msat
from starter.cli import budget_rendering
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.options import asked, seconds
from starter.cli.progress import busy
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
    wide,
)
from starter.errors import NotRetainedError

app = typer.Typer(help="Budgets: how much may be spent, and in which time.", no_args_is_help=True)

_MOST: Final = MAX_MSAT // MSAT_PER_SAT

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as alice-payments.")]


@app.command("list", epilog=EPILOG)
@command
async def list_(as_json: Json = False) -> ExitCode:
    """Lists budgets as they stand. With --json one a line."""
    client = await connected()
    async with busy(err, "asking", hint="A worker has to answer.", quiet=as_json):
        views = await client.budgets()
    if as_json:
        for view in views:
            print_json(view)
    elif views:
        wide.print(budget_rendering.summaries(views))
    else:
        err.print("No budgets: `fulgurite budget set NAME --amount-sat N` makes one.")
    return ExitCode.DONE


@app.command(epilog=EPILOG)
@command
async def show(name: Name, as_json: Json = False) -> ExitCode:
    """Shows what is spent, reserved and free, and who holds some of it for longest."""
    client = await connected()
    async with busy(err, "asking", hint="A worker has to answer.", quiet=as_json):
        view = await client.budget(name).view()
    return _shown(view, as_json=as_json)


@app.command("set", epilog=EPILOG)
@command
async def set_(
    name: Name,
    *,
    amount_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="Of everything that leaves, fees included; 0: nothing."),
    ] = None,
    fee_sat: Annotated[
        int | None, typer.Option(metavar="SAT", help="Of fees alone; 0: free routes only.")
    ] = None,
    window: Annotated[
        Window | None,
        typer.Option(case_sensitive=False, help="Begins anew by the clock, in UTC. [day]"),
    ] = None,
    rolling: Annotated[
        str | None, typer.Option(metavar="TIME", help="Instead: at every moment, so long before.")
    ] = None,
    who: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who sets it. [the user]")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Says how much may be spent from now on. What is spent and reserved counts on.

    Both limits are replaced: one that is not given is none. It holds until somebody sets
    another, or the workers' configuration of this budget is changed.
    """
    policy = asked(
        BudgetPolicy,
        amount_sat=amount_sat,
        fee_sat=fee_sat,
        window=window,
        rolling_seconds=seconds("--rolling", rolling),
    )
    client = await connected()
    budget = client.budget(name)
    if not force:
        before = None
        with suppress(NotRetainedError):
            before = (await budget.view()).policy
        err.print(budget_rendering.changed(budget.name, before, policy), soft_wrap=True)
        confirm(f"Set {budget.name}?", force=force)
    view = await budget.set(policy, by=who or getpass.getuser())
    return _shown(view, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def release(
    name: Name,
    holder: Annotated[
        str, typer.Argument(metavar="HOLDER", help="Who holds it: `budget show` has them.")
    ],
    *,
    spent_sat: Annotated[
        int,
        typer.Option(metavar="SAT", min=0, max=_MOST, help="What of it has left, without fees."),
    ] = 0,
    fee_sat: Annotated[
        int,
        typer.Option(metavar="SAT", min=0, max=_MOST, help="Fees that were paid beside it."),
    ] = 0,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Frees what a workflow that was ended by force has left reserved; what has left counts.

    Mostly not for payments: asked for again, a payment learns LND's verdict and tells the budget.
    What is in flight settles all the same, and the budget is then overdrawn.
    """
    client = await connected()
    confirm(f"Is nothing of {holder} in flight any more, for certain?", force=force)
    spent, fee = Msat.from_sat(spent_sat), Msat.from_sat(fee_sat)
    view = await client.budget(name).release(holder, spent_msat=spent, fee_msat=fee)
    return _shown(view, as_json=as_json)


def _shown(view: BudgetView, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(view)
    else:
        out.print(budget_rendering.view(view), soft_wrap=True)
    return ExitCode.DONE
