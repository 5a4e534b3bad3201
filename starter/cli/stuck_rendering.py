"""What a person reads of a payment that hangs: where, what is at stake, and what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from fulgurite.chain.pace import in_blocks
from fulgurite.channels.receipts import CloseView
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView, Stake
from fulgurite.stuck.states import LADDER, OFF_CHAIN, LadderState
from starter.cli import channel_rendering
from starter.cli.heights import Ahead, away
from starter.cli.progress import Moment, plain
from starter.cli.rendering import Columns, fields, on_chain, short, span

_COLORS: dict[LadderState, str] = {
    LadderState.AWAITING_APPROVAL: "bold yellow",
    LadderState.RESOLVED_OFF_CHAIN: "green",
    LadderState.RESOLVED_ON_CHAIN: "green",
    LadderState.REFUSED: "red",
}

MEANINGS: dict[LadderState, str] = {
    LadderState.LOOKING: "LND is asked on which channels it hangs",
    LadderState.RECONNECTING: "the peer is called, and given time to come back",
    LadderState.AWAITING_APPROVAL: "a person is asked for the force close",
    LadderState.WAITING: "nothing is closed by our order: LND goes to the chain at expiry",
    LadderState.CLOSING: "a force close is ordered; LND has not published it yet",
    LadderState.CONFIRMING: "the commitment is published; a block must take it",
    LadderState.MATURING: "in a block; the HTLC waits for a preimage or for its expiry",
    LadderState.SWEEPING: "LND has its verdict; what is ours comes back",
    LadderState.RESOLVED_OFF_CHAIN: "LND's verdict came without the chain",
    LadderState.RESOLVED_ON_CHAIN: "the chain has decided, and the last sweep is in",
    LadderState.REFUSED: "this node has no such payment",
}

_MAY_DECIDE = frozenset(
    {LadderState.RECONNECTING, LadderState.AWAITING_APPROVAL, LadderState.WAITING}
)


@dataclass(frozen=True)
class Climb:
    """A ladder, and the closings of its channels where there are any."""

    ladder: LadderView
    closings: tuple[CloseView, ...] = ()


def summaries(views: Iterable[LadderView]) -> Columns:
    """One line a ladder: its rung, how long there is, what hangs where."""
    rows = Columns("rung", "blocks to expiry", "at stake", "node", "channel", "payment hash")
    for view in views:
        rows.add_row(
            _colored(view.state),
            _to_expiry(view),
            f"{sum(stake.hung_sat for stake in view.stakes):,} sat" if view.stakes else "",
            view.node,
            _channels(view.stakes),
            view.payment_hash,
        )
    return rows


def view(climb: Climb) -> Text:
    """A ladder at one moment: what is at stake, its timeline, and what comes next."""
    view = climb.ladder
    climbing = view.state not in LADDER.terminal
    parts = [
        headline(view),
        Text(f"  {MEANINGS[view.state]}", style="dim"),
        fields(
            [
                ("hash", view.payment_hash),
                ("policy", policy(view.policy) if view.policy and climbing else None),
                ("on chain", on_chain(view.on_chain)),
            ]
        ),
    ]
    if view.state in OFF_CHAIN:
        parts += [stake(each, view.tip.height if view.tip else None) for each in view.stakes]
    for each in climb.closings:
        parts += [Text(), channel_rendering.closing(each)]
    parts += [Text(), *(Text(f"  {plain(line)}") for line in view.timeline)]
    parts += [Text(f"  {each}", style="cyan") for each in ahead(climb)]
    if view.state in _MAY_DECIDE:
        parts += [Text(), *decide(view)]
    return Text("\n").join(parts)


def at_stake(view: LadderView) -> Text:
    """Before a person decides about a force close."""
    tip = view.tip.height if view.tip else None
    return Text("\n").join(
        [
            headline(view),
            Text(f"  {MEANINGS[view.state]}", style="dim"),
            fields([("hash", view.payment_hash), ("expires", _to_expiry(view))]),
            *(stake(each, tip) for each in view.stakes),
        ]
    )


def stake(stake: Stake, tip: int | None) -> Text:
    """One channel: who hangs on it, and what a force close would take."""
    peer = f"{stake.peer_alias} {short(stake.peer)}".strip()
    online = Text("online", "green") if stake.peer_online else Text("away", "bold yellow")
    csv = in_blocks(stake.csv_blocks)
    expiry = f"block {stake.expiry_height:,}"
    if tip is not None:
        expiry += f", {away(stake.expiry_height, tip)}"
    return Text("\n").join(
        [
            Text(f"  channel {stake.channel_point}", style="bold"),
            fields(
                [
                    ("  peer", Text.assemble(f"{peer}, ", online)),
                    ("  hangs", f"{stake.hung_sat:,} sat until {expiry}"),
                    ("  a force close", f"ends the channel of {stake.capacity_sat:,} sat"),
                    ("  locks", f"{stake.local_sat:,} sat of ours for {csv} after it is confirmed"),
                    ("  costs", f"{stake.commit_fee_sat:,} sat, and the fees of the sweeps"),
                ]
            ),
        ]
    )


def decide(view: LadderView) -> list[Text]:
    """The commands that move it on."""
    lines = [f"  to force close: fulgurite approve stuck/{view.payment_hash}"]
    if view.state is not LadderState.WAITING:
        lines.append(f"  to leave it to LND: fulgurite reject stuck/{view.payment_hash}")
    return [Text(line, style="dim") for line in lines]


def policy(policy: LadderPolicy) -> str:
    """What the ladder may do by itself."""
    match policy.force_close_by:
        case ForceCloseBy.NOBODY:
            words = "closes nothing, and asks nobody: LND does when the HTLC expires"
        case ForceCloseBy.PERSON:
            words = "closes when a person says so, who is asked"
        case ForceCloseBy.EXPIRY:
            assert policy.blocks_before_expiry is not None  # the model's validator saw to it
            words = f"closes by itself {in_blocks(policy.blocks_before_expiry)} before expiry"
        case ForceCloseBy.TIME:
            assert policy.after_seconds is not None  # likewise
            words = f"closes by itself after {span(policy.after_seconds)} if the peer is away"
    calls = f"gives the peer {span(policy.reconnect_seconds)}"
    budget = policy.fees.budget_sat
    bumps = f"; may spend {budget:,} sat on bumps" if budget else ""
    return f"{calls}, then {words}{bumps}"


def ahead(climb: Climb) -> list[Ahead]:
    """What the next heights bring, the nearest first."""
    view = climb.ladder
    found = [each for closing in climb.closings for each in channel_rendering.ahead(closing)]
    if view.tip and view.state in OFF_CHAIN and view.stakes:
        tip = view.tip.height
        expiry = min(stake.expiry_height for stake in view.stakes)
        found.append(Ahead("the HTLC expires, and LND goes to the chain", expiry, tip))
        if view.policy and (near := view.policy.blocks_before_expiry):
            found.append(Ahead("the force close is ordered", expiry - near, tip))
    return sorted(found, key=lambda each: each.height)


def moment(climb: Climb) -> Moment:
    """What is shown while it is followed."""
    view = climb.ladder
    words = MEANINGS[view.state]
    if view.state in OFF_CHAIN and view.blocks_to_expiry is not None:
        words = f"{words}; {_to_expiry(view)} to expiry"
    if view.state in _MAY_DECIDE:
        words = f"{words}; decide with: fulgurite approve stuck/{view.payment_hash}"
    return Moment(headline(view), words, view.timeline, ahead(climb))


def receipt(receipt: LadderReceipt) -> Text:
    """A ladder that has ended."""
    took = (receipt.completed_at - receipt.began_at).total_seconds()
    verdict = f"LND says {receipt.verdict}" if receipt.verdict else "LND does not know the payment"
    return Text("\n").join(
        [
            Text.assemble(_colored(receipt.status), f"  {verdict}", (f"  {span(took)}", "dim")),
            fields(
                [
                    ("hash", receipt.payment_hash),
                    ("closed", ", ".join(receipt.force_closed) or None),
                    ("on chain", on_chain(receipt.on_chain)),
                    ("payment", f"fulgurite payment show {receipt.payment_hash}"),
                ]
            ),
        ]
    )


def headline(view: LadderView) -> Text:
    hung = sum(stake.hung_sat for stake in view.stakes)
    of = f"{hung:,} sat of " if hung and view.state not in LADDER.terminal else ""
    return Text.assemble(
        _colored(view.state), f"  {of}payment {short(view.payment_hash)} from {view.node}"
    )


def _to_expiry(view: LadderView) -> str:
    blocks = view.blocks_to_expiry
    if blocks is None or view.state in LADDER.terminal:
        return ""
    return in_blocks(blocks) if blocks > 0 else "expired"


def _channels(stakes: Sequence[Stake]) -> str:
    if not stakes:
        return ""
    first = stakes[0]
    name = f"{short(first.channel_point)} {'' if first.peer_online else '(away)'}".rstrip()
    return name if len(stakes) == 1 else f"{name} and {len(stakes) - 1} more"


def _colored(state: LadderState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))
