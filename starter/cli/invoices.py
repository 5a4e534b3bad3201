"""`fulgurite invoice …`: invoices of ours, whoever asked for them."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.invoices.receipts import InvoiceView
from fulgurite.invoices.requests import InvoiceCancellation, Settlement
from fulgurite.invoices.states import InvoiceState
from fulgurite.sealing import Sealed
from starter.cli import invoice_rendering
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.invoice_create import create
from starter.cli.invoice_waiting import waited
from starter.cli.lists import Limit, listed
from starter.cli.options import asked
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    interruptible,
    out,
    print_json,
)
from starter.lateness import late_payers

app = typer.Typer(help="Invoices: made, watched, decided.", no_args_is_help=True)
app.command(epilog=EPILOG)(create)

Name = Annotated[str, typer.Argument(metavar="KEY_OR_HASH", help="Its key, or its payment hash.")]
Who = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who decides. [the user of this system]"),
]


@app.command(epilog=EPILOG)
@command
async def show(name: Name, as_json: Json = False) -> ExitCode:
    """Shows how an invoice stands, with its timeline."""
    view = await (await (await connected()).invoice(name)).view()
    if as_json:
        print_json(view)
    else:
        out.print(invoice_rendering.view(view), soft_wrap=True)
    return ExitCode.DONE


@app.command("list", epilog=EPILOG)
@command
async def list_(
    state: Annotated[
        InvoiceState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists invoices: those under way, then the latest ended. With --json one document a line."""
    client = await connected()
    return await listed(
        client.list_invoices(state=state, node=node, limit=limit),
        limit,
        invoice_rendering.summaries,
        nothing="No invoices. Temporal's index may be a second behind.",
        as_json=as_json,
    )


@app.command(epilog=EPILOG)
@command
async def watch(name: Name, as_json: Json = False) -> ExitCode:
    """Waits until an invoice is paid, and prints the receipt. Ctrl-C leaves it open."""
    return await waited(await (await connected()).invoice(name), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def settle(
    name: Name,
    who: Who = None,
    preimage_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The preimage as 64 hex characters, where the invoice was made for a hash; "
            "- reads stdin. Asked for when not given.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Takes the money of a held invoice."""
    invoice = await (await connected()).invoice(name)
    view = await invoice.view()
    theirs = view.hold is not None and view.hold.payment_hash is not None
    if preimage_file and not theirs:
        raise InvalidRequestError("we hold this invoice's preimage: leave --preimage-file out")
    settlement = asked(
        Settlement,
        by=who or getpass.getuser(),
        sealed_preimage=_sealed(preimage_file, invoice.payment_hash) if theirs else None,
    )
    _confirmed(view, f"Settle {view.receipt.paid_msat} as {settlement.by}?", force=force)
    return await _ordered(invoice.settle(settlement), "LND is told to settle it.", as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(
    name: Name,
    who: Who = None,
    reason: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Calls an invoice off. What is held for it goes back to the payer."""
    cancellation = asked(InvoiceCancellation, by=who or getpass.getuser(), reason=reason)
    invoice = await (await connected()).invoice(name)
    if not force:
        _confirmed(await invoice.view(), f"Cancel it as {cancellation.by}?", force=force)
    return await _ordered(
        invoice.cancel(cancellation), "LND is told to cancel it.", as_json=as_json
    )


@app.command(epilog=EPILOG)
@command
async def advice(
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Look at so many ended invoices, the latest first.")
    ] = 1_000,
    as_json: Json = False,
) -> ExitCode:
    """Says how late payers come, and which expiry would have been there for 95 % of them."""
    client = await connected()
    receipts = []
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} invoices read"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        reading = progress.add_task("", total=None)
        async for receipt in client.invoice_receipts(node=node, limit=limit):
            receipts.append(receipt)
            progress.advance(reading)
    figures = late_payers(receipts, node)
    if as_json:
        print_json(figures)
    else:
        out.print(invoice_rendering.advice(figures), soft_wrap=True)
    return ExitCode.DONE


def _confirmed(view: InvoiceView, question: str, *, force: bool) -> None:
    if not force:
        err.print(invoice_rendering.view(view), soft_wrap=True)
    confirm(question, force=force)


async def _ordered(order: Awaitable[InvoiceView], said: str, *, as_json: bool) -> ExitCode:
    """The workflow has taken the order; what follows from it is seen a moment later."""
    view = await order
    if as_json:
        print_json(view)
    else:
        out.print(said)
        name = view.receipt.key or view.receipt.payment_hash
        out.print(f"  fulgurite invoice watch {name}", soft_wrap=True)
    return ExitCode.DONE


def _sealed(file: Path | None, payment_hash: PaymentHash) -> Sealed:
    """The preimage, sealed to the workers' key before it leaves this process."""
    key = configuration.load().public_sealing_key()
    try:
        preimage = Preimage(bytes.fromhex(_secret_text(file).strip()))
    except ValueError:
        # Without the cause: its message may quote what was given.
        raise InvalidRequestError("a preimage is 64 hex characters") from None
    if not preimage.settles(payment_hash):
        raise InvalidRequestError(
            f"this preimage is not the one of {payment_hash}: its SHA-256 is another"
        )
    return key.seal(preimage)


def _secret_text(file: Path | None) -> str:
    """From a file, from stdin, or asked for without an echo; never from the command line."""
    try:
        if file and str(file) != "-":
            return file.read_text()
        with interruptible():
            if file:
                return sys.stdin.read()
            if sys.stdin.isatty():
                return getpass.getpass("Preimage (64 hex characters, not shown): ")
    except OSError as error:
        raise InvalidRequestError(f"cannot read {file}: {error.strerror}") from None
    raise InvalidRequestError(
        "this invoice was made for somebody else's hash: give --preimage-file, - for stdin"
    )
