"""A month as a picture: money and dry channels, day by day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from bench.month.playing import Played

_COLORS: Final = ("#888888", "#c0504d", "#1f5faa", "#5aa02c")
_TITLES: Final = (
    "net: earned, less spent (sat)",
    "routed (million sat)",
    "channel-hours below 10 % on a side",
)


def draw(game: Sequence[Played], path: Path) -> None:
    """Writes an SVG, the same for the same month."""
    plt.switch_backend("svg")
    # Ids and dates in the file would change with every run.
    with mpl.rc_context({"svg.hashsalt": "month", "font.size": 9}):
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
        for played, color in zip(game, _COLORS, strict=False):
            days = range(1, len(played.node.by_day) + 1)
            tallies = played.node.by_day
            curves = (
                [tally.net_sat for tally in tallies],
                [tally.routed_sat / 1e6 for tally in tallies],
                _daily_shares(played),
            )
            for axis, curve in zip(axes, curves, strict=True):
                axis.plot(days, curve, color=color, label=played.name, linewidth=1.4)
        for axis, title in zip(axes, _TITLES, strict=True):
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("day")
            axis.grid(alpha=0.25)
        axes[0].axhline(0, color="black", linewidth=0.5)
        axes[0].yaxis.set_major_formatter(lambda sat, _: f"{sat:,.0f}")
        axes[2].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes[2].set_ylim(0, 1)
        axes[1].legend(frameon=False, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _daily_shares(played: Played) -> list[float]:
    """Of each day alone."""
    low = [0, *(tally.low_hours for tally in played.node.by_day)]
    hours = [0, *(tally.hours for tally in played.node.by_day)]
    return [(low[day] - low[day - 1]) / (hours[day] - hours[day - 1]) for day in range(1, len(low))]
