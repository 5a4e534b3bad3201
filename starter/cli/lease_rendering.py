"""What a person reads of a lease: what is bid, what was won, what it costs, what comes next."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from fulgurite.channels.closing import ClosePhase
from fulgurite.leases.market import LeasedChannel
from fulgurite.leases.pricing import percent_a_year
from fulgurite.leases.receipts import LeaseCost, LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import IN_THE_MARKET, LEASE, LeaseState
from fulgurite.leases.words import terms
from starter.cli.heights import Ahead, away
from starter.cli.progress import Moment, plain
from starter.cli.rendering import Columns, fields, short, span, time_of
from starter.summaries import LeaseSummary

_COLORS: dict[LeaseState, str] = {
    LeaseState.AWAITING_APPROVAL: "bold yellow",
    LeaseState.LEASED: "green",
    LeaseState.TERM_ENDED: "green",
    LeaseState.CLOSED_EARLY: "red",
    LeaseState.REFUSED: "red",
    LeaseState.FAILED: "red",
}

MEANINGS: dict[LeaseState, str] = {
    LeaseState.QUOTING: "poold is asked what it can cost; nothing has moved",
    LeaseState.AWAITING_APPROVAL: "waits for a person; nothing has moved",
    LeaseState.ACCOUNT_OPENING: "an account is looked for, opened, or renewed",
    LeaseState.BIDDING: "the bid is with poold, or may be; nothing is matched",
    LeaseState.MATCHED: "a batch has it; its channels are not told yet",
    LeaseState.CHANNEL_OPENING: "paid for; what it has won waits for blocks",
    LeaseState.LEASED: "all that it has won is open, until its height",
    LeaseState.TERM_ENDED: "the term is over; its peer may now close the channel",
    LeaseState.CLOSED_EARLY: "its channels were closed before their term was over",
    LeaseState.EXPIRED: "time ran out, and nothing was won",
    LeaseState.CANCELED: "called off, and nothing was won",
    LeaseState.REJECTED: "a person said no; nothing has moved",
    LeaseState.REFUSED: "it cannot be; no bid is out",
    LeaseState.FAILED: "poold gave the bid up; nothing was won",
}


def summaries(found: Iterable[LeaseSummary]) -> Columns:
    """One line a lease."""
    rows = Columns("state", "amount", "node", "begun", "key")
    for each in found:
        amount = str(each.amount_msat) if each.amount_msat is not None else ""
        begun = time_of(each.started_at)
        rows.add_row(_colored(each.state), amount, each.node or "", begun, each.key)
    return rows


def plan(request: LeaseRequest) -> Text:
    """Before it is bid: the rate in the words of lenders, and every limit."""
    account = request.account
    if account.open_with_sat is not None:
        pays = f"one that is open, or a new one of {account.open_with_sat:,} sat"
    else:
        pays = account.key or "one that is open"
    limit = request.max_cost_sat
    return fields(
        [
            ("key", request.key),
            ("node", request.node),
            ("bid", terms(request)),
            ("batch fee", f"up to {request.max_batch_fee_sat_per_vbyte} sat/vB"),
            ("cost", f"at most {limit:,} sat" if limit is not None else None),
            ("channels", f"of at least {request.smallest_sat:,} sat, {request.min_tier} or better"),
            ("account", pays),
            ("until", f"{span(request.deadline_seconds)} from now"),
        ]
    )


def view(view: LeaseView) -> Text:
    """A lease at one moment."""
    quote, account, bid = view.quote, view.account, view.bid
    parts = [
        headline(view),
        Text(f"  {MEANINGS[view.state]}", style="dim"),
        fields(
            [
                ("key", view.key),
                ("bid", terms(view.request)),
                ("at most", f"{quote.cost_sat:,} sat" if quote and not view.channels else None),
                ("cost", cost(view.cost) if view.channels else None),
                (
                    "account",
                    f"{short(account.key)} {account.state}, {account.available_sat:,} sat free"
                    if account
                    else None,
                ),
                ("order", f"{short(bid.nonce)} {bid.state}" if bid else None),
                ("until", time_of(view.deadline) if view.state in IN_THE_MARKET else None),
                ("because", view.because or None),
            ]
        ),
        *(channel(each, view.tip.height if view.tip else None) for each in view.channels),
        Text(),
        *(Text(f"  {plain(line)}") for line in view.timeline),
        *(Text(f"  {each}", style="cyan") for each in ahead(view)),
    ]
    if view.state is LeaseState.AWAITING_APPROVAL:
        parts += [
            Text(),
            Text(f"  to allow it: fulgurite approve lease/{view.key}", style="dim"),
            Text(f"  to refuse it: fulgurite reject lease/{view.key}", style="dim"),
        ]
    return Text("\n").join(parts)


def channel(channel: LeasedChannel, tip: int | None) -> Text:
    """One that was won."""
    until = "not confirmed yet"
    if channel.expiry_height is not None:
        until = f"block {channel.expiry_height:,}"
        if tip is not None:
            until += f", {away(channel.expiry_height, tip)}"
    state = "waits for blocks" if channel.phase is ClosePhase.UNKNOWN else channel.phase.lower()
    return Text("\n").join(
        [
            Text(f"  channel {channel.channel_point}", style="bold"),
            fields(
                [
                    ("  inbound", f"{channel.amount_sat:,} sat, {state}"),
                    ("  from", short(channel.peer)),
                    ("  rate", f"{channel.rate_ppb:,} ppb, {_percent(channel.rate_ppb)}"),
                    ("  until", until),
                ]
            ),
        ]
    )


def cost(cost: LeaseCost) -> str:
    """All of it, and to whom it went."""
    return (
        f"{cost.total_sat:,} sat: premium {cost.premium_sat:,}, execution "
        f"{cost.execution_fee_sat:,}, chain {cost.chain_fee_sat:,}"
    )


def ahead(view: LeaseView) -> list[Ahead]:
    """The ends of the terms, the nearest first."""
    if view.tip is None or view.state in LEASE.terminal:
        return []
    heights = sorted({each.expiry_height for each in view.channels if each.expiry_height})
    return [Ahead("the term ends", height, view.tip.height) for height in heights]


def moment(view: LeaseView) -> Moment:
    """What is shown while it is followed."""
    words = MEANINGS[view.state]
    if view.state is LeaseState.AWAITING_APPROVAL:
        words = f"{words}; decide with: fulgurite approve lease/{view.key}"
    return Moment(headline(view), words, view.timeline, ahead(view))


def receipt(receipt: LeaseReceipt) -> Text:
    """A lease that is over."""
    took = (receipt.completed_at - receipt.requested_at).total_seconds()
    account, meaning = receipt.account, MEANINGS[receipt.status]
    return Text("\n").join(
        [
            Text.assemble(_colored(receipt.status), f"  {meaning}", (f"  {span(took)}", "dim")),
            fields(
                [
                    ("key", receipt.key),
                    ("leased", f"{receipt.leased_sat:,} of {receipt.amount_sat:,} sat"),
                    ("cost", cost(receipt.cost) if receipt.channels else None),
                    (
                        "account",
                        f"{short(account.key)} {account.state}, {account.value_sat:,} sat in it"
                        if account
                        else None,
                    ),
                    ("because", receipt.because or None),
                    ("next", receipt.advice or None),
                ]
            ),
            *(channel(each, None) for each in receipt.channels),
        ]
    )


def headline(view: LeaseView) -> Text:
    amount = view.leased_sat or view.request.amount_sat
    return Text.assemble(_colored(view.state), f"  {amount:,} sat inbound for {view.node}")


def _percent(rate_ppb: int) -> str:
    return f"{percent_a_year(rate_ppb):.2f} % a year"


def _colored(state: LeaseState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))
