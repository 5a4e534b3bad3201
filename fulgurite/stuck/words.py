"""A ladder in words, for those who must decide."""

from __future__ import annotations

from fulgurite.chain.pace import in_blocks
from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import ChannelPoint
from fulgurite.stuck.progress import Ladder
from fulgurite.stuck.receipts import Stake
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LadderState


def where(ladder: Ladder) -> str:
    """On how many channels it hangs."""
    stakes = ladder.stakes.values()
    away = sum(not stake.peer_online for stake in stakes)
    channels = f"{len(stakes)} channel{'s' * (len(stakes) != 1)}"
    return f"{sum(stake.hung_sat for stake in stakes):,} sat hang on {channels}, {away} peers away"


def details(ladder: Ladder, request: StuckRequest) -> str:
    """Markdown for the Temporal UI: where it stands, what is at stake, how it came there."""
    lines = [f"### {ladder.state}", f"`{request.payment_hash}` from **{request.node}**", ""]
    if ladder.state is LadderState.AWAITING_APPROVAL:
        lines += ["**Force close? A person is asked: update `approve` or `reject`.**", ""]
    if (blocks := ladder.blocks_to_expiry) is not None:
        told = f"expires in {in_blocks(blocks)}" if blocks > 0 else "has expired"
        lines.append(f"- the first HTLC {told}")
    lines += [_at_stake(ladder, point, stake) for point, stake in ladder.stakes.items()]
    if outcome := ladder.outcome():
        lines.append(f"- on chain so far: {outcome.cost_sat:,} sat")
    return "\n".join([*lines, "", *(f"- {line}" for line in ladder.timeline)])


def _at_stake(ladder: Ladder, point: ChannelPoint, stake: Stake) -> str:
    """One channel, in a line."""
    close = ladder.closes.get(point)
    phase = close.state if close else ladder.on_chain.get(point, ClosePhase.OPEN)
    online = "online" if stake.peer_online else "**away**"
    line = (
        f"- `{point[:16]}…` {phase}: {stake.hung_sat:,} sat hang, "
        f"peer {stake.peer_alias or stake.peer[:16]} is {online}."
    )
    if phase is not ClosePhase.OPEN:
        return line
    return (
        f"{line} A force close costs {stake.commit_fee_sat:,} sat and the sweeps, locks "
        f"{stake.local_sat:,} sat of ours for {in_blocks(stake.csv_blocks)}, "
        f"and ends the channel of {stake.capacity_sat:,} sat"
    )
