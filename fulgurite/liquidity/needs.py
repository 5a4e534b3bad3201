"""Which channels want liquidity, how much of it, and which remedies could bring it.

Nothing is priced here. What is not wanted, or must not be touched, has its reason already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from fulgurite.identity import ChannelPoint
from fulgurite.liquidity import flows
from fulgurite.liquidity.deeds import Deed, Memory
from fulgurite.liquidity.flows import Forecast
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.picture import Holding, Snapshot
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy, Rule
from fulgurite.liquidity.pricing import Ask, Need
from fulgurite.liquidity.reasons import Reason

# A route has to be found for each: the best few will do.
MOST_PARTNERS: Final = 3
# What runs dry at no known time is less pressing than whatever does.
_SOME_DAY: Final = float("inf")

BRINGS: Final[dict[Need, tuple[Remedy, ...]]] = {
    Need.LOCAL: (Remedy.REBALANCE, Remedy.LOOP_IN),
    Need.REMOTE: (Remedy.REBALANCE, Remedy.LOOP_OUT, Remedy.LEASE),
}
# A rebalance moves between channels what the node already has.
_CHANGES_THE_NODE: Final[dict[Need, tuple[Remedy, ...]]] = {
    Need.LOCAL: (Remedy.LOOP_IN,),
    Need.REMOTE: (Remedy.LOOP_OUT,),
}
# What the rules leave alone, and a payment that waits can have filled all the same.
_AT_REST: Final = frozenset(
    {Reason.BALANCED, Reason.PEER_BALANCED, Reason.NODE_AT_TARGET, Reason.OTHER_CHOSEN}
)


@dataclass(frozen=True)
class Want:
    """A channel that is to get something, and why."""

    holding: Holding
    need: Need
    amount_sat: int
    reason: Reason
    words: str
    remedies: tuple[Remedy, ...]
    hours_left: float = _SOME_DAY

    @property
    def fills(self) -> bool:
        return self.need is Need.LOCAL

    @property
    def by_rule(self) -> bool:
        """What only a payment wants keeps its channel from nothing that a rule wants."""
        return self.reason is not Reason.PAYMENT_WAITS

    @property
    def urgency(self) -> tuple[float, float, str]:
        """The soonest first, then the most lopsided; the channel id makes it one order."""
        local = self.need is Need.LOCAL
        holding = self.holding
        short = holding.local_sat if local else holding.remote_sat
        return (self.hours_left, short / holding.capacity_sat, str(holding.channel_id))


@dataclass
class Judgement:
    """Every channel once: it wants something, or there is a reason why it gets nothing."""

    snapshot: Snapshot
    memory: Memory
    wants: list[Want] = field(default_factory=list)
    settled: dict[ChannelPoint, tuple[Reason, str]] = field(default_factory=dict)

    @property
    def policy(self) -> LiquidityPolicy:
        return self.snapshot.policy

    def asks(self) -> tuple[Ask, ...]:
        """The prices that a decision takes."""
        return tuple(ask for want in self.wants for ask in self._asks(want))

    def _asks(self, want: Want) -> list[Ask]:
        asks = []
        if Remedy.REBALANCE in want.remedies:
            for partner, amount_sat in self._partners(want):
                asks.append(self._ask(want, Remedy.REBALANCE, amount_sat, partner))
        asks += [
            self._ask(want, remedy, want.amount_sat)
            for remedy in want.remedies
            if remedy is not Remedy.REBALANCE
        ]
        return asks

    def _ask(
        self, want: Want, remedy: Remedy, amount_sat: int, partner: Holding | None = None
    ) -> Ask:
        return Ask(
            remedy=remedy,
            need=want.need,
            channel=want.holding.channel_point,
            channel_id=want.holding.channel_id,
            peer=want.holding.peer,
            amount_sat=amount_sat,
            partner=partner.channel_point if partner else None,
            partner_id=partner.channel_id if partner else None,
            partner_peer=partner.peer if partner else None,
            limit_msat=self.policy.limit_msat(amount_sat),
        )

    def _partners(self, want: Want) -> list[tuple[Holding, int]]:
        """Channels that can give, or take, without wanting a remedy themselves afterwards.

        Never one with the same peer: a peer forwards over any of its channels with us (BOLT 4),
        so that a circle of two could leave and come back by one and the same.
        """
        wanting = {each.holding.channel_point: each.need for each in self.wants if each.by_rule}
        found = []
        for other in self.snapshot.channels:
            if other.peer == want.holding.peer or not other.active:
                continue
            if wanting.get(other.channel_point) is want.need or self._is_barred(other, want.need):
                continue
            amount_sat = min(want.amount_sat, self._spare(other, want.need))
            if amount_sat >= self.policy.min_move_sat:
                found.append((other, amount_sat))
        found.sort(key=lambda each: (-each[1], str(each[0].channel_id)))
        return found[:MOST_PARTNERS]

    def is_still_partner(self, point: ChannelPoint, want: Want, amount_sat: int) -> bool:
        """Whether one of an earlier judgement can do it yet, and will want no remedy for it.

        A little beyond its target is not too much: forwards go on while a person thinks.
        """
        other = next((each for each in self.snapshot.channels if each.channel_point == point), None)
        if other is None or not other.active or self._is_barred(other, want.need):
            return False
        if any(
            each.holding is other and each.need is want.need and each.by_rule for each in self.wants
        ):
            return False
        rule, local = rule_of(self.policy, other), want.need is Need.LOCAL
        side_sat = other.local_sat if local else other.remote_sat
        below = rule.local_below if local else rule.remote_below
        return side_sat - amount_sat >= max(other.reserve_sat, below * other.capacity_sat)

    def _is_barred(self, other: Holding, need: Need) -> bool:
        point, memory = other.channel_point, self.memory
        if need is Need.LOCAL:
            just = memory.filled(point)
        else:
            just = memory.emptied(point) or memory.leased(point)
        return bool(just or memory.on(point) or rule_of(self.policy, other).ignore)

    def _spare(self, other: Holding, need: Need) -> int:
        """What the other can part with, or take in, before it has crossed its own target."""
        rule = rule_of(self.policy, other)
        target_sat = round(rule.target * other.capacity_sat)
        if need is Need.LOCAL:
            above = other.local_sat - max(target_sat, other.reserve_sat)
            return min(above, other.local_sat - other.reserve_sat)
        return min(target_sat - other.local_sat, other.remote_sat - other.reserve_sat)


def rule_of(policy: LiquidityPolicy, holding: Holding) -> Rule:
    """A channel's own, or its peer's, or everybody's."""
    own = policy.rules.get(holding.channel_id) or policy.rules.get(holding.peer)
    return own or policy.rule


def judge(snapshot: Snapshot, memory: Memory, outbound: Outbound | None = None) -> Judgement:
    """Looks at every channel, and prices none. `outbound`: a payment that waits for balance."""
    judgement = Judgement(snapshot, memory)
    free: list[Holding] = []
    for holding in snapshot.channels:
        if hands_off := _hands_off(holding, judgement):
            judgement.settled[holding.channel_point] = hands_off
        else:
            free.append(holding)
    if snapshot.policy.easy_local_sat is not None:
        _judge_node(judgement, free, snapshot.policy.easy_local_sat)
    else:
        for group in _groups(snapshot.policy, free):
            _judge_group(judgement, group)
    if outbound and snapshot.taken_at < outbound.until:
        _judge_outbound(judgement, outbound)
    judgement.wants.sort(key=lambda want: want.urgency)
    return judgement


def _hands_off(holding: Holding, judgement: Judgement) -> tuple[Reason, str] | None:
    if rule_of(judgement.policy, holding).ignore:
        return Reason.IGNORED, "left alone, as its rule says"
    if deed := judgement.memory.on(holding.channel_point):
        return Reason.IN_FLIGHT, f"{deed.workflow_id} is {deed.state}: one remedy at a time"
    if not holding.active:
        return Reason.INACTIVE, "the peer is away: nothing passes"
    return None


def _groups(policy: LiquidityPolicy, free: Sequence[Holding]) -> list[list[Holding]]:
    """Channels of a peer that has a rule stand in for each other; others stand alone."""
    groups: defaultdict[str, list[Holding]] = defaultdict(list)
    for holding in free:
        by_peer = holding.peer in policy.rules and holding.channel_id not in policy.rules
        groups[holding.peer if by_peer else holding.channel_id].append(holding)
    return list(groups.values())


def _judge_group(judgement: Judgement, group: list[Holding]) -> None:
    """The group wants local or remote balance, or neither; one channel of it gets it."""
    policy, rule = judgement.policy, rule_of(judgement.policy, group[0])
    capacity_sat = sum(each.capacity_sat for each in group)
    local_sat = sum(each.local_sat for each in group)
    remote_sat = sum(each.remote_sat for each in group)
    flow = flows.together(each.flow for each in group if each.flow)
    outlook = flows.forecast(flow, local_sat=local_sat, remote_sat=remote_sat)
    local, remote = local_sat / capacity_sat, remote_sat / capacity_sat
    short = _shortage(policy, rule, local, remote, outlook)
    if short is None:
        peer_wide = len(group) > 1
        for each in group:
            alone = peer_wide and each.local_ratio < rule.local_below
            reason = Reason.PEER_BALANCED if alone else Reason.BALANCED
            judgement.settled[each.channel_point] = reason, _shares(each, local, peer_wide)
        return
    need, reason, hours = short
    needed_sat = abs(round(rule.target * capacity_sat) - local_sat)
    chosen = max(group, key=lambda each: (_can_get(judgement, each, need), str(each.channel_id)))
    for each in group:
        if each is not chosen:
            told = f"{chosen.channel_id} gets it: it has the most room with this peer"
            judgement.settled[each.channel_point] = Reason.OTHER_CHOSEN, told
    words = _why(need, reason, local if need is Need.LOCAL else remote, rule, hours)
    _want(judgement, Want(chosen, need, needed_sat, reason, words, BRINGS[need], hours))


def _shortage(
    policy: LiquidityPolicy, rule: Rule, local: float, remote: float, outlook: Forecast
) -> tuple[Need, Reason, float] | None:
    dry = _SOME_DAY if outlook.dry_in_hours is None else outlook.dry_in_hours
    full = _SOME_DAY if outlook.full_in_hours is None else outlook.full_in_hours
    if rule.local_below and local < rule.local_below:
        return Need.LOCAL, Reason.LOCAL_LOW, dry
    if rule.remote_below and remote < rule.remote_below:
        return Need.REMOTE, Reason.REMOTE_LOW, full
    if rule.local_below and dry < policy.ahead_hours and local < rule.target:
        return Need.LOCAL, Reason.DRY_SOON, dry
    if rule.remote_below and full < policy.ahead_hours and local > rule.target:
        return Need.REMOTE, Reason.FULL_SOON, full
    return None


def _judge_node(judgement: Judgement, free: list[Holding], wanted_sat: int) -> None:
    """Easy mode: only what changes the node's sum will do, over as few channels as it takes."""
    policy = judgement.policy
    coming_sat = sum(
        deed.amount_sat if deed.fills else -deed.amount_sat
        for deed in judgement.memory.under_way()
        if deed.remedy in {Remedy.LOOP_IN, Remedy.LOOP_OUT}
    )
    has_sat = sum(each.local_sat for each in judgement.snapshot.channels) + coming_sat
    missing_sat = wanted_sat - has_sat
    told = f"the node has {has_sat:,} sat of its {wanted_sat:,} sat"
    if abs(missing_sat) <= policy.easy_within * wanted_sat:
        for each in free:
            judgement.settled[each.channel_point] = Reason.NODE_AT_TARGET, told
        return
    need = Need.LOCAL if missing_sat > 0 else Need.REMOTE
    low = need is Need.LOCAL
    reason = Reason.NODE_BELOW_TARGET if low else Reason.NODE_ABOVE_TARGET
    left_sat = abs(missing_sat)
    for each in _roomiest_first(judgement, need, free):
        if left_sat < policy.min_move_sat:
            words = f"{told}; other channels make up for it"
            judgement.settled[each.channel_point] = Reason.OTHER_CHOSEN, words
            continue
        _want(judgement, Want(each, need, left_sat, reason, told, _CHANGES_THE_NODE[need]))
        left_sat -= min(left_sat, _can_get(judgement, each, need), policy.max_move_sat)


def _judge_outbound(judgement: Judgement, outbound: Outbound) -> None:
    """What a payment lacks is wanted too, beside what the rules want and never in its place.

    What moves between the node's own channels helps only a payment that is bound to some of them.
    """
    policy, snapshot = judgement.policy, judgement.snapshot
    brings = BRINGS[Need.LOCAL] if outbound.channels else _CHANGES_THE_NODE[Need.LOCAL]
    missing_sat = outbound.missing_sat(snapshot.channels) - _coming_sat(judgement, outbound, brings)
    if missing_sat <= 0 or not {*brings} & {*policy.remedies} & {*snapshot.remedies}:
        return
    words = f"a payment of {outbound.amount_sat:,} sat waits, {missing_sat:,} sat are missing"
    wanted = {want.holding.channel_point: want for want in judgement.wants if want.fills}
    at_rest = {point for point, (reason, _) in judgement.settled.items() if reason in _AT_REST}
    own = [each for each in snapshot.channels if outbound.may_leave_by(each)]
    # What a rule wants comes last: it may be had by what helps the payment not at all.
    for each in sorted(
        _roomiest_first(judgement, Need.LOCAL, own), key=lambda each: each.channel_point in wanted
    ):
        point, can_get = each.channel_point, _can_get(judgement, each, Need.LOCAL)
        amount_sat, most_sat = (
            max(missing_sat, policy.min_move_sat),
            min(can_get, policy.max_move_sat),
        )
        if missing_sat <= 0:
            return
        if want := wanted.get(point):
            more = max(want.amount_sat, min(amount_sat, most_sat))
            judgement.wants.remove(want)
            judgement.wants.append(replace(want, amount_sat=more, words=f"{want.words}; {words}"))
        elif point in at_rest:
            del judgement.settled[point]
            reason = Reason.PAYMENT_WAITS
            _want(judgement, Want(each, Need.LOCAL, amount_sat, reason, words, brings, 0))
        else:
            continue
        missing_sat -= min(amount_sat, most_sat)


def _roomiest_first(judgement: Judgement, need: Need, channels: Iterable[Holding]) -> list[Holding]:
    """The channel id makes it one order."""
    return sorted(
        channels, key=lambda each: (-_can_get(judgement, each, need), str(each.channel_id))
    )


def _coming_sat(judgement: Judgement, outbound: Outbound, brings: Sequence[Remedy]) -> int:
    """What earlier remedies are bringing to where the payment may leave."""
    channels = judgement.snapshot.channels
    own = {each.channel_point for each in channels if outbound.may_leave_by(each)}
    return sum(
        deed.amount_sat
        for deed in judgement.memory.under_way()
        if deed.remedy in brings and deed.filled() in own
    )


def _want(judgement: Judgement, want: Want) -> None:
    """It is a want, unless something forbids it now."""
    policy, memory, point = judgement.policy, judgement.memory, want.holding.channel_point
    room_sat = min(room(want.holding, want.need), policy.max_move_sat)
    remedies = tuple(remedy for remedy in policy.remedies if remedy in want.remedies)
    want = replace(want, amount_sat=min(want.amount_sat, room_sat), remedies=remedies)
    moved = memory.emptied(point) if want.need is Need.LOCAL else memory.filled(point)
    if failed := memory.failed(point):
        since = f" ({failed.because})" if failed.because else ""
        verdict = Reason.BACKING_OFF, f"{want.words}; {failed.workflow_id} failed{since}"
    elif leased := _leased(memory, point, want.need):
        verdict = Reason.LEASED, f"{want.words}; {leased.workflow_id} leased the room"
    elif moved:
        verdict = Reason.JUST_MOVED, f"{want.words}; {moved.workflow_id} moved it the other way"
    elif want.amount_sat < policy.min_move_sat:
        verdict = Reason.TOO_SMALL, f"{want.words}; {want.amount_sat:,} sat would be moved"
    elif not remedies:
        allowed = ", ".join(policy.remedies) or "nothing"
        verdict = Reason.NO_REMEDY, f"{want.words}; allowed: {allowed}"
    else:
        judgement.wants.append(want)
        return
    judgement.settled[point] = verdict


def _leased(memory: Memory, point: ChannelPoint, need: Need) -> Deed | None:
    """The room that was paid for: not to be filled, and not to be bought again at once."""
    return memory.leased(point) if need is Need.LOCAL else memory.leased_for(point)


def _can_get(judgement: Judgement, holding: Holding, need: Need) -> int:
    """Its room, which is none where it is leased for the peer's side."""
    leased = need is Need.LOCAL and judgement.memory.leased(holding.channel_point)
    return 0 if leased else room(holding, need)


def room(holding: Holding, need: Need) -> int:
    """What can come in, or go out, at most: each side keeps its reserve."""
    side_sat = holding.remote_sat if need is Need.LOCAL else holding.local_sat
    return max(0, side_sat - holding.reserve_sat)


def _shares(holding: Holding, together: float, peer_wide: bool) -> str:
    alone = f"local {holding.local_ratio:.0%}"
    return f"{alone}; {together:.0%} with all channels of the peer" if peer_wide else alone


def _why(need: Need, reason: Reason, ratio: float, rule: Rule, hours: float) -> str:
    side = need.lower()
    below = rule.local_below if need is Need.LOCAL else rule.remote_below
    soon = "" if hours == _SOME_DAY else f", used up in {hours:,.0f} h by its flows"
    if reason in {Reason.DRY_SOON, Reason.FULL_SOON}:
        return f"{side} {ratio:.0%}{soon}"
    return f"{side} {ratio:.0%}, below {below:.0%}{soon}"
