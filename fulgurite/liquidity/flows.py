"""What has flowed over a channel, and when it will be dry if that goes on.

A forecast is a reason to spend money, so it is made only of flows that are steady: one large
forward is no trend.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from pydantic import Field

from fulgurite.identity import ChannelId
from fulgurite.model import Model
from fulgurite.money import MSAT_PER_SAT

# The history is cut into so many parts; a trend shows in most of them.
PARTS: Final = 7
# With fewer forwards than this nothing is forecast.
ENOUGH: Final = 8


class Forward(Model):
    """One payment that this node has passed on."""

    at: datetime
    incoming: ChannelId
    outgoing: ChannelId
    amount_in_msat: int = Field(ge=0)
    amount_out_msat: int = Field(ge=0)

    @property
    def fee_msat(self) -> int:
        return max(0, self.amount_in_msat - self.amount_out_msat)


class Flow(Model):
    """What has passed a channel in a time, part by part, oldest first."""

    hours: float = Field(gt=0, description="how long all the parts are together")
    forwards: int = Field(default=0, ge=0, description="in and out")
    out_sat: tuple[int, ...] = Field(description="forwarded out over it: local balance goes")
    in_sat: tuple[int, ...] = Field(description="came in over it: local balance comes")
    earned_msat: int = Field(default=0, ge=0, description="fees of what was forwarded out over it")
    brought_msat: int = Field(default=0, ge=0, description="fees of what came in over it")

    def income_ppm(self, *, outward: bool, amount_sat: int, days: int) -> int:
        """What `amount_sat` more to forward out, or in, would earn within `days`, of itself.

        As much as passed on the days on which something did is expected to pass again; a sat
        that nobody uses earns nothing.
        """
        passed = self.out_sat if outward else self.in_sat
        busy = [sat for sat in passed if sat]
        if self.forwards < ENOUGH or not busy or amount_sat <= 0:
            return 0
        fees_msat = self.earned_msat if outward else self.brought_msat
        per_sat_ppm = fees_msat * 1_000_000 // (sum(busy) * MSAT_PER_SAT)
        a_day = sum(busy) / len(busy) * len(passed) * 24 / self.hours
        return int(per_sat_ppm * min(1.0, a_day * days / amount_sat))

    def net_out_sat_per_hour(self) -> float | None:
        """What it loses an hour, or gains where negative; None: too little, or no trend.

        The median of the parts says the direction and the mean the size, but never more than
        twice the median: a single large forward moves the mean and not the median.
        """
        if self.forwards < ENOUGH:
            return None
        nets = [gone - come for gone, come in zip(self.out_sat, self.in_sat, strict=True)]
        middle, mean = median(nets), sum(nets) / len(nets)
        if middle == 0 or (middle > 0) != (mean > 0):
            return None
        a_part = self.hours / len(nets)
        return min(abs(mean), 2 * abs(middle)) * (1 if middle > 0 else -1) / a_part


class Forecast(Model):
    """How long a channel lasts as it is."""

    net_out_sat_per_day: int | None = Field(
        default=None, description="negative: it fills; null: too few forwards, or no trend"
    )
    dry_in_hours: float | None = Field(default=None, description="until nothing can be sent")
    full_in_hours: float | None = Field(default=None, description="until nothing can come in")


def together(flows: Iterable[Flow]) -> Flow | None:
    """Of channels that stand in for each other; None where there is none."""
    all_flows = list(flows)
    if not all_flows:
        return None
    return Flow(
        hours=all_flows[0].hours,
        forwards=sum(flow.forwards for flow in all_flows),
        out_sat=tuple(map(sum, zip(*(flow.out_sat for flow in all_flows), strict=True))),
        in_sat=tuple(map(sum, zip(*(flow.in_sat for flow in all_flows), strict=True))),
        earned_msat=sum(flow.earned_msat for flow in all_flows),
        brought_msat=sum(flow.brought_msat for flow in all_flows),
    )


def forecast(flow: Flow | None, *, local_sat: int, remote_sat: int) -> Forecast:
    """When the channel runs dry or full, if its flows go on as they were."""
    rate = flow.net_out_sat_per_hour() if flow else None
    if rate is None:
        return Forecast()
    return Forecast(
        net_out_sat_per_day=round(rate * 24),
        dry_in_hours=round(local_sat / rate, 1) if rate > 0 else None,
        full_in_hours=round(remote_sat / -rate, 1) if rate < 0 else None,
    )


class FlowMeter:
    """Counts forwards of a span of time, page by page, in memory that only channels fill."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since = since
        self._part = (until - since) / PARTS
        self._flows: dict[ChannelId, _Counts] = {}

    def add(self, forwards: Iterable[Forward]) -> None:
        for each in forwards:
            part = (each.at - self._since) // self._part
            if not 0 <= part < PARTS:
                continue
            out = self._flows.setdefault(each.outgoing, _Counts())
            out.out_msat[part] += each.amount_out_msat
            out.earned_msat += each.fee_msat
            out.forwards += 1
            come = self._flows.setdefault(each.incoming, _Counts())
            come.in_msat[part] += each.amount_in_msat
            come.brought_msat += each.fee_msat
            come.forwards += 1

    def flow(self, channel: ChannelId) -> Flow:
        """Of a channel; with nothing in it where nothing has passed."""
        counts = self._flows.get(channel, _Counts())
        return Flow(
            hours=self._part * PARTS / timedelta(hours=1),
            forwards=counts.forwards,
            out_sat=tuple(msat // MSAT_PER_SAT for msat in counts.out_msat),
            in_sat=tuple(msat // MSAT_PER_SAT for msat in counts.in_msat),
            earned_msat=counts.earned_msat,
            brought_msat=counts.brought_msat,
        )


class _Counts:
    def __init__(self) -> None:
        self.out_msat = [0] * PARTS
        self.in_msat = [0] * PARTS
        self.earned_msat = self.brought_msat = 0
        self.forwards = 0
