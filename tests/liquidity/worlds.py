"""Nodes as the planner sees them, and prices as it could be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash
from fulgurite.liquidity.deeds import Deed, DeedState, Memory
from fulgurite.liquidity.flows import PARTS, Flow
from fulgurite.liquidity.needs import Judgement, judge
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.picture import Holding, Snapshot
from fulgurite.liquidity.planning import decide
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy, Rule
from fulgurite.liquidity.pricing import Ask, NoPrice, Price, Purse, costs, unpriced

NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)


def point(number: int) -> ChannelPoint:
    return ChannelPoint(f"{number:064x}:0")


def channel_id(number: int) -> ChannelId:
    return ChannelId(f"{800_000 + number}x1x0")


def peer(number: int) -> NodePubkey:
    return NodePubkey(f"02{number:064x}")


def holding(
    number: int,
    local: float,
    *,
    of: int = 1_000_000,
    peer_number: int | None = None,
    active: bool = True,
    flow: Flow | None = None,
) -> Holding:
    """A channel with `local` of its capacity on our side, with a peer of its own."""
    local_sat = round(local * of)
    return Holding(
        channel_point=point(number),
        channel_id=channel_id(number),
        peer=peer(number if peer_number is None else peer_number),
        active=active,
        capacity_sat=of,
        local_sat=local_sat,
        remote_sat=of - local_sat,
        flow=flow,
    )


def steady(out_sat: int = 0, in_sat: int = 0, *, fee_ppm: int = 100, hours: float = 168) -> Flow:
    """The same in every part of the history."""
    return Flow(
        hours=hours,
        forwards=100,
        out_sat=(out_sat,) * PARTS,
        in_sat=(in_sat,) * PARTS,
        earned_msat=PARTS * out_sat * fee_ppm // 1_000,
        brought_msat=PARTS * in_sat * fee_ppm // 1_000,
    )


def waiting(amount_sat: int, *numbers: int, minutes: int = 60) -> Outbound:
    """A payment that waits for so long, and may leave by these channels; none: by any."""
    return Outbound(
        payment_hash=PaymentHash("ab" * 32),
        amount_sat=amount_sat,
        channels=tuple(map(channel_id, numbers)),
        until=NOW + timedelta(minutes=minutes),
    )


def judged(
    *channels: Holding,
    policy: LiquidityPolicy | None = None,
    deeds: Iterable[Deed] = (),
    outbound: Outbound | None = None,
) -> Judgement:
    policy = policy or LiquidityPolicy()
    snapshot = Snapshot(node="alice", taken_at=NOW, channels=channels, policy=policy)
    return judge(snapshot, Memory.of(deeds, NOW, policy.backoff_hours), outbound)


def priced(ask: Ask, ppm: int) -> Price:
    return costs(ask, ask.amount_sat * ppm // 1_000)


def purse(left_sat: int | None = None, *, named: bool = False) -> Purse:
    left_msat = None if left_sat is None else left_sat * 1_000
    return Purse(node="alice", named=named, left_msat=left_msat)


def planned(
    judgement: Judgement, ppm: dict[Remedy, int], money: Purse | None = None
) -> dict[int, ChannelLine]:
    """A plan by the channel's number, when each remedy costs so much, and the rest has no price."""
    prices = [
        priced(ask, ppm[ask.remedy])
        if ask.remedy in ppm
        else unpriced(ask, NoPrice.NOT_CONFIGURED, "not configured")
        for ask in judgement.asks()
    ]
    lines = decide(judgement, prices, money or purse())
    return {int(line.channel_point[:64], 16): line for line in lines}


def deed(
    number: int,
    *,
    fills: bool = True,
    partner: int | None = None,
    state: DeedState = DeedState.DONE,
    ago_hours: float = 1,
    remedy: Remedy = Remedy.REBALANCE,
    amount_sat: int = 100_000,
    brought: Iterable[int] = (),
) -> Deed:
    at = NOW - timedelta(hours=ago_hours)
    return Deed(
        workflow_id=f"{remedy.lower()}/{number}-{ago_hours}",
        remedy=remedy,
        channel=point(number),
        fills=fills,
        partner=None if partner is None else point(partner),
        amount_sat=amount_sat,
        limit_msat=1_000,
        began_at=at,
        state=state,
        ended_at=None if state is DeedState.UNDER_WAY else at,
        brought=tuple(map(point, brought)),
    )


# For the properties: small worlds, dense with coincidences, each from its seed.


@dataclass(frozen=True)
class Case:
    """A node, a policy, a past, and what the world answers."""

    seed: int
    judgement: Judgement
    prices: tuple[Price, ...]
    purse: Purse

    def plan(self) -> tuple[ChannelLine, ...]:
        return decide(self.judgement, self.prices, self.purse)

    def moves(self) -> list[tuple[ChannelLine, Move]]:
        return [(line, line.move) for line in self.plan() if line.move]


def case(seed: int) -> Case:
    """Any node with a few channels; mostly such that something moves."""
    dice = Random(seed)
    judgement = _judgement(dice)
    money = purse(dice.choice([None, 0, 30, 65, 65, 5_000]), named=True)
    if dice.random() < 0.5:
        money = purse()
    return Case(seed, judgement, tuple(_answers(dice, judgement)), money)


def _judgement(dice: Random) -> Judgement:
    count = dice.randint(2, 7)
    channels = [
        holding(
            number,
            dice.choice([0.0, 0.02, 0.09, 0.3, 0.5, 0.7, 0.95, 0.95, 1.0]),
            of=dice.choice([50_000, 1_000_000, 1_000_000, 5_000_000]),
            peer_number=dice.choice([number, number, 0]),
            active=dice.random() < 0.9,
            flow=_flow(dice),
        )
        for number in range(count)
    ]
    keys = [str(channel_id(n)) for n in range(count)] + [str(peer(n)) for n in range(count)]
    few = dice.sample(keys, dice.randint(0, 2))
    remedies = tuple(Remedy) if dice.random() < 0.6 else tuple(dice.sample(list(Remedy), 2))
    policy = LiquidityPolicy(
        mode=dice.choice(list(Mode)),
        budget="liquidity",
        rule=dice.choice(_RULES[:-1]),
        rules={key: dice.choice(_RULES) for key in few},
        easy_local_sat=dice.choice([0, 1_000_000, 9_000_000]) if dice.random() < 0.15 else None,
        remedies=remedies,
        ahead_hours=dice.choice([0, 24]),
        worth_ppm=dice.choice([None, 0, 300]),
        max_fee_ppm=dice.choice([500, 100_000]),
        max_fee_sat=dice.choice([50, 100_000]),
        max_in_flight=dice.randint(1, 4),
    )
    deeds = [
        deed(
            dice.randrange(count),
            fills=dice.random() < 0.5,
            partner=dice.randrange(count),
            state=dice.choice([DeedState.DONE, *DeedState]),
            ago_hours=dice.choice([1, 23, 25]),
            remedy=dice.choice([Remedy.REBALANCE, *Remedy]),
        )
        for _ in range(dice.randint(0, 2))
    ]
    if dice.random() < 0.1:
        leased = dice.randrange(count)
        deeds.append(
            deed(dice.randrange(count), remedy=Remedy.LEASE, fills=False, brought=[leased])
        )
    outbound = None
    if dice.random() < 0.25:
        bound_to = dice.sample(range(count), dice.choice([0, 0, 1]))
        outbound = waiting(dice.choice([100_000, 2_000_000, 30_000_000]), *bound_to)
    return judged(*channels, policy=policy, deeds=deeds, outbound=outbound)


def _flow(dice: Random) -> Flow | None:
    sizes = [0, 10_000, 400_000]
    return dice.choice([None, steady(dice.choice(sizes), dice.choice(sizes))])


def _answers(dice: Random, judgement: Judgement) -> Iterator[Price]:
    """Any price for an ask, or none, or no answer at all."""
    for ask in judgement.asks():
        fate = dice.random()
        if fate < 0.7:
            yield costs(ask, dice.choice([0, 100, 5_000, 40_000, 10**9]))
        elif fate < 0.9:
            yield unpriced(ask, dice.choice(list(NoPrice)))


_RULES: Final = (
    Rule(),
    Rule(remote_below=0.2),
    Rule(local_below=0.3, target=0.7),
    Rule(local_below=0, remote_below=0.5, target=0.2),
    Rule(ignore=True),
)
