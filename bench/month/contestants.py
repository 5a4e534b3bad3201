"""Who plays: nobody, a rule of autoloop's kind, and the autopilot's own planner."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Final, Protocol

from bench.month.market import CHANNELS, SWAP_HOURS, SWAP_MIN_SAT
from bench.month.node import Node, channel_id
from fulgurite.identity import ChannelPoint, NodePubkey
from fulgurite.liquidity.deeds import Deed, DeedState, Memory
from fulgurite.liquidity.flows import FlowMeter
from fulgurite.liquidity.needs import judge
from fulgurite.liquidity.picture import Holding, Snapshot
from fulgurite.liquidity.planning import decide
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy, Rule
from fulgurite.liquidity.pricing import Ask, Need, NoPrice, Price, Purse, costs, unpriced
from fulgurite.money import MSAT_PER_SAT

# The same for both: in a week, for fees.
WEEK_SAT: Final = 60_000
_WEEK_HOURS: Final = 7 * 24
_BACKOFF_HOURS: Final = 24
_AT_ONCE: Final = 2
_READ_EVERY_HOURS: Final = 6
# autoloop's own: 2 % of what is swapped, everything included.
_LOOP_MAX_PPM: Final = 20_000
_LOOP_BELOW, _LOOP_TARGET = 0.2, 0.5
_LOOP_MAX_SAT: Final = 5_000_000


class Contestant(Protocol):
    """Keeps a node liquid; is asked once an hour."""

    name: str

    def hour(self, node: Node, hour: int) -> None: ...


@dataclass
class Nobody:
    """Channels are left to themselves."""

    name: str = "nobody"

    def hour(self, node: Node, hour: int) -> None:
        """Nothing is done."""


@dataclass
class _Weekly:
    """A budget for fees that begins anew every seven days."""

    spent_sat: int = 0
    week: int = 0

    def left_sat(self, hour: int) -> int:
        if hour // _WEEK_HOURS != self.week:
            self.week, self.spent_sat = hour // _WEEK_HOURS, 0
        return WEEK_SAT - self.spent_sat


@dataclass
class _Swap:
    """Under way: what leaves one side is not yet on the other."""

    channel: int
    sat: int
    ends: int
    out: bool


@dataclass
class ThresholdRule:
    """As autoloop does it: below a threshold swap to a target, by fee caps and a budget.

    It knows no flows and no rebalances, and takes the emptiest channel first.
    """

    name: str = "threshold rule"
    budget: _Weekly = field(default_factory=_Weekly)
    under_way: list[_Swap] = field(default_factory=list)

    def hour(self, node: Node, hour: int) -> None:
        _settle(node, self.under_way, hour)
        busy = {swap.channel for swap in self.under_way}
        for channel in sorted(range(CHANNELS), key=lambda each: _emptiness(node, each)):
            if len(self.under_way) >= _AT_ONCE:
                return
            local, target = node.ratio(channel), round(_LOOP_TARGET * node.capacity(channel))
            out = local > 1 - _LOOP_BELOW
            if channel in busy or not (out or local < _LOOP_BELOW):
                continue
            sat = min(abs(target - node.local_sat[channel]), _LOOP_MAX_SAT)
            sat = min(sat, node.sendable(channel) if out else node.receivable(channel))
            if sat < SWAP_MIN_SAT or (not out and sat > node.coins_sat):
                continue
            cost_sat = node.month.swap_cost_sat(sat, hour)
            within = cost_sat * 1_000_000 <= sat * _LOOP_MAX_PPM
            if within and cost_sat <= self.budget.left_sat(hour):
                _begin_swap(node, self.under_way, _Swap(channel, sat, hour + SWAP_HOURS, out))
                node.pay(cost_sat, sat)
                self.budget.spent_sat += cost_sat


THRIFTY: Final = LiquidityPolicy(
    rule=Rule(local_below=0.1, remote_below=0.1),
    remedies=(Remedy.REBALANCE, Remedy.LOOP_OUT, Remedy.LOOP_IN),
    ahead_hours=24,
    worth_ppm=0,
    budget="month",
    max_in_flight=_AT_ONCE,
    backoff_hours=_BACKOFF_HOURS,
    max_fee_sat=20_000,
)


@dataclass
class Autopilot:
    """The planner that the workers run, on the same node and the same budget.

    It looks every hour, and reads the history again every few.
    """

    name: str = "autopilot"
    policy: LiquidityPolicy = THRIFTY
    budget: _Weekly = field(default_factory=_Weekly)
    under_way: list[_Swap] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    passed: dict[tuple[int, int], int] = field(default_factory=dict)  # by channel and day
    flows: FlowMeter | None = None

    def hour(self, node: Node, hour: int) -> None:
        _settle(node, self.under_way, hour)
        self._remember(node, hour)
        if self.flows is None or hour % _READ_EVERY_HOURS == 0:
            self.flows = _read_history(node, hour, 24 * self.policy.history_days)
        now, channels = node.month.at(hour), _holdings(node, self.flows)
        snapshot = Snapshot(node="node", taken_at=now, channels=channels, policy=self.policy)
        judgement = judge(snapshot, Memory.of(self.deeds, now, self.policy.backoff_hours))
        prices = [self._price(node, hour, ask) for ask in judgement.asks()]
        left_msat = max(0, self.budget.left_sat(hour)) * MSAT_PER_SAT
        purse = Purse(node="node", named=True, left_msat=left_msat)
        for line in decide(judgement, prices, purse):
            if line.move:
                self._carry_out(node, hour, line, line.move)

    def _price(self, node: Node, hour: int, ask: Ask) -> Price:
        channel = _number(ask.channel)
        if ask.remedy is Remedy.REBALANCE:
            assert ask.partner
            to = channel if ask.need is Need.LOCAL else _number(ask.partner)
            passed_sat = self.passed.get((to, hour // 24), 0)
            return costs(
                ask, node.month.way_cost_sat(ask.amount_sat, to, passed_sat, hour) * MSAT_PER_SAT
            )
        if ask.amount_sat < SWAP_MIN_SAT:
            return unpriced(ask, NoPrice.OUT_OF_RANGE)
        if ask.remedy is Remedy.LOOP_IN and ask.amount_sat > node.coins_sat:
            return unpriced(ask, NoPrice.NO_COINS)
        return costs(ask, node.month.swap_cost_sat(ask.amount_sat, hour) * MSAT_PER_SAT)

    def _carry_out(self, node: Node, hour: int, line: ChannelLine, move: Move) -> None:
        """A rebalance is over at once, or fails for nothing; a swap takes its blocks."""
        channel, now = _number(line.channel_point), node.month.at(hour)
        deed = Deed(
            workflow_id=f"{move.remedy.lower()}/{channel}-{hour}",
            remedy=move.remedy,
            channel=line.channel_point,
            fills=move.need is Need.LOCAL,
            partner=move.partner,
            amount_sat=move.amount_sat,
            limit_msat=move.limit_msat,
            began_at=now,
        )
        cost_sat = -(-move.cost_msat // MSAT_PER_SAT)
        if move.partner is None:
            out = move.remedy is Remedy.LOOP_OUT
            swap = _Swap(channel, move.amount_sat, hour + SWAP_HOURS, out)
            _begin_swap(node, self.under_way, swap)
        elif node.month.way_carries(hour, channel):
            gives, takes = channel, _number(move.partner)
            if move.need is Need.LOCAL:
                gives, takes = takes, gives
            node.local_sat[gives] -= move.amount_sat
            node.local_sat[takes] += move.amount_sat
            day = (takes, hour // 24)
            self.passed[day] = self.passed.get(day, 0) + move.amount_sat
            deed = deed.model_copy(update={"state": DeedState.DONE, "ended_at": now})
        else:
            node.tally.failures += 1
            failed = {"state": DeedState.FAILED, "ended_at": now}
            self.deeds.append(deed.model_copy(update=failed))
            return
        node.pay(cost_sat, move.amount_sat)
        self.budget.spent_sat += cost_sat
        self.deeds.append(deed)

    def _remember(self, node: Node, hour: int) -> None:
        """What has ended, and what no longer counts."""
        now = node.month.at(hour)
        busy = {swap.channel for swap in self.under_way}
        done = {"state": DeedState.DONE, "ended_at": now}
        ended = [
            deed.model_copy(update=done)
            if deed.state is DeedState.UNDER_WAY and _number(deed.channel) not in busy
            else deed
            for deed in self.deeds
        ]
        horizon = now - timedelta(hours=self.policy.backoff_hours)
        self.deeds = [deed for deed in ended if (deed.ended_at or now) > horizon]


def contestants() -> tuple[Contestant, ...]:
    """Fresh ones. The last is the autopilot of somebody to whom liquidity itself is worth money."""
    generous = THRIFTY.model_copy(update={"worth_ppm": 500})
    return (Nobody(), ThresholdRule(), Autopilot(), Autopilot("autopilot, 500 ppm", generous))


def _emptiness(node: Node, channel: int) -> float:
    return min(node.ratio(channel), 1 - node.ratio(channel))


def _begin_swap(node: Node, under_way: list[_Swap], swap: _Swap) -> None:
    """What is offered leaves at once."""
    if swap.out:
        node.local_sat[swap.channel] -= swap.sat
    else:
        node.coins_sat -= swap.sat
    under_way.append(swap)


def _settle(node: Node, under_way: list[_Swap], hour: int) -> None:
    for swap in [each for each in under_way if each.ends <= hour]:
        under_way.remove(swap)
        if swap.out:
            node.coins_sat += swap.sat
        else:
            # What came in meanwhile may have taken the room: the rest comes back on chain.
            room_sat = node.capacity(swap.channel) - node.local_sat[swap.channel]
            node.local_sat[swap.channel] += min(swap.sat, room_sat)
            node.coins_sat += max(0, swap.sat - room_sat)


def _holdings(node: Node, meter: FlowMeter) -> tuple[Holding, ...]:
    return tuple(
        Holding(
            channel_point=_point(channel),
            channel_id=channel_id(channel),
            peer=_peer(channel),
            active=True,
            capacity_sat=peer.capacity_sat,
            local_sat=node.local_sat[channel],
            remote_sat=peer.capacity_sat - node.local_sat[channel],
            flow=meter.flow(channel_id(channel)),
        )
        for channel, peer in enumerate(node.month.peers)
    )


def _read_history(node: Node, hour: int, hours: int) -> FlowMeter:
    """The last forwards, as LND would list them."""
    since = hour - hours
    while node.history and node.history[0][0] < since:
        node.history.popleft()
    meter = FlowMeter(node.month.at(since), node.month.at(hour))
    meter.add(forward for _, forward in node.history)
    return meter


@cache
def _peer(channel: int) -> NodePubkey:
    return NodePubkey(f"02{channel:064x}")


@cache
def _point(channel: int) -> ChannelPoint:
    return ChannelPoint(f"{channel:064x}:0")


def _number(point: ChannelPoint) -> int:
    return int(point.partition(":")[0], 16)
