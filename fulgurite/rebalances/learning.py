"""What a rebalance learns from what became of its last try."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fulgurite.money import MSAT_PER_SAT, Msat
from fulgurite.rebalances.calls import (
    Attempt,
    Known,
    Prepare,
    Prepared,
    PrepareOutcome,
    Recalled,
    SendOutcome,
    Sent,
)
from fulgurite.rebalances.progress import Progress, UnderWay, gain, price
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.routes import Avoided, Route
from fulgurite.rebalances.states import RebalanceEvent, StopReason

# Said by the link's own end: so much does not fit now. Less may.
_TOO_MUCH_NOW: Final = frozenset({"TEMPORARY_CHANNEL_FAILURE", "TEMPORARY_NODE_FAILURE"})
# The graph was behind. LND has learned the new terms from the failure: ask again.
_OTHER_TERMS: Final = frozenset(
    {
        *("FEE_INSUFFICIENT", "INCORRECT_CLTV_EXPIRY", "EXPIRY_TOO_SOON", "EXPIRY_TOO_FAR"),
        "AMOUNT_BELOW_MINIMUM",
    }
)


def prepared(
    progress: Progress,
    request: RebalanceRequest,
    ask: Prepare,
    answer: Prepared,
    at: datetime,
) -> str:
    """What came of the search, in words. A route is held against the limit once more."""
    attempt = ask.attempt
    if answer.outcome is PrepareOutcome.NO_ROUTE:
        # The number stays free: a gap would hide what comes after it from a later run.
        return _no_route(progress, request, ask, answer.cheapest_fee_msat)
    progress.number = attempt.number
    if answer.outcome is PrepareOutcome.SPENT:
        return f"invoice {attempt.number} was used before, and came to nothing"
    if answer.known:
        return _found_again(progress, request, answer.known, at)
    assert answer.payment_hash is not None
    if answer.route and not _fits(answer.route, attempt):
        # LND was given the limit, and answered with this all the same.
        return _no_route(progress, request, ask, answer.route.fees_msat)
    progress.under_way = UnderWay(
        attempt=attempt,
        payment_hash=answer.payment_hash,
        route=answer.route,
        may_send=True,
        began_at=at,
    )
    way = answer.route.words() if answer.route else f"for {attempt.fee_limit_msat} at most"
    return f"attempt {progress.attempts + 1}: {attempt.amount_msat} {way}"


def recalled(
    progress: Progress, request: RebalanceRequest, answer: Recalled, at: datetime
) -> str | None:
    """An earlier run's attempt is followed like one of this run; None: there are no more."""
    progress.number = answer.number
    if answer.known is None:
        progress.recalled = True
        return None
    return _found_again(progress, request, answer.known, at)


def _found_again(progress: Progress, request: RebalanceRequest, known: Known, at: datetime) -> str:
    progress.under_way = UnderWay(
        attempt=Attempt(
            node=request.node,
            key=request.key,
            identity=request.identity(),
            number=progress.number,
            method=request.method,
            amount_msat=known.amount_msat,
            fee_limit_msat=progress.fee_limit(request, known.amount_msat),
        ),
        payment_hash=known.payment_hash,
        route=None,
        may_send=False,
        seen=known.settled,
        began_at=at,
    )
    return f"attempt {progress.attempts + 1}: {known.amount_msat} found again by its invoice"


def _no_route(
    progress: Progress, request: RebalanceRequest, ask: Prepare, cheapest: Msat | None
) -> str:
    attempt = ask.attempt
    assert attempt.last_hop is not None
    amount, limit = attempt.amount_msat, attempt.fee_limit_msat
    if cheapest is not None and cheapest > limit and not ask.avoid:
        words = f"{amount} would cost {price(cheapest, amount)}, and may cost {limit}"
        earns = gain(request, amount)
        reason = StopReason.OVER_CAP
        if earns is not None and limit == max(0, earns - 1):
            words = f"{amount} would cost {price(cheapest, amount)}, and earn {Msat(earns)}"
            reason = StopReason.NO_GAIN
        progress.give_up(attempt.last_hop, reason)
        progress.because = words
        return words
    # What is cheap enough has no room for so much: half of it may pass.
    return f"no route carries {amount}{_halve(progress, request, attempt)}"


def sent(progress: Progress, request: RebalanceRequest, answer: Sent) -> tuple[RebalanceEvent, str]:
    """LND's verdict on the attempt under way; it is over."""
    under_way, progress.under_way = progress.under_way, None
    assert under_way is not None
    attempt = under_way.attempt
    progress.attempts += 1
    refused = under_way.may_send and answer.outcome is SendOutcome.NOT_SENT
    progress.refusals = progress.refusals + 1 if refused else 0
    if answer.outcome is SendOutcome.SUCCEEDED:
        progress.parts += 1
        progress.moved_msat = progress.moved_msat + answer.amount_msat
        progress.fee_msat = progress.fee_msat + answer.fee_msat
        if under_way.seen and request.target_local_ppm is not None and progress.goal_msat:
            # What an earlier run has moved was in the channels when this one first looked.
            progress.goal_msat = progress.goal_msat + answer.amount_msat
        words = f"{answer.amount_msat} for {price(answer.fee_msat, answer.amount_msat)}"
        if answer.fee_msat > attempt.fee_limit_msat:
            above = f"{answer.fee_msat} was paid where {attempt.fee_limit_msat} was allowed"
            progress.end(StopReason.FEE_ABOVE_CAP, above)
        return RebalanceEvent.SETTLED, words
    if not under_way.may_send:
        # It says nothing of what would be tried now.
        return RebalanceEvent.FAILED, f"attempt {attempt.number} came to nothing"
    return RebalanceEvent.FAILED, _learn(progress, request, under_way, answer)


def _learn(progress: Progress, request: RebalanceRequest, under_way: UnderWay, answer: Sent) -> str:
    attempt, failure = under_way.attempt, answer.failure
    if answer.outcome is SendOutcome.NOT_SENT:
        progress.because = f"LND took it not: {answer.because}"
        return progress.because
    if failure is None or under_way.route is None:
        # LND has tried what it could for this amount, or has forgotten what it tried.
        return f"{answer.failure_reason}{_halve(progress, request, attempt)}"
    pair = under_way.route.pair(failure.source_index)
    words = f"{failure.code} at hop {failure.source_index}"
    if pair is None:
        return words
    if failure.code in _OTHER_TERMS and pair not in progress.told_terms:
        progress.told_terms.append(pair)
        return f"{words}: other terms than LND knew; asking again"
    less_may = failure.code in _TOO_MUCH_NOW
    progress.avoided.append(
        Avoided(pair=pair, from_msat=attempt.amount_msat if less_may else Msat(0))
    )
    return f"{words}: another way next"


def _halve(progress: Progress, request: RebalanceRequest, attempt: Attempt) -> str:
    assert attempt.last_hop is not None
    half = Msat(attempt.amount_msat // 2 // MSAT_PER_SAT * MSAT_PER_SAT)
    if half < max(MSAT_PER_SAT, progress.smallest(request)):
        progress.give_up(attempt.last_hop, StopReason.NO_ROUTE)
        progress.because = f"no route carries {attempt.amount_msat}, the smallest part"
        return ""
    progress.part_msat = half
    return f": {half} next"


def _fits(route: Route, attempt: Attempt) -> bool:
    """Whether a route is what was asked for: the whole amount, home again, within the limit."""
    return (
        route.delivered_msat == attempt.amount_msat
        and route.fees_msat <= attempt.fee_limit_msat
        and route.hops[0].channel_id in attempt.outgoing_channels
        and route.hops[-2].to == attempt.last_hop
    )
