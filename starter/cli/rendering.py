"""What a person reads: payments in a few lines, with what each state means."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.text import Text

from fulgurite.payments.receipts import OnChain, PaymentView, Receipt
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import PAYMENT, FailureReason, PaymentState
from starter.cli.progress import Moment, plain
from starter.summaries import PaymentSummary

_COLORS: dict[PaymentState, str] = {
    PaymentState.SUCCEEDED: "green",
    PaymentState.FAILED: "red",
    PaymentState.REFUSED: "red",
    PaymentState.STUCK: "bold yellow",
    PaymentState.RESOLVING_ON_CHAIN: "bold yellow",
    PaymentState.AWAITING_APPROVAL: "bold yellow",
    PaymentState.AWAITING_LIQUIDITY: "bold yellow",
}

MEANINGS: dict[PaymentState, str] = {
    PaymentState.REQUESTED: "accepted; nothing has moved",
    PaymentState.AWAITING_APPROVAL: "waits for a person; nothing has moved",
    PaymentState.RESERVING: "asks its budgets; nothing has moved",
    PaymentState.DISPATCHING: "being handed to LND",
    PaymentState.IN_FLIGHT: "LND has it; only LND can end it",
    PaymentState.STUCK: "in flight for longer than expected; only LND can end it",
    PaymentState.RESOLVING_ON_CHAIN: "its channel is closed or closing; the chain will decide",
    PaymentState.BACKING_OFF: "an attempt failed; another one follows",
    PaymentState.AWAITING_LIQUIDITY: "an attempt failed for want of liquidity; waits for some",
    PaymentState.SUCCEEDED: "settled",
    PaymentState.FAILED: "LND's verdict; nothing is in flight",
    PaymentState.REJECTED: "a person said no; nothing was sent",
    PaymentState.OVER_BUDGET: "a budget has no room; nothing was sent",
    PaymentState.EXPIRED: "time ran out before anything was sent",
    PaymentState.CANCELED: "called off before anything was sent",
    PaymentState.REFUSED: "the request cannot be carried out; nothing was sent",
}


# Where a ladder says more than the payment.
_CLIMBING = frozenset({PaymentState.STUCK, PaymentState.RESOLVING_ON_CHAIN})


def colored(state: PaymentState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))


def short(hexadecimal: str) -> str:
    """Enough of a key to recognize it by."""
    return f"{hexadecimal[:10]}…{hexadecimal[-6:]}"


def fields(rows: Iterable[tuple[str, str | Text | None]]) -> Text:
    """Names and values under each other; rows without a value are left out.

    Long values are left to the terminal to wrap, so that a hash is copied in one piece.
    """
    given = [(name, value) for name, value in rows if value]
    width = max(len(name) for name, _ in given)
    return Text("\n").join(
        Text.assemble((f"  {name:<{width}}  ", "dim"), value) for name, value in given
    )


# Columns that line up at their unit.
_NUMBERS = frozenset({"amount", "at stake", "local", "remote", "limbo", "recovered", "cost"})


class Columns:
    """A list for people. Print it on `wide`.

    Its last column is not filled up: on a narrow terminal a line wraps where it has to,
    and what people copy stays in one piece.
    """

    def __init__(self, *headers: str) -> None:
        self._right = [header in _NUMBERS for header in headers]
        self._rows = [[Text(header, style="dim") for header in headers]]

    def add_row(self, *cells: str | Text) -> None:
        self._rows.append([Text(each) if isinstance(each, str) else each for each in cells])

    def __rich__(self) -> Text:
        widths = [max(cell.cell_len for cell in column) for column in zip(*self._rows, strict=True)]
        widths[-1] = 0
        return Text("\n").join(
            Text("  ").join(map(self._filled, row, widths, self._right)) for row in self._rows
        )

    @staticmethod
    def _filled(cell: Text, width: int, right: bool) -> Text:
        gap = Text(" " * (width - cell.cell_len))
        return gap + cell if right else cell + gap


def time_of(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """A length of time by its two largest units: `2 d 3 h`, `59 min`, `40 s`."""
    left, words = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or "0 s"


def ended_by_force(workflow_status: str) -> Text:
    """A warning where a workflow did not end by itself: its state is not the last word."""
    if workflow_status not in {"TERMINATED", "TIMED_OUT", "CANCELED"}:
        return Text()
    return Text(f" (workflow {workflow_status})", style="bold red")


def order(request: PaymentRequest, understood: Order) -> Text:
    """What is about to be paid, before anybody says yes."""
    expires_at = understood.expires_at
    return fields(
        [
            ("amount", str(understood.amount)),
            ("fee", f"at most {understood.fee_limit}"),
            ("from", request.node),
            ("to", understood.destination),
            ("for", understood.description),
            ("expires", time_of(expires_at) if expires_at else None),
            ("hash", understood.payment_hash),
        ]
    )


def moment(view: PaymentView) -> Moment:
    """What is shown while it is under way."""
    return Moment(_headline(view), meaning(view), view.timeline)


def _headline(told: PaymentView | Receipt, words: str = "") -> Text:
    state = told.state if isinstance(told, PaymentView) else told.status
    return Text.assemble(
        colored(state),
        f"  {told.amount_msat} to {short(told.destination)} from {told.node}",
        (words, "dim"),
    )


def receipt(receipt: Receipt) -> Text:
    """A finished payment, with what to do next where it did not succeed."""
    took = (receipt.completed_at - receipt.requested_at).total_seconds()
    succeeded = receipt.status is PaymentState.SUCCEEDED
    rows: list[tuple[str, str | Text | None]] = [
        ("hash", receipt.payment_hash),
        ("fee", f"{receipt.fee_msat} (at most {receipt.fee_limit_msat})" if succeeded else None),
        ("parts", str(receipt.parts) if succeeded else None),
        ("reason", _unless_none(receipt.failure_reason)),
        ("budgets", ", ".join(receipt.budgets)),
        ("on chain", on_chain(receipt.on_chain)),
        ("next", receipt.advice),
        ("warning", Text(", ".join(receipt.warnings), style="bold yellow")),
        ("proof", f"fulgurite payment proof {receipt.payment_hash}" if succeeded else None),
    ]
    if succeeded and not receipt.initiated_by_this_run:
        rows.append(("note", "LND had been told to pay this before; it was not paid again"))
    return Text("\n").join([_headline(receipt, f"  {took:,.1f} s"), fields(rows)])


def view(view: PaymentView) -> Text:
    """A payment at one moment, with its timeline."""
    update = view.update if view.state in PAYMENT.terminal else None
    ladder = f"fulgurite payment stuck {view.payment_hash}"
    return Text("\n").join(
        [
            _headline(view),
            Text(f"  {meaning(view)}", style="dim"),
            fields(
                [
                    ("hash", view.payment_hash),
                    ("to", view.destination),
                    ("fee limit", str(view.fee_limit_msat)),
                    ("fee", str(update.fee_msat) if update and update.parts else None),
                    ("reason", _unless_none(update.failure_reason) if update else None),
                    ("budgets", ", ".join(view.budgets)),
                    ("refused", view.refusal.words if view.refusal else None),
                    ("waits until", time_of(view.waits_until) if view.waits_until else None),
                    ("on chain", on_chain(view.on_chain)),
                    ("ladder", ladder if view.state in _CLIMBING else None),
                ]
            ),
            Text(),
            *(Text(f"  {plain(line)}") for line in view.timeline),
        ]
    )


def meaning(view: PaymentView) -> str:
    """The state in words, with what is in flight and until when."""
    words = [MEANINGS[view.state]]
    update = view.update
    if update and view.state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}:
        words.append(f"{update.parts} HTLC{'s' * (update.parts != 1)}")
        if update.expiry_height:
            words.append(f"the first expires at height {update.expiry_height}")
    if view.cancel_requested:
        words.append("cancel requested")
    return "; ".join(words)


def on_chain(outcome: OnChain | None) -> str | None:
    """What the chain has cost, and on which channels."""
    if outcome is None:
        return None
    channels = ", ".join(outcome.channel_points)
    so_far = "" if outcome.complete else " so far; outputs are still on their way"
    return f"{outcome.cost_sat:,} sat{so_far}: {channels}"


def summaries(found: Iterable[PaymentSummary]) -> Columns:
    """One line a payment; the whole hash in one piece, because people copy it."""
    rows = Columns("started (UTC)", "state", "amount", "node", "payment hash")
    for payment in found:
        state = colored(payment.state)
        if reason := _unless_none(payment.failure_reason):
            state.append(f" {reason}", style="dim")
        state.append_text(ended_by_force(payment.workflow_status))
        rows.add_row(
            f"{payment.started_at:%m-%d %H:%M:%S}",
            state,
            "" if payment.amount_msat is None else str(payment.amount_msat),
            payment.node or "",
            payment.payment_hash,
        )
    return rows


def _unless_none(reason: FailureReason) -> str | None:
    return None if reason is FailureReason.NONE else reason.value
