"""From wants and prices to a plan: the cheapest remedy within every limit, or the reason why not.

The order matters: the most pressing channel chooses first, and no channel is touched twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fulgurite.identity import ChannelPoint
from fulgurite.liquidity.needs import Judgement, Want
from fulgurite.liquidity.picture import Holding
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.policy import Remedy
from fulgurite.liquidity.pricing import Need, NoPrice, Price, Purse
from fulgurite.liquidity.reasons import Reason
from fulgurite.money import MSAT_PER_SAT

# Income is looked for within so long: what is moved is used up sooner or later.
_INCOME_DAYS: Final = 30
# A price can rise between the quote and the move by so much, and never above the caps.
_SLACK_PERCENT: Final = 50


@dataclass
class _Desk:
    """What is left to give while the lines are written."""

    judgement: Judgement
    purse: Purse
    prices: dict[ChannelPoint, list[Price]]
    slots: int
    left_msat: int | None
    moves: dict[ChannelPoint, Move] = field(default_factory=dict)
    partners: dict[ChannelPoint, Want] = field(default_factory=dict)

    def touched(self, point: ChannelPoint) -> bool:
        return point in self.moves or point in self.partners


@dataclass(frozen=True)
class _Verdict:
    reason: Reason
    words: str
    move: Move | None = None
    idle_ppm: int | None = None


def decide(judgement: Judgement, prices: Iterable[Price], purse: Purse) -> tuple[ChannelLine, ...]:
    """One line a channel, in the order of the snapshot."""
    by_channel: dict[ChannelPoint, list[Price]] = {}
    for price in sorted(prices, key=_listed):
        by_channel.setdefault(price.channel, []).append(price)
    desk = _Desk(
        judgement,
        purse,
        by_channel,
        slots=judgement.policy.max_in_flight - len(judgement.memory.under_way()),
        left_msat=purse.left_msat,
    )
    verdicts: dict[ChannelPoint, _Verdict] = {
        point: _Verdict(reason, words) for point, (reason, words) in judgement.settled.items()
    }
    for want in judgement.wants:
        verdict = _decide(desk, want)
        verdicts[want.holding.channel_point] = verdict
        if verdict.move:
            _take(desk, want, verdict.move)
    for point, want in desk.partners.items():
        verdicts[point] = _as_partner(desk, want)
    after = _after(desk)
    return tuple(
        _line(holding, verdicts[holding.channel_point], by_channel, after)
        for holding in judgement.snapshot.channels
    )


def _decide(desk: _Desk, want: Want) -> _Verdict:
    """The first limit that leaves nothing over is the reason; else the cheapest is taken."""
    point = want.holding.channel_point
    if desk.touched(point):
        return _Verdict(Reason.IS_PARTNER, want.words)  # said better when all is decided
    told = desk.prices.get(point, [])
    offers = [
        price
        for price in told
        if price.cost_msat is not None
        and not (price.partner and desk.touched(price.partner))
        and price.remedy in want.remedies
    ]
    if not offers:
        return _unpriced(want, told)
    for limit in _limits(desk, want):
        kept = [price for price in offers if limit.allows(price)]
        cheapest = min(kept or offers, key=_rank)
        if not kept:
            words = f"{want.words}; {_offer(cheapest)}, and {limit.words}"
            return _Verdict(limit.reason, words, idle_ppm=_idle_ppm(desk, want, cheapest))
        offers = kept
    chosen = min(offers, key=_rank)
    move = _move(desk, want, chosen)
    words = f"{want.words}; {_offer(chosen)}"
    return _Verdict(want.reason, words, move, _idle_ppm(desk, want, chosen))


@dataclass(frozen=True)
class _Limit:
    reason: Reason
    words: str
    allows: Callable[[Price], bool]


def _limits(desk: _Desk, want: Want) -> tuple[_Limit, ...]:
    """In the order in which they are told: what is wrong with the price before what is not."""
    policy, left_msat = desk.judgement.policy, desk.left_msat

    def is_worth_it(price: Price) -> bool:
        idle_ppm = _idle_ppm(desk, want, price)
        return idle_ppm is None or _ppm(price) <= idle_ppm

    return (
        _Limit(
            Reason.TOO_EXPENSIVE,
            f"the caps are {policy.max_fee_ppm:,} ppm and {policy.max_fee_sat:,} sat",
            lambda price: _worst(price) <= policy.limit_msat(price.amount_sat),
        ),
        _Limit(Reason.NOT_WORTH_IT, "doing nothing is cheaper", is_worth_it),
        _Limit(
            Reason.BUDGET_UNKNOWN,
            f"the budget cannot be read: {desk.purse.because}",
            lambda _: not desk.purse.named or left_msat is not None,
        ),
        _Limit(
            Reason.OVER_BUDGET,
            f"the budget has {(left_msat or 0) // MSAT_PER_SAT:,} sat left",
            lambda price: left_msat is None or _limit(desk, price) <= left_msat,
        ),
        _Limit(
            Reason.TOO_MANY_IN_FLIGHT,
            f"{policy.max_in_flight} at once are the most on the node",
            lambda _: desk.slots > 0,
        ),
    )


def _unpriced(want: Want, told: list[Price]) -> _Verdict:
    """Why nothing has a price: the most telling of the reasons."""
    missing = [price for price in told if price.missing]
    if want.remedies == (Remedy.REBALANCE,) and not told:
        words = f"{want.words}; no other channel can {_part(want)} without wanting one itself"
        return _Verdict(Reason.NO_PARTNER, words)
    if missing and all(price.missing is NoPrice.NOT_CONFIGURED for price in missing):
        if Remedy.REBALANCE in want.remedies:
            words = f"{want.words}; no other channel can {_part(want)}, and nothing else is set up"
            return _Verdict(Reason.NO_PARTNER, words)
        return _Verdict(Reason.NOT_CONFIGURED, f"{want.words}; {_missing(missing)}")
    words = _missing([each for each in missing if each.missing is not NoPrice.NOT_CONFIGURED])
    return _Verdict(Reason.NO_QUOTE, f"{want.words}; {words or 'no price was told'}")


def _part(want: Want) -> str:
    return "give" if want.need is Need.LOCAL else "take"


def _missing(prices: list[Price]) -> str:
    told = dict.fromkeys(
        f"{_name(price.remedy)}: {price.because or price.missing}" for price in prices
    )
    return "; ".join(told)


def _idle_ppm(desk: _Desk, want: Want, price: Price) -> int | None:
    """What doing nothing costs: the income that is not had, and what the operator adds."""
    worth_ppm = desk.judgement.policy.worth_ppm
    if worth_ppm is None:
        return None
    flow, outward = want.holding.flow, want.need is Need.LOCAL
    if flow is None:
        return worth_ppm
    return worth_ppm + flow.income_ppm(
        outward=outward, amount_sat=price.amount_sat, days=_INCOME_DAYS
    )


def _move(desk: _Desk, want: Want, price: Price) -> Move:
    partner = desk.judgement.snapshot.holding(price.partner) if price.partner else None
    return Move(
        remedy=price.remedy,
        need=want.need,
        amount_sat=price.amount_sat,
        partner=price.partner,
        partner_id=partner.channel_id if partner else None,
        partner_peer=partner.peer if partner else None,
        cost_msat=_cost(price),
        limit_msat=_limit(desk, price),
        chain_msat=price.chain_msat,
        term_blocks=price.term_blocks,
    )


def _take(desk: _Desk, want: Want, move: Move) -> None:
    desk.slots -= 1
    desk.moves[want.holding.channel_point] = move
    if move.partner:
        desk.partners[move.partner] = want
    if desk.left_msat is not None:
        desk.left_msat -= move.limit_msat


def _limit(desk: _Desk, price: Price) -> int:
    """What is handed on as the limit, and taken from the budget until the cost is known."""
    worst = _worst(price)
    with_slack = worst + worst * _SLACK_PERCENT // 100 + MSAT_PER_SAT
    return min(with_slack, desk.judgement.policy.limit_msat(price.amount_sat))


def _as_partner(desk: _Desk, want: Want) -> _Verdict:
    move = desk.moves[want.holding.channel_point]
    verb, to = ("gives", "to") if want.need is Need.LOCAL else ("takes", "from")
    words = f"{verb} {move.amount_sat:,} sat {to} {want.holding.channel_id}"
    return _Verdict(Reason.IS_PARTNER, words)


def _after(desk: _Desk) -> dict[ChannelPoint, int]:
    """The local balances when every move has succeeded."""
    after: dict[ChannelPoint, int] = {}
    for holding in desk.judgement.snapshot.channels:
        after[holding.channel_point] = holding.local_sat
    for point, move in desk.moves.items():
        if move.remedy is Remedy.LEASE:
            continue  # a channel of its own
        sign = 1 if move.need is Need.LOCAL else -1
        after[point] += sign * move.amount_sat
        if move.partner:
            after[move.partner] -= sign * move.amount_sat
    return after


def _line(
    holding: Holding,
    verdict: _Verdict,
    prices: dict[ChannelPoint, list[Price]],
    after: dict[ChannelPoint, int],
) -> ChannelLine:
    point = holding.channel_point
    return ChannelLine(
        channel_point=point,
        channel_id=holding.channel_id,
        peer=holding.peer,
        peer_alias=holding.peer_alias,
        capacity_sat=holding.capacity_sat,
        local_sat=holding.local_sat,
        remote_sat=holding.remote_sat,
        local_after_sat=after[point],
        forecast=holding.forecast(),
        reason=verdict.reason,
        words=verdict.words,
        move=verdict.move,
        prices=tuple(prices.get(point, [])),
        idle_ppm=verdict.idle_ppm,
    )


def _cost(price: Price) -> int:
    assert price.cost_msat is not None
    return price.cost_msat


def _worst(price: Price) -> int:
    """A Loop In that nobody pays for takes its coins back, and pays the chain a second time."""
    twice = 2 * (price.chain_msat or 0) if price.remedy is Remedy.LOOP_IN else 0
    return max(_cost(price), twice)


def _ppm(price: Price) -> int:
    assert price.ppm is not None
    return price.ppm


def _rank(price: Price) -> tuple[int, int, int, str]:
    """Cheapest by the sat first; of equals the one that moves more, then in a fixed order."""
    order = list(Remedy).index(price.remedy)
    return (_ppm(price), -price.amount_sat, order, str(price.partner))


def _listed(price: Price) -> tuple[bool, int, str, str]:
    return (price.ppm is None, price.ppm or 0, price.remedy, str(price.partner))


def _offer(price: Price) -> str:
    term = f" for {price.term_blocks:,} blocks" if price.term_blocks else ""
    sat = _cost(price) / MSAT_PER_SAT
    return (
        f"{_name(price.remedy)} of {price.amount_sat:,} sat{term} for {sat:,.0f} sat "
        f"({_ppm(price):,} ppm)"
    )


def _name(remedy: Remedy) -> str:
    return remedy.lower().replace("_", " ")
