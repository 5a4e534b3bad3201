"""How lnd's sweeper raises a fee, block by block, from cheap to all of its budget."""

from __future__ import annotations


class FeeFunction:
    """A line from the rate it starts with to `max_sat_per_kw`, one block before the deadline."""

    def __init__(self, max_sat_per_kw: int, conf_target: int, start_sat_per_kw: int) -> None:
        self._width = max(0, conf_target - 1)
        self._end = max_sat_per_kw
        self._start = min(start_sat_per_kw, max_sat_per_kw) if self._width else max_sat_per_kw
        self._position = 0

    @property
    def sat_per_kw(self) -> int:
        """The rate at this moment."""
        if self._position >= self._width:
            return self._end
        # lnd counts the step in thousandths, and cuts off what is left.
        step = (self._end - self._start) * 1_000 // self._width
        return min(self._end, self._start + step * self._position // 1_000)

    def advance(self, blocks_left: int) -> bool:
        """Moves on to where so many blocks are left; says whether the rate has risen."""
        return self._move(self._width + 1 - blocks_left)

    def step(self) -> bool:
        """One step ahead of time, for a transaction that must outbid another."""
        return self._move(self._position + 1)

    def _move(self, position: int) -> bool:
        before = self.sat_per_kw
        self._position = max(self._position, min(position, self._width))
        return self.sat_per_kw > before
