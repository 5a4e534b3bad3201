"""A swap in words, for those who must decide."""

from __future__ import annotations

from fulgurite.swaps.limits import Direction
from fulgurite.swaps.progress import Swap
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SwapState

_ASKED = {
    SwapState.AWAITING_APPROVAL: "**Swap? A person is asked: update `approve` or `reject`.**",
    SwapState.PAUSED: "**Paused: update `resume`, or `cancel`.**",
    SwapState.STALLED: "**loopd does not go on by itself: read its log, and restart it.**",
}


def where(direction: Direction) -> str:
    return "out of channels" if direction is Direction.OUT else "into a channel"


def details(swap: Swap, request: SwapRequest) -> str:
    """Markdown for the Temporal UI: where it stands, what it costs, what is at risk."""
    view = swap.view(request)
    lines = [
        f"### {swap.state}",
        f"{request.amount_sat:,} sat {where(request.direction)} of **{request.node}**",
        "",
    ]
    asked = (
        uncertain(swap, request) if swap.state is SwapState.UNCERTAIN else _ASKED.get(swap.state)
    )
    if asked:
        lines += [asked, ""]
    if view.quote:
        lines.append(
            f"- quoted: server {view.quote.swap_fee_sat:,} sat, of it in advance "
            f"{view.quote.prepay_sat:,}; chain {view.quote.miner_fee_sat:,} sat"
        )
    if view.bounds:
        lines.append(f"- may cost {view.bounds.worst_case_sat:,} sat at the worst")
    if view.swap_hash:
        cost = view.cost
        lines.append(
            f"- loopd's `{view.swap_hash[:16]}…` has cost server {cost.server_sat:,}, chain "
            f"{cost.on_chain_sat:,}, routing {cost.off_chain_sat:,} sat"
        )
    if view.others:
        lines.append(f"- **begun more than once**: {', '.join(each[:16] for each in view.others)}")
    if view.at_risk.in_flight_sat or view.at_risk.could_lose_sat:
        risk = view.at_risk
        lines.append(
            f"- at risk: {risk.in_flight_sat:,} sat locked, {risk.could_lose_sat:,} sat could be "
            f"lost: {risk.because}"
        )
    if view.advice:
        lines.append(f"- {view.reason}: {view.advice}")
    return "\n".join([*lines, "", *(f"- {line}" for line in swap.timeline)])


def uncertain(swap: Swap, request: SwapRequest) -> str:
    """What a person who must decide about a lost answer has to know."""
    ask = "**Did loopd begin it? Update `initiate_again`, `adopt` or `give_up`.**"
    if swap.unlisted is None:
        return f"{ask} loopd does not answer: nothing is known."
    if swap.unlisted:
        return (
            f"{ask} loopd has stored {swap.unlisted} swap(s) that it does not list: **restart "
            "loopd**. If one is this swap, it is then found and followed; until then nothing may "
            "be begun again."
        )
    if swap.absent(request):
        return f"{ask} loopd lists all that it has stored, and this swap is not there."
    return f"{ask} loopd lists all that it has stored; it is looked at once more."
