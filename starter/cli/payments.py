"""`fulgurite payment …`: payments that have been started, by whomever."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.receipts import PaymentView
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PaymentState
from starter.cli import rendering
from starter.cli.documents import Outcome, Proof
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.keys import unsealing_key
from starter.cli.lists import Limit, listed
from starter.cli.options import asked
from starter.cli.pay import waited
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
)
from starter.cli.stuck import stuck

app = typer.Typer(help="Payments under way, and finished ones.", no_args_is_help=True)
app.command(epilog=EPILOG)(stuck)

Hash = Annotated[str, typer.Argument(metavar="HASH", help="The payment hash.")]
Who = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who decides. [the user of this system]"),
]


@app.command(epilog=EPILOG)
@command
async def show(payment_hash: Hash, as_json: Json = False) -> ExitCode:
    """Shows how a payment stands, with its timeline."""
    view = await (await connected()).payment(payment_hash).view()
    if as_json:
        print_json(view)
    else:
        out.print(rendering.view(view), soft_wrap=True)
    return ExitCode.DONE


@app.command("list", epilog=EPILOG)
@command
async def list_(
    state: Annotated[
        PaymentState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only from this node.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists payments: those under way, then the latest ended. With --json one document a line."""
    client = await connected()
    return await listed(
        client.list_payments(state=state, node=node, limit=limit),
        limit,
        rendering.summaries,
        nothing="No payments. Temporal's index may be a second behind.",
        as_json=as_json,
    )


@app.command(epilog=EPILOG)
@command
async def watch(payment_hash: Hash, as_json: Json = False) -> ExitCode:
    """Follows a payment to its end, and prints the receipt. Ctrl-C leaves it under way."""
    client = await connected()
    payment = client.payment(payment_hash)
    try:
        return await waited(payment, as_json=as_json)
    except asyncio.CancelledError:
        err.print("\nLeft under way.")
        if as_json:
            print_json(Outcome(payment_hash=payment.payment_hash, attached=True, receipt=None))
        return ExitCode.NO_VERDICT


@app.command(epilog=EPILOG)
@command
async def approve(
    payment_hash: Hash,
    who: Who = None,
    note: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Says yes to a payment that waits for a person."""
    approval = asked(Approval, approver=who or getpass.getuser(), note=note)
    payment = (await connected()).payment(payment_hash)
    if not force:
        view = await payment.view()
        err.print(rendering.view(view), soft_wrap=True)
        confirm(f"Approve {view.amount_msat} from {view.node} as {approval.approver}?", force=force)
    return await _ordered(payment.approve(approval), "Approved: it is paid now.", as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def reject(
    payment_hash: Hash,
    who: Who = None,
    reason: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    as_json: Json = False,
) -> ExitCode:
    """Says no to a payment that waits for a person."""
    rejection = asked(Rejection, approver=who or getpass.getuser(), reason=reason)
    payment = (await connected()).payment(payment_hash)
    return await _ordered(payment.reject(rejection), "Rejected: nothing is sent.", as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(
    payment_hash: Hash,
    reason: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    as_json: Json = False,
) -> ExitCode:
    """Stops new attempts. What is in flight stays so until LND ends it."""
    cancellation = asked(Cancellation, reason=reason)
    payment = (await connected()).payment(payment_hash)
    said = "No new attempts. What is in flight, LND ends."
    return await _ordered(payment.cancel(cancellation), said, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def proof(
    payment_hash: Hash,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The unsealing key. [FULGURITE_UNSEALING_KEY_PATH]"),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Opens the proof of payment, the preimage, and prints it."""
    private = unsealing_key(key, configuration.load())
    payment = (await connected()).payment(payment_hash)
    view = await payment.view()
    sealed = view.update.sealed_preimage if view.update else None
    if sealed is None:
        raise InvalidRequestError(
            f"there is no proof: the payment is {view.state}, and only a settled one has one"
        )
    confirm("Whoever knows the preimage can claim to have paid. Print it?", force=force)
    preimage = private.open(sealed)
    if not preimage.settles(view.payment_hash):
        raise InvalidRequestError("what was sealed is not this payment's preimage: report it")
    opened = Proof(payment_hash=view.payment_hash, preimage=preimage.reveal().hex())
    if as_json:
        print_json(opened)
    else:
        typer.echo(opened.preimage)
    return ExitCode.DONE


async def _ordered(order: Awaitable[PaymentView], said: str, *, as_json: bool) -> ExitCode:
    """The workflow has taken the order; what follows from it is seen a moment later."""
    view = await order
    if as_json:
        print_json(view)
    else:
        out.print(said)
        out.print(f"  fulgurite payment watch {view.payment_hash}", soft_wrap=True)
    return ExitCode.DONE
