"""`fulgurite pay`."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import NodePubkey
from fulgurite.payments.requests import Keysend, Order, PaymentRequest, understand
from settings import Settings
from starter.cli import rendering
from starter.cli.documents import Outcome
from starter.cli.exits import ExitCode, of_state
from starter.cli.following import left_under_way
from starter.cli.options import asked, msat, only_node
from starter.cli.progress import teller, wait_for
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
from starter.client import keysend as new_keysend
from starter.errors import TemporalUnavailableError
from starter.payment import Payment

# A percent is 10,000 parts per million.
_PPM_PER_PERCENT = 10_000

_PAYMENT, _ROUTE, _TIME = "What to pay", "Which way", "How long, and who is asked"


@command
async def pay(
    invoice: Annotated[
        str | None, typer.Argument(help="A BOLT11 invoice; - reads it from stdin.")
    ] = None,
    *,
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="The node that pays. Not needed where one node is configured.",
            rich_help_panel=_PAYMENT,
        ),
    ] = None,
    keysend: Annotated[
        str | None,
        typer.Option(
            metavar="PUBKEY", help="Pay this node without an invoice.", rich_help_panel=_PAYMENT
        ),
    ] = None,
    amount_sat: Annotated[
        int | None,
        typer.Option(
            metavar="SAT",
            help="For keysend, and for invoices that name no amount.",
            rich_help_panel=_PAYMENT,
        ),
    ] = None,
    amount_msat: Annotated[
        int | None,
        typer.Option(metavar="MSAT", help="The same in millisatoshi.", rich_help_panel=_PAYMENT),
    ] = None,
    max_fee_sat: Annotated[
        int | None,
        typer.Option(
            metavar="SAT",
            help="The most to pay in routing fees. Give one of the four; 0: free routes only.",
            rich_help_panel=_PAYMENT,
        ),
    ] = None,
    max_fee_msat: Annotated[
        int | None,
        typer.Option(metavar="MSAT", help="The same in millisatoshi.", rich_help_panel=_PAYMENT),
    ] = None,
    max_fee_ppm: Annotated[
        int | None,
        typer.Option(
            metavar="PPM", help="The same in millionths of the amount.", rich_help_panel=_PAYMENT
        ),
    ] = None,
    max_fee_percent: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT", help="The same in percent, such as 0.5.", rich_help_panel=_PAYMENT
        ),
    ] = None,
    max_parts: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Split into at most so many HTLCs. [16]", rich_help_panel=_ROUTE
        ),
    ] = None,
    outgoing_channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL",
            help="Leave through this channel; repeat it to allow several.",
            rich_help_panel=_ROUTE,
        ),
    ] = None,
    last_hop: Annotated[
        str | None,
        typer.Option(
            metavar="PUBKEY", help="Arrive through this peer of the payee.", rich_help_panel=_ROUTE
        ),
    ] = None,
    time_preference: Annotated[
        float | None,
        typer.Option(
            metavar="-1…1",
            help="-1: cheap before fast; 1: fast before cheap. [0]",
            rich_help_panel=_ROUTE,
        ),
    ] = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="How long one send may start new HTLCs. [60]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    deadline: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="After this no new attempt begins; what is in flight is followed on. [3600]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    stuck_after: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="In flight for longer is called STUCK. [600]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    approval_above_sat: Annotated[
        int | None,
        typer.Option(
            metavar="SAT", help="Above this a person has to approve.", rich_help_panel=_TIME
        ),
    ] = None,
    approval_expires: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", help="How long to wait for that. [86400]", rich_help_panel=_TIME
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What counts it, beside the node's own; repeat it for several.",
            rich_help_panel=_TIME,
        ),
    ] = None,
    wait_for_budget: Annotated[
        bool,
        typer.Option(
            "--wait-for-budget",
            help="Where there is no room: wait for it until the deadline.",
            rich_help_panel=_TIME,
        ),
    ] = False,
    wait_for_liquidity: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="Where balance or a route is wanting: tell the autopilot, and wait so long.",
            rich_help_panel=_TIME,
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Start it, and do not wait for the verdict.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Pays a BOLT11 invoice, or a node by keysend.

    The payment is durable once it has started: it goes on without this command, and the
    same invoice given again joins it. Ctrl-C leaves it under way.
    """
    settings = configuration.load()
    request = asked(
        PaymentRequest,
        node=node or only_node(settings, "pays"),
        invoice=_invoice(invoice),
        keysend=_keysend(keysend, settings),
        amount_msat=msat("amount", amount_sat, amount_msat),
        fee_limit=_fee_limit(max_fee_sat, max_fee_msat, max_fee_ppm, max_fee_percent),
        max_parts=max_parts,
        outgoing_channels=outgoing_channel or None,
        last_hop=last_hop,
        time_preference=time_preference,
        timeout_seconds=timeout,
        deadline_seconds=deadline,
        stuck_after_seconds=stuck_after,
        approval_above_msat=msat("approval-above", approval_above_sat, None),
        approval_expires_seconds=approval_expires,
        budgets=budget or None,
        wait_for_budget=wait_for_budget or None,
        wait_for_liquidity_seconds=wait_for_liquidity,
    )
    order = understand(request)
    if not force:
        err.print(rendering.order(request, order), soft_wrap=True)
        confirm(f"Pay {order.amount} from {request.node}?", force=force)
    try:
        payment = await _start(settings, request, order)
        if payment.attached:
            err.print("This payment is under way already, on its own terms: joined it.")
        if no_wait:
            return _left_under_way(payment, as_json=as_json)
        return await waited(payment, as_json=as_json)
    except asyncio.CancelledError:
        # Ctrl-C. Perhaps before Temporal answered: then the hash tells.
        err.print("\nLeft under way. See what became of it:")
        err.print(f"  fulgurite payment watch {order.payment_hash}", soft_wrap=True)
        if as_json:
            print_json(Outcome(payment_hash=order.payment_hash, attached=False, receipt=None))
        return ExitCode.NO_VERDICT


async def waited(payment: Payment, *, as_json: bool) -> ExitCode:
    """Waits for the receipt, with progress on stderr, and prints it."""
    with teller(err, quiet=as_json) as progress:
        receipt = await wait_for(payment.receipt(), payment.watch, rendering.moment, progress)
    if as_json:
        print_json(
            Outcome(payment_hash=payment.payment_hash, attached=payment.attached, receipt=receipt)
        )
    else:
        out.print(rendering.receipt(receipt), soft_wrap=True)
    return of_state(receipt.status)


def _left_under_way(payment: Payment, *, as_json: bool) -> ExitCode:
    return left_under_way(
        Outcome(payment_hash=payment.payment_hash, attached=payment.attached, receipt=None),
        "Under way. Its verdict:",
        f"fulgurite payment watch {payment.payment_hash}",
        as_json=as_json,
    )


async def _start(settings: Settings, request: PaymentRequest, order: Order) -> Payment:
    client = await connected(settings)
    try:
        return await client.pay(request)
    except TemporalUnavailableError as error:
        again = (
            "Repeating this command would be a second payment: look first"
            if request.keysend
            else "Repeating this command is safe; to look"
        )
        raise TemporalUnavailableError(
            f"{error}. It may have been started all the same. {again}: "
            f"fulgurite payment show {order.payment_hash}"
        ) from error


def _invoice(given: str | None) -> str | None:
    if given != "-":
        return given
    if sys.stdin.isatty():
        err.print("Paste the invoice, then press Ctrl-D.")
    with interruptible():
        return sys.stdin.read().strip()


def _keysend(destination: str | None, settings: Settings) -> Keysend | None:
    if destination is None:
        return None
    try:
        pubkey = NodePubkey(destination)
    except ValueError as error:
        raise InvalidRequestError(f"--keysend: {error}") from error
    try:
        sealing_key = settings.public_sealing_key()
    except FulguriteError as error:
        raise InvalidRequestError(
            f"a keysend needs the workers' sealing key: set FULGURITE_SEALING_KEY to what "
            f"`fulgurite key show` prints there ({error})"
        ) from error
    return new_keysend(pubkey, sealing_key=sealing_key)


def _fee_limit(
    sat: int | None, msat: int | None, ppm: int | None, percent: str | None
) -> dict[str, int]:
    limits = {"sat": sat, "msat": msat, "ppm": ppm if percent is None else _ppm(percent)}
    given = {unit: limit for unit, limit in limits.items() if limit is not None}
    if len(given) != 1 or None not in {ppm, percent}:
        raise InvalidRequestError(
            "give the fee limit once: --max-fee-sat, --max-fee-msat, --max-fee-ppm or "
            "--max-fee-percent (0: free routes only)"
        )
    return given


def _ppm(percent: str) -> int:
    try:
        ppm = Decimal(percent.removesuffix("%")) * _PPM_PER_PERCENT
    except InvalidOperation:
        raise InvalidRequestError("--max-fee-percent is a number, such as 0.5") from None
    if not ppm.is_finite() or ppm != int(ppm):
        raise InvalidRequestError("--max-fee-percent has at most four decimal places")
    return int(ppm)
