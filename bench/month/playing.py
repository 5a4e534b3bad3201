"""The month played by each contestant, over several seeds, and told in a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.month.contestants import Contestant, contestants
from bench.month.market import CHANNELS, DAYS, HOURS, Month, month
from bench.month.node import Node

_HEADERS: Final = (
    *("routed, M sat", "of what was wanted", "earned, sat", "spent, sat", "net, sat"),
    *("below 10 % on a side", "moves"),
)


@dataclass(frozen=True)
class Played:
    """One contestant's month."""

    name: str
    node: Node


def play(contestant: Contestant, surroundings: Month) -> Played:
    """Hour by hour: first what the contestant does, then what others send."""
    node = Node(surroundings)
    wishes = iter(surroundings.wishes)
    wish = next(wishes, None)
    for hour in range(HOURS):
        contestant.hour(node, hour)
        while wish and wish.hour < hour + 1:
            node.forward(wish)
            wish = next(wishes, None)
        node.end_of_hour()
        if hour % 24 == 23:
            node.by_day.append(copy(node.tally))
    return Played(contestant.name, node)


def measure(months: int, plot: Path | None = None) -> str:
    """The table, as Markdown; the picture is of the first month."""
    games = [[play(each, month(seed)) for each in contestants()] for seed in range(1, months + 1)]
    if plot:
        from bench.month.drawing import draw  # noqa: PLC0415 - only who draws needs it

        draw(games[0], plot)
    return table(games)


def table(games: Sequence[Sequence[Played]]) -> str:
    """Medians over the months, and the range where it matters."""
    names = [played.name for played in games[0]]
    lines = [
        f"{CHANNELS} channels, {DAYS} days, {len(games)} months: medians, and the range of the net",
        "",
        f"| | {' | '.join(_HEADERS)} |",
        f"|---|{'--:|' * len(_HEADERS)}",
    ]
    for index, name in enumerate(names):
        tallies = [game[index].node.tally for game in games]
        wanted = [sum(w.amount_sat for w in game[index].node.month.wishes) for game in games]
        shares = [t.routed_sat / all_sat for t, all_sat in zip(tallies, wanted, strict=True)]
        nets = sorted(t.net_sat for t in tallies)
        cells = (
            f"{median(t.routed_sat for t in tallies) / 1e6:,.0f}",
            f"{median(shares):.0%}",
            f"{median(t.earned_sat for t in tallies):,.0f}",
            f"{median(t.spent_sat for t in tallies):,.0f}",
            f"{median(nets):,.0f} ({nets[0]:,.0f} … {nets[-1]:,.0f})",
            f"{median(t.low_share for t in tallies):.0%}",
            f"{median(t.moves for t in tallies):,.0f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    best = sum(_wins(game) for game in games)
    lines += ["", f"The autopilot's net is the best in {best} of {len(games)} months."]
    return "\n".join(lines)


def _wins(game: Sequence[Played]) -> bool:
    nets = {played.name: played.node.tally.net_sat for played in game}
    return max(nets, key=lambda name: nets[name]) == "autopilot"
