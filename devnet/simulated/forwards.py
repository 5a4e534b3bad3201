"""What each node has passed on: lnd's forwarding log."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

# lnd's, for a caller who names no number.
_DEFAULT_PAGE = 100


@dataclass(frozen=True)
class Forwarded:
    """One HTLC that came in over one channel, went out over another, and was settled."""

    at_ns: int
    channel_in: int
    channel_out: int
    amount_in_msat: int
    amount_out_msat: int


class ForwardingLog:
    """Of every node, oldest first. `now_ns` is for those who want a past."""

    def __init__(self) -> None:
        self.now_ns: Callable[[], int] = time.time_ns
        self._of: defaultdict[str, list[Forwarded]] = defaultdict(list)

    def add(self, node: str, channels: tuple[int, int], amounts_msat: tuple[int, int]) -> None:
        """In and out, each time."""
        self.remember(node, Forwarded(self.now_ns(), *channels, *amounts_msat))

    def remember(self, node: str, forward: Forwarded) -> None:
        """Also what is long past, for a test that needs a history."""
        log = self._of[node]
        log.insert(bisect_right(log, forward.at_ns, key=lambda each: each.at_ns), forward)

    def page(
        self, node: str, start_s: int, end_s: int, offset: int, size: int
    ) -> tuple[list[Forwarded], int]:
        """Some of a time, both its seconds included, and where the next page begins."""
        log = self._of[node]
        last_ns = end_s * 1_000_000_000 if end_s else self.now_ns()
        first = bisect_left(log, start_s * 1_000_000_000, key=lambda each: each.at_ns)
        behind = bisect_right(log, last_ns, key=lambda each: each.at_ns)
        found = log[first:behind][offset : offset + (size or _DEFAULT_PAGE)]
        return found, offset + len(found)
