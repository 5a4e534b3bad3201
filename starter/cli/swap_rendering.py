"""What a person reads of swaps: where they stand, what they cost, and what is at risk."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from fulgurite.swaps.calls import SwapPlan
from fulgurite.swaps.limits import Bounds, Cost, Quote
from fulgurite.swaps.receipts import AtRisk, SwapReceipt, SwapView
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SWAP, SwapState
from fulgurite.swaps.words import where
from starter.cli.progress import Moment, plain
from starter.cli.rendering import Columns, ended_by_force, fields, time_of
from starter.summaries import SwapSummary

_COLORS: dict[SwapState, str] = {
    SwapState.AWAITING_APPROVAL: "bold yellow",
    SwapState.UNCERTAIN: "bold yellow",
    SwapState.STALLED: "bold yellow",
    SwapState.SUCCEEDED: "green",
    SwapState.FAILED: "red",
    SwapState.ABANDONED: "red",
    SwapState.GIVEN_UP: "red",
    SwapState.REFUSED: "red",
}

MEANINGS: dict[SwapState, str] = {
    SwapState.QUOTING: "the server's price is asked for; nothing has moved",
    SwapState.PAUSED: "a person said wait; nothing has moved",
    SwapState.AWAITING_APPROVAL: "a person is asked; nothing has moved",
    SwapState.READY: "waits for its turn on the channels, and for its budget",
    SwapState.INITIATING: "loopd is being asked; it may have begun",
    SwapState.ORPHAN_WATCH: "the answer was lost: it is looked for",
    SwapState.UNCERTAIN: "not found, which proves nothing: a person is asked",
    SwapState.INITIATED: "loopd has it",
    SwapState.HTLC_PUBLISHED: "our coins are offered on chain; the server is to pay for them",
    SwapState.PREIMAGE_REVEALED: "the sweep is published; it must confirm before the HTLC expires",
    SwapState.INVOICE_SETTLED: "the server has paid; its claim waits for a block",
    SwapState.STALLED: "loopd goes on only when it is restarted or mended",
    SwapState.SUCCEEDED: "done",
    SwapState.FAILED: "loopd's verdict",
    SwapState.ABANDONED: "loopd stopped caring for it",
    SwapState.REFUSED: "it was not begun",
    SwapState.REJECTED: "a person said no; it was not begun",
    SwapState.EXPIRED: "its deadline passed; it was not begun",
    SwapState.CANCELED: "called off; it was not begun",
    SwapState.GIVEN_UP: "looked for no more; it may turn up yet",
}


def colored(state: SwapState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))


def summaries(found: Iterable[SwapSummary]) -> Columns:
    """One line a swap."""
    rows = Columns("state", "amount", "node", "began", "key")
    for each in found:
        rows.add_row(
            Text.assemble(colored(each.state), ended_by_force(each.workflow_status)),
            "" if each.amount_sat is None else f"{each.amount_sat:,} sat",
            each.node or "",
            time_of(each.started_at),
            each.key,
        )
    return rows


def moment(view: SwapView) -> Moment:
    return Moment(_headline(view.state, view), MEANINGS[view.state], view.timeline)


def view(view: SwapView) -> Text:
    """A swap at one moment, what it may cost, and what may be done about it."""
    parts = [
        _headline(view.state, view),
        Text(f"  {MEANINGS[view.state]}", style="dim"),
        fields(
            [
                ("key", view.key),
                ("quoted", quote(view.quote) if view.quote else None),
                ("at worst", bounds(view.bounds) if view.bounds else None),
                ("loopd's", view.swap_hash),
                ("address", view.htlc_address or None),
                ("cost", cost(view.cost) if view.swap_hash else None),
                ("at risk", _risk(view.at_risk)),
                ("others", ", ".join(view.others) or None),
                ("reason", f"{view.reason}. {view.advice}" if view.advice else None),
            ]
        ),
        *(Text(f"  {plain(line)}", style="dim") for line in view.timeline),
    ]
    if hint := _next(view):
        parts.append(Text(f"  {hint}", style="yellow"))
    return Text("\n").join(parts)


def receipt(receipt: SwapReceipt) -> Text:
    """What came of it, and what it has cost."""
    warnings = [*receipt.warnings, *map(str, receipt.exceeded)]
    return Text("\n").join(
        [
            _headline(receipt.status, receipt),
            fields(
                [
                    ("key", receipt.key),
                    ("loopd's", receipt.swap_hash),
                    ("cost", cost(receipt.cost) if receipt.swap_hash else None),
                    ("perhaps", f"{receipt.unseen_sat:,} sat more" if receipt.unseen_sat else None),
                    ("reason", f"{receipt.reason}. {receipt.advice}" if receipt.advice else None),
                    ("warning", Text("; ".join(warnings), "bold red") if warnings else None),
                    ("others", ", ".join(receipt.others) or None),
                ]
            ),
        ]
    )


def plan(plan: SwapPlan) -> Text:
    """What a swap would cost now, and whether it would be begun."""
    offer = plan.offer
    over = "; ".join(map(str, plan.exceeded)) or offer.because
    verdict = Text(f"would be refused: {plan.reason} {over}".rstrip(), "red")
    fine = "begun before, under this key" if offer.existing else "within every limit"
    return Text("\n").join(
        [
            _headline(SwapState.QUOTING, plan.request),
            fields(
                [
                    (
                        "terms",
                        f"{offer.terms.min_sat:,} … {offer.terms.max_sat:,} sat at once"
                        if offer.terms
                        else None,
                    ),
                    ("quoted", quote(offer.quote) if offer.quote else None),
                    ("at worst", bounds(plan.bounds) if plan.bounds else None),
                    ("", verdict if plan.advice else Text(fine, "green")),
                    ("advice", plan.advice or None),
                ]
            ),
        ]
    )


def quote(quote: Quote) -> str:
    advance = f" ({quote.prepay_sat:,} of it in advance)" if quote.prepay_sat else ""
    return f"server {quote.swap_fee_sat:,} sat{advance}, chain {quote.miner_fee_sat:,} sat"


def bounds(bounds: Bounds) -> str:
    routing = bounds.max_routing_sat + bounds.max_prepay_routing_sat
    parts = f"server {bounds.max_swap_fee_sat:,}, chain {bounds.max_miner_fee_sat:,}"
    return f"{bounds.worst_case_sat:,} sat: {parts}, routing {routing:,}"


def cost(cost: Cost) -> str:
    return (
        f"{cost.total_sat:,} sat: server {cost.server_sat:,}, chain {cost.on_chain_sat:,}, "
        f"routing {cost.off_chain_sat:,}"
    )


def _headline(state: SwapState, of: SwapView | SwapReceipt | SwapRequest) -> Text:
    what = f"  {of.amount_sat:,} sat {where(of.direction)} of {of.node}"
    return Text.assemble(colored(state), (what, "bold"))


def _risk(risk: AtRisk) -> str | None:
    if not risk.because:
        return None
    return (
        f"{risk.in_flight_sat:,} sat locked, {risk.could_lose_sat:,} sat could be lost: "
        f"{risk.because}"
    )


def _next(view: SwapView) -> str:
    match view.state:
        case SwapState.AWAITING_APPROVAL:
            return f"fulgurite approve swap/{view.key}, or reject"
        case SwapState.PAUSED:
            return f"fulgurite swap resume {view.key}, or cancel"
        case SwapState.UNCERTAIN if view.unlisted:
            return "loopd has stored a swap that it does not list: restart it"
        case SwapState.UNCERTAIN:
            return f"fulgurite swap again {view.key}, adopt, or give-up"
    return "" if view.state in SWAP.terminal else f"fulgurite swap watch {view.key}"
