"""`fulgurite invoice create`."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import DecideBy, Hold, InvoiceRequest, Verdict
from starter.cli import invoice_rendering, qr
from starter.cli.exits import ExitCode
from starter.cli.invoice_waiting import waited
from starter.cli.options import asked, msat, only_node, seconds
from starter.cli.progress import busy
from starter.cli.running import Json, command, connected, err, out, print_json
from starter.errors import TemporalUnavailableError

_INVOICE, _TIME, _HOLD = "What the payer sees", "How long", "Hold invoices"
_HINT = "No answer yet: is a worker running, and the node up? Ctrl-C leaves it to them."


@command
async def create(
    *,
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="The node that receives. Not needed where one node is configured.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Your name for it, such as an order number: the same key and options give the "
            "same invoice. Made and printed when not given."
        ),
    ] = None,
    amount_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="The amount.", rich_help_panel=_INVOICE),
    ] = None,
    amount_msat: Annotated[
        int | None,
        typer.Option(metavar="MSAT", help="The same in millisatoshi.", rich_help_panel=_INVOICE),
    ] = None,
    any_amount: Annotated[
        bool,
        typer.Option("--any-amount", help="The payer chooses.", rich_help_panel=_INVOICE),
    ] = False,
    memo: Annotated[
        str | None, typer.Option(help="What it is for.", rich_help_panel=_INVOICE)
    ] = None,
    description_hash: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="SHA-256 of a longer description, instead of a memo.",
            rich_help_panel=_INVOICE,
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Tell the payer the way through unannounced channels.",
            rich_help_panel=_INVOICE,
        ),
    ] = False,
    fallback_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Where to pay on chain instead.", rich_help_panel=_INVOICE
        ),
    ] = None,
    expiry: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long it can be paid: 90s, 15m, 1h, 2d. [24h]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    late_watch: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long late payers are looked out for after that. [1h]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    cltv_blocks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Blocks that the last hop leaves us. [LND's own; 144 for hold invoices]",
            rich_help_panel=_TIME,
        ),
    ] = None,
    hold: Annotated[
        DecideBy | None,
        typer.Option(
            metavar="POLICY",
            case_sensitive=False,
            help="Held when it is paid, until it is decided: UPDATE (by you), ACCEPT_ALL, "
            "AMOUNT, CALLBACK or WORKFLOW.",
            rich_help_panel=_HOLD,
        ),
    ] = None,
    hold_min_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="AMOUNT: settle from this.", rich_help_panel=_HOLD),
    ] = None,
    hold_max_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="AMOUNT: settle up to this.", rich_help_panel=_HOLD),
    ] = None,
    hold_callback: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="CALLBACK: the configured endpoint that is asked.",
            rich_help_panel=_HOLD,
        ),
    ] = None,
    hold_workflow: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="WORKFLOW: the workflow that is signalled.", rich_help_panel=_HOLD
        ),
    ] = None,
    hold_for: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="How long to wait for a decision. [1h]", rich_help_panel=_HOLD
        ),
    ] = None,
    hold_default: Annotated[
        Verdict | None,
        typer.Option(
            metavar="VERDICT",
            case_sensitive=False,
            help="What happens when nobody has decided by then: CANCEL, SETTLE, or KEEP "
            "where a workflow decides about a hash of its own. [CANCEL]",
            rich_help_panel=_HOLD,
        ),
    ] = None,
    hold_payment_hash: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="For a preimage that somebody else holds; `settle` has to bring it.",
            rich_help_panel=_HOLD,
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Comes back in every event; repeat it for more."),
    ] = None,
    notify_workflow: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A workflow that is signalled with every event."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is paid.")] = False,
    show_qr: Annotated[
        bool | None,
        typer.Option("--qr/--no-qr", help="A QR code on stderr. [where a person looks on]"),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Makes an invoice and prints its payment request.

    It is watched from then on, whether or not this command waits. Repeating it with the
    same key and options gives the same invoice.
    """
    settings = configuration.load()
    if sum(given for given in (any_amount, amount_sat is not None, amount_msat is not None)) != 1:
        raise InvalidRequestError("give --amount-sat, --amount-msat or --any-amount")
    policy = {
        "min_msat": msat("hold-min", hold_min_sat, None),
        "max_msat": msat("hold-max", hold_max_sat, None),
        "callback": hold_callback,
        "workflow_id": hold_workflow,
        "decide_within_seconds": seconds("--hold-for", hold_for),
        "default": hold_default,
        "payment_hash": hold_payment_hash,
    }
    if hold is None and any(value is not None for value in policy.values()):
        raise InvalidRequestError("the --hold-… options go with --hold")
    request = asked(
        InvoiceRequest,
        key=key or str(uuid.uuid4()),
        node=node or only_node(settings, "receives"),
        amount_msat=msat("amount", amount_sat, amount_msat),
        memo=memo,
        description_hash=description_hash,
        private_channels=private,
        fallback_address=fallback_address,
        expiry_seconds=seconds("--expiry", expiry),
        late_watch_seconds=seconds("--late-watch", late_watch),
        cltv_expiry_blocks=cltv_blocks,
        hold=None if hold is None else asked(Hold, decide_by=hold, **policy),
        metadata=dict(_pair(each) for each in metadata or ()),
        notify_workflow_id=notify_workflow,
    )
    client = await connected(settings)
    try:
        async with busy(err, f"making {request.key}", hint=_HINT, quiet=as_json):
            created = await client.create_invoice(request)
    except asyncio.CancelledError:
        err.print(f"\nLeft to be made. The same options with --key {request.key} give it.")
        return ExitCode.NO_VERDICT
    except TemporalUnavailableError as error:
        raise TemporalUnavailableError(
            f"{error}. It may have been made all the same: repeat this with --key {request.key}"
        ) from error
    _tell(created, show_qr=show_qr, as_json=as_json)
    if not wait:
        return ExitCode.DONE
    return await waited(await client.invoice(created.payment_hash), as_json=as_json)


def _tell(created: CreatedInvoice, *, show_qr: bool | None, as_json: bool) -> None:
    """The payment request on stdout, alone; what else a person wants to know beside it."""
    if as_json:
        print_json(created)
    else:
        err.print(invoice_rendering.created(created), soft_wrap=True)
        typer.echo(created.payment_request)
    watched_by_a_person = out.is_terminal and err.is_terminal and not as_json
    if watched_by_a_person if show_qr is None else show_qr:
        qr.show(err, created.payment_request)


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise InvalidRequestError("--metadata is NAME=VALUE, such as --metadata order=17")
    return name, value
