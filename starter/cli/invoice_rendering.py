"""What a person reads of invoices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.text import Text

from fulgurite.invoices.receipts import CreatedInvoice, InvoiceReceipt, InvoiceView
from fulgurite.invoices.requests import DecideBy, Hold
from fulgurite.invoices.states import InvoiceState
from fulgurite.money import Msat
from starter.cli.progress import Moment, plain
from starter.cli.rendering import Columns, ended_by_force, fields, span, time_of
from starter.lateness import LatePayers
from starter.summaries import InvoiceSummary

_COLORS: dict[InvoiceState, str] = {
    InvoiceState.SETTLED: "green",
    InvoiceState.PAID_LATE: "green",
    InvoiceState.ACCEPTED: "bold yellow",
    InvoiceState.CANCELED: "red",
    InvoiceState.CLOSED: "red",
    InvoiceState.EXPIRED: "red",
}

MEANINGS: dict[InvoiceState, str] = {
    InvoiceState.OPEN: "can be paid",
    InvoiceState.ACCEPTED: "paid, and held: settle or cancel it",
    InvoiceState.SETTLING: "decided: LND is being told to take the money",
    InvoiceState.CANCELING: "decided: LND is being told to send it back",
    InvoiceState.EXPIRED: "its time is over; LND has not said yet that nobody paid",
    InvoiceState.SETTLED: "paid: the money is ours",
    InvoiceState.PAID_LATE: "paid after its time: the money is ours all the same",
    InvoiceState.CANCELED: "called off; what was held went back",
    InvoiceState.CLOSED: "expired unpaid; LND takes no payment any more",
}
_WATCHED = "expired unpaid; late payers are looked out for"


def created(invoice: CreatedInvoice) -> Text:
    """An invoice to be given away; its payment request is printed by itself."""
    request = invoice.request
    return fields(
        [
            ("amount", amount(request.amount_msat)),
            ("to", request.node),
            ("for", request.memo or request.description_hash),
            ("hold", hold(request.hold)),
            ("expires", time_of(invoice.expires_at)),
            ("key", request.key),
            ("hash", invoice.payment_hash),
        ]
    )


def moment(view: InvoiceView) -> Moment:
    """What is shown while it is under way."""
    deadline = _deadline(view)
    words = f"{meaning(view)}: {deadline}" if deadline else meaning(view)
    return Moment(_headline(view.receipt), words, view.timeline)


def view(view: InvoiceView) -> Text:
    """An invoice at one moment, with its timeline."""
    open_ = view.state is InvoiceState.OPEN
    return Text("\n").join(
        [
            _headline(view.receipt),
            Text(f"  {meaning(view)}", style="dim"),
            fields(
                [
                    *_rows(view.receipt),
                    ("hold", hold(view.hold)),
                    ("decide", _deadline(view)),
                    ("request", view.payment_request if open_ else None),
                ]
            ),
            *([Text()] if view.timeline else []),
            *(Text(f"  {plain(line)}") for line in view.timeline),
        ]
    )


def receipt(receipt: InvoiceReceipt) -> Text:
    """What became of an invoice."""
    return Text("\n").join([_headline(receipt), fields(_rows(receipt))])


def meaning(view: InvoiceView) -> str:
    """The state in words."""
    if view.state is InvoiceState.EXPIRED and view.unpaid_for_good:
        return _WATCHED
    if view.state is InvoiceState.OPEN:
        return f"{MEANINGS[view.state]} until {time_of(view.receipt.expires_at)}"
    return MEANINGS[view.state]


def summaries(found: Iterable[InvoiceSummary]) -> Columns:
    """One line an invoice. Its key is enough for every other command."""
    rows = Columns("created (UTC)", "state", "amount", "node", "key")
    for invoice in found:
        state = _colored(invoice.state)
        state.append_text(ended_by_force(invoice.workflow_status))
        rows.add_row(
            f"{invoice.started_at:%m-%d %H:%M:%S}",
            state,
            amount(invoice.amount_msat),
            invoice.node or "",
            invoice.key or invoice.payment_hash,
        )
    return rows


def advice(figures: LatePayers) -> Text:
    """When payers came, and how long invoices should be open."""
    if not figures.payers:
        return Text(f"{figures.invoices:,} invoices have ended, and nobody came to pay one.")
    rows = [
        ("invoices", f"{figures.invoices:,} that have ended"),
        ("payers", f"{figures.payers:,}"),
        ("in time", _share(figures.in_time, figures)),
        *(
            (f"≤ {within.minutes} min late", _share(within.payers, figures))
            for within in figures.late
        ),
    ]
    if figures.longest_late_seconds is not None:
        rows.append(("longest late", span(figures.longest_late_seconds)))
    enough, usual = figures.expiry_seconds_for_95_percent, figures.usual_expiry_seconds
    if enough is None or usual is None:
        return fields(rows)
    words = (
        f"95 % of the payers came within {span(enough)}; most invoices are open for {span(usual)}"
    )
    next_ = f"make them with --expiry {enough}s or more" if enough > usual else "leave it so"
    return Text("\n").join([fields(rows), Text(f"{words}: {next_}.", style="bold")])


def _share(count: int, figures: LatePayers) -> str:
    return f"{count:,}  ({count / figures.payers:.1%} of the payers)"


def amount(asked: Msat | None) -> str:
    return "any amount" if asked is None else str(asked)


def hold(hold: Hold | None) -> str | None:
    """Who decides, in words."""
    if hold is None:
        return None
    match hold.decide_by:
        case DecideBy.ACCEPT_ALL:
            return "settled when it is paid"
        case DecideBy.AMOUNT:
            most = "" if hold.max_msat is None else f" up to {hold.max_msat}"
            return f"settled from {hold.min_msat}{most}, else canceled"
        case DecideBy.CALLBACK:
            by = f"endpoint {hold.callback}"
        case DecideBy.WORKFLOW:
            by = f"workflow {hold.workflow_id}"
        case DecideBy.UPDATE:
            by = "you"
    return f"decided by {by} within {span(hold.decide_within_seconds)}, else {hold.default}"


def _deadline(view: InvoiceView) -> str | None:
    """What a decision has to be made before, and what happens otherwise."""
    if not (view.decide_before and view.hold):
        return None
    block = f" and block {view.decide_before_height}" if view.decide_before_height else ""
    return f"before {time_of(view.decide_before)}{block}, else {view.hold.default}"


def _headline(receipt: InvoiceReceipt) -> Text:
    paid = receipt.paid_msat or receipt.amount_msat
    return Text.assemble(_colored(receipt.status), f"  {amount(paid)} to {receipt.node}")


def _rows(receipt: InvoiceReceipt) -> list[tuple[str, str | Text | None]]:
    differs = receipt.paid_msat and receipt.paid_msat != receipt.amount_msat
    late = None if receipt.late_seconds is None else f"{receipt.late_seconds:,} s after its expiry"
    if late and receipt.late_attempts:
        late = f"{receipt.late_attempts} came in vain, the last one {late}"
    return [
        ("key", receipt.key),
        ("hash", receipt.payment_hash),
        ("for", receipt.memo),
        ("asked", amount(receipt.amount_msat) if differs else None),
        ("overpaid", str(receipt.overpaid_msat) if receipt.overpaid_msat else None),
        ("in part", f"{receipt.partial_msat}, sent back" if receipt.partial_msat else None),
        ("parts", str(receipt.parts) if receipt.parts > 1 else None),
        ("expires", _with_distance(receipt.expires_at) if not receipt.paid_at else None),
        ("paid at", time_of(receipt.paid_at) if receipt.paid_at else None),
        ("settled at", time_of(receipt.settled_at) if receipt.settled_at else None),
        ("late", Text(late, style="bold yellow") if late else None),
        ("next", receipt.advice),
    ]


def _with_distance(at: datetime) -> str:
    seconds = round((at - datetime.now(UTC)).total_seconds())
    distance = span(abs(seconds))
    return f"{time_of(at)} ({f'in {distance}' if seconds > 0 else f'{distance} ago'})"


def _colored(state: InvoiceState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))
