"""The pages of lnd's lists: payments and invoices are given out in the same way."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from devnet.simulated.errors import RpcError

Item = TypeVar("Item")

# How many records lnd gives out to a caller who names no number.
DEFAULT_SIZE = 100


@dataclass(frozen=True)
class PageQuery:
    """Which page: `offset` is an index and itself never part of it; dates are inclusive.

    A page is filled with records that pass, however many lie between them, so an empty
    one is the end.
    """

    offset: int
    size: int
    reversed: bool
    created_from: int
    created_until: int

    def __post_init__(self) -> None:
        if self.created_from and self.created_until and self.created_from >= self.created_until:
            raise RpcError(
                f"start date({self.created_from}) must be before end date({self.created_until})"
            )

    def covers(self, created: int) -> bool:
        """Whether a record of this unix time is among the dates asked for."""
        return self.created_from <= created and (
            not self.created_until or created <= self.created_until
        )


def page_of(
    items: Sequence[Item],
    query: PageQuery,
    *,
    index_of: Callable[[Item], int],
    wanted: Callable[[Item], bool],
) -> list[Item]:
    """A page of `items`, which are in the order of their index; oldest first either way."""
    size = query.size or DEFAULT_SIZE
    if not query.reversed:
        start = bisect.bisect_right(items, query.offset, key=index_of)
        return _first(size, wanted, (items[at] for at in range(start, len(items))))
    end = bisect.bisect_left(items, query.offset, key=index_of) if query.offset else len(items)
    return _first(size, wanted, (items[at] for at in reversed(range(end))))[::-1]


def _first(size: int, wanted: Callable[[Item], bool], items: Iterable[Item]) -> list[Item]:
    return list(islice(filter(wanted, items), size))
