"""What a person reads of channels: what they hold, how they close, and what that has cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from fulgurite.chain.pace import in_blocks
from fulgurite.channels.channel import Channel
from fulgurite.channels.closing import CloseOutput, Closing, OutputKind, OutputOutcome
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CLOSE, CloseState
from starter.cli.heights import Ahead, away
from starter.cli.progress import Moment, plain
from starter.cli.rendering import Columns, fields, short, span

_BAR_WIDTH = 20

_COLORS: dict[CloseState, str] = {
    CloseState.CLOSED: "green",
    CloseState.CALLED_OFF: "yellow",
    CloseState.REFUSED: "red",
}

MEANINGS: dict[CloseState, str] = {
    CloseState.REQUESTED: "LND has not been asked for anything yet",
    CloseState.CLOSING: "being asked for; LND may already do it",
    CloseState.WAITING_CLOSE: "the closing transaction is published; a block must take it",
    CloseState.FORCE_CLOSING: "in a block; outputs wait for their time, or for their sweep",
    CloseState.CLOSED: "every output of ours is resolved",
    CloseState.CALLED_OFF: "nothing was asked of LND: the reason was gone before",
    CloseState.REFUSED: "it cannot be closed so; nothing has happened",
}

_NOTHING_OUT = frozenset(
    {CloseState.REQUESTED, CloseState.CLOSING, CloseState.CALLED_OFF, CloseState.REFUSED}
)

_KINDS: dict[CloseKind, str] = {
    CloseKind.COOPERATIVE: "cooperative close",
    CloseKind.FORCE: "force close",
    CloseKind.FOLLOW: "followed, whoever closes it",
}

_AWAY: dict[CloseKind, str] = {
    CloseKind.COOPERATIVE: "away, and it has to sign: LND does not close it so until it is back",
    CloseKind.FORCE: "away",
    CloseKind.FOLLOW: "away",
}

_OUTPUTS: dict[OutputKind, str] = {
    OutputKind.COMMITMENT: "our balance",
    OutputKind.OUTGOING_HTLC: "outgoing HTLC",
    OutputKind.INCOMING_HTLC: "incoming HTLC",
    OutputKind.ANCHOR: "anchor",
}


# Open channels.


def open_channels(channels: Iterable[Channel], tip: int | None) -> Columns:
    """One line a channel; the nearest expiry is what its owner may have to act on."""
    rows = Columns("", "local", "balance", "remote", "HTLCs", "peer", "channel")
    for each in channels:
        rows.add_row(
            Text("●", "green") if each.active else Text("○ away", "bold yellow"),
            f"{each.local_sat:,} sat",
            bar(each),
            f"{each.remote_sat:,} sat",
            htlcs(each, tip),
            each.peer_alias or short(each.peer),
            each.channel_point,
        )
    return rows


def bar(channel: Channel) -> Text:
    """Whose the capacity is: ours, in HTLCs or fees, theirs."""
    whole = max(channel.capacity_sat, 1)
    local = round(channel.local_sat * _BAR_WIDTH / whole)
    remote = min(round(channel.remote_sat * _BAR_WIDTH / whole), _BAR_WIDTH - local)
    between = _BAR_WIDTH - local - remote
    return Text.assemble(("█" * local, "green"), ("▒" * between, "yellow"), ("░" * remote, "dim"))


def htlcs(channel: Channel, tip: int | None) -> Text:
    """How many are pending, and when the first of them expires."""
    if not channel.htlcs:
        return Text()
    expiry = min(each.expiry_height for each in channel.htlcs)
    when = f"block {expiry:,}" if tip is None else _soon(expiry - tip)
    return Text(f"{len(channel.htlcs)}, first {when}", style="yellow")


def at_stake(channel: Channel, request: CloseRequest, tip: int | None) -> Text:
    """What a close of an open channel does to it."""
    forced = request.kind is CloseKind.FORCE
    pending = sum(each.amount_sat for each in channel.htlcs)
    rows: list[tuple[str, str | Text | None]] = [
        ("peer", f"{channel.peer_alias} {short(channel.peer)}".strip()),
        ("", None if channel.active else Text(_AWAY[request.kind], "bold yellow")),
        ("capacity", f"{channel.capacity_sat:,} sat, {channel.remote_sat:,} of it theirs"),
        ("ours", f"{channel.local_sat:,} sat"),
    ]
    if channel.htlcs:
        expiry = min(each.expiry_height for each in channel.htlcs)
        when = f"block {expiry:,}" if tip is None else f"block {expiry:,}, {away(expiry, tip)}"
        rows.append(("HTLCs", f"{len(channel.htlcs)} with {pending:,} sat, the first until {when}"))
    if forced:
        wait = in_blocks(channel.csv_blocks)
        rows += [
            ("locked", f"our balance for {wait} after it is confirmed"),
            ("costs", f"{channel.commit_fee_sat:,} sat, and the fees of the sweeps"),
        ]
    else:
        busy = "LND closes no channel so while HTLCs are pending" if channel.htlcs else None
        rows += [
            ("", busy and Text(busy, "bold yellow")),
            ("locked", "nothing: our balance is in the closing transaction"),
            ("costs", _fee_terms(request)),
            ("paid to", request.delivery_address or "the node's own wallet"),
        ]
    if request.fees.budget_sat:
        rows.append(("bumps", f"at most {request.fees.budget_sat:,} sat in all"))
    what = f"{_KINDS[request.kind]} of {channel.channel_point}"
    return Text("\n").join([Text(what, style="bold"), fields(rows)])


# Closings.


def view(view: CloseView) -> Text:
    """A closing at one moment, with its timeline and what comes next."""
    parts = [closing(view), Text(), *(Text(f"  {plain(line)}") for line in view.timeline)]
    return Text("\n").join([*parts, *(Text(f"  {each}", "cyan") for each in ahead(view))])


def closing(view: CloseView) -> Text:
    """How far a channel's end is: the transaction, the sats, and each output."""
    told = view.closing
    parts = [
        headline(view),
        Text(f"  {MEANINGS[view.state]}", style="dim"),
        fields([("channel", view.channel_point), *(_sats(view, told) if told else [])]),
    ]
    if told:
        parts += [_output(each, told.tip.height) for each in told.outputs]
    return Text("\n").join(parts)


def closings(views: Iterable[CloseView]) -> Columns:
    """One line a channel that is closing."""
    rows = Columns("closing", "limbo", "recovered", "cost", "next", "channel")
    for each in views:
        told, coming = each.closing, ahead(each)
        rows.add_row(
            _colored(each.state),
            f"{told.limbo_sat:,} sat" if told else "",
            f"{told.recovered_sat:,} sat" if told else "",
            f"{told.cost_sat:,} sat" if told else "",
            _soon(coming[0].height - coming[0].tip) if coming else "",
            each.channel_point,
        )
    return rows


def ahead(view: CloseView) -> list[Ahead]:
    """The heights that its outputs wait for, the nearest first."""
    told = view.closing
    if told is None or view.state in CLOSE.terminal:
        return []
    tip = told.tip.height
    coming = [
        Ahead(
            f"{each.amount_sat:,} sat ({_name(each)}) {_brought(each)}", each.maturity_height, tip
        )
        for each in told.outputs
        if each.outcome is OutputOutcome.PENDING
        and each.maturity_height is not None
        and each.maturity_height > tip
    ]
    return sorted(coming, key=lambda each: each.height)


def moment(view: CloseView) -> Moment:
    """What is shown while it is followed."""
    words = MEANINGS[view.state]
    if told := view.closing:
        words = f"{words}; {told.limbo_sat:,} sat in limbo, {told.recovered_sat:,} sat recovered"
    return Moment(headline(view), words, view.timeline, ahead(view))


def receipt(receipt: CloseReceipt) -> Text:
    """A closing that has ended."""
    took = (receipt.completed_at - receipt.requested_at).total_seconds()
    closed = receipt.status is CloseState.CLOSED
    how = f"  {receipt.close_type}" if receipt.close_type else ""
    at = f" at block {receipt.close_height:,}" if receipt.close_height else ""
    return Text("\n").join(
        [
            Text.assemble(_colored(receipt.status), how, (f"  {span(took)}", "dim")),
            fields(
                [
                    ("channel", receipt.channel_point),
                    ("because", receipt.because),
                    ("transaction", f"{receipt.closing_txid}{at}" if closed else None),
                    ("was ours", f"{receipt.settled_sat:,} sat" if closed else None),
                    ("recovered", f"{receipt.recovered_sat:,} sat" if closed else None),
                    ("cost", f"{receipt.cost_sat:,} sat on chain" if closed else None),
                ]
            ),
            *(_output(each, None) for each in receipt.outputs),
        ]
    )


def headline(view: CloseView) -> Text:
    return Text.assemble(
        _colored(view.state), f"  {_KINDS[view.kind]} of {short(view.channel_point)} on {view.node}"
    )


def _sats(view: CloseView, told: Closing) -> Sequence[tuple[str, str | None]]:
    where = f" at block {told.close_height:,}" if told.close_height else ", in no block yet"
    over = view.state in CLOSE.terminal
    rows = [
        ("transaction", f"{told.closing_txid}{where}" if told.closing_txid else None),
        ("limbo", None if over else f"{told.limbo_sat:,} sat"),
        ("recovered", f"{told.recovered_sat:,} sat"),
        ("cost", f"{told.cost_sat:,} sat on chain{'' if over else ' so far'}"),
        ("bumps", f"up to {view.bumped_sat:,} sat" if view.bumped_sat else None),
    ]
    return [] if view.state in _NOTHING_OUT else rows


def _output(output: CloseOutput, tip: int | None) -> Text:
    words = f"    {_name(output)}  {output.amount_sat:,} sat  {output.outcome}"
    if output.outcome is OutputOutcome.PENDING and output.maturity_height and tip is not None:
        words += f"  from block {output.maturity_height:,}, {away(output.maturity_height, tip)}"
    if output.sweep_txid:
        words += f"  by {output.sweep_txid}"
    told = Text(words)
    if output.forgotten:
        told.append("  LND does not sweep it: restart LND", "bold yellow")
    return told


def _name(output: CloseOutput) -> str:
    stage = f", stage {output.stage}" if output.stage else ""
    return f"{_OUTPUTS[output.kind]}{stage}"


def _brought(output: CloseOutput) -> str:
    """What its height means for it."""
    match output.kind, output.stage:
        case OutputKind.OUTGOING_HTLC, 1:
            return "can be taken back, unless a preimage comes before"
        case OutputKind.INCOMING_HTLC, 1:
            return "can be taken back by the peer from there on"
        case _:
            return "can be swept"


def _fee_terms(request: CloseRequest) -> str:
    if request.sat_per_vbyte is not None:
        return f"{request.sat_per_vbyte:,} sat per vbyte"
    if request.target_conf_blocks is not None:
        return f"what LND thinks gets it confirmed within {in_blocks(request.target_conf_blocks)}"
    return "what LND thinks right"


def _soon(blocks: int) -> str:
    return f"in {in_blocks(blocks)}" if blocks > 0 else "due"


def _colored(state: CloseState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))
