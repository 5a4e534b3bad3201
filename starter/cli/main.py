"""The `fulgurite` command, put together."""

from __future__ import annotations

import typer

from starter.cli import (
    budgets,
    channels,
    events,
    invoices,
    keys,
    leases,
    liquidity,
    payments,
    rebalances,
    schedules,
    swaps,
)
from starter.cli.deciding import approve, reject
from starter.cli.exits import EPILOG
from starter.cli.pay import pay
from starter.cli.reconcile import reconcile
from starter.connect import leave

app = typer.Typer(
    name="fulgurite",
    help="Lightning payments that survive crashes: LND through Temporal.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
app.command(epilog=EPILOG)(pay)
app.add_typer(payments.app, name="payment")
app.add_typer(invoices.app, name="invoice")
app.add_typer(channels.app, name="channel")
app.add_typer(budgets.app, name="budget")
app.add_typer(leases.app, name="lease")
app.add_typer(rebalances.app, name="rebalance")
app.add_typer(swaps.app, name="swap")
app.command(epilog=EPILOG)(approve)
app.command(epilog=EPILOG)(reject)
app.add_typer(events.app, name="events")
app.command(epilog=EPILOG)(reconcile)
app.add_typer(liquidity.app, name="liquidity")
app.add_typer(schedules.app, name="schedules")
app.add_typer(keys.app, name="key")


def main() -> None:
    """Console script `fulgurite`."""
    try:
        app(prog_name="fulgurite")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
