"""How an amount becomes swaps: within what the server takes, and over the channels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fulgurite.identity import ChannelId
from fulgurite.swaps.limits import Terms
from fulgurite.swaps.sequence_requests import Piece

MAX_SWAPS: Final = 200


class UnsplittableError(Exception):
    """No swaps of a size that the server takes make up the amount. The text says why."""


def split(
    amount_sat: int,
    terms: Terms,
    *,
    max_swap_sat: int | None = None,
    channels: Iterable[ChannelId] = (),
    first_number: int = 1,
) -> list[Piece]:
    """As few swaps as can be, as equal as can be. They add up to the amount exactly.

    Over several channels each carries the same share, and the swaps go round them, so that no
    channel has two in a row. Raises UnsplittableError.
    """
    most_sat = min(terms.max_sat, max_swap_sat or terms.max_sat)
    if most_sat < max(terms.min_sat, 1):
        raise UnsplittableError(
            f"no swap is within {most_sat:,} sat: the server takes {terms.min_sat:,} to "
            f"{terms.max_sat:,} sat at once"
        )
    if amount_sat // most_sat > MAX_SWAPS:
        raise UnsplittableError(
            f"{amount_sat:,} sat are more than {MAX_SWAPS} swaps of {most_sat:,} sat: allow larger "
            "ones, or split it by hand"
        )
    roads: list[ChannelId | None] = [*channels] or [None]
    rounds = [
        _equal(share_sat, -(-share_sat // most_sat)) for share_sat in _equal(amount_sat, len(roads))
    ]
    pieces = []
    for number in range(max(map(len, rounds))):
        for road, shares in zip(roads, rounds, strict=True):
            if number < len(shares):
                pieces.append((road, shares[number]))
    least_sat = min(amount for _, amount in pieces)
    if least_sat < terms.min_sat:
        raise UnsplittableError(
            f"{amount_sat:,} sat would need swaps of {least_sat:,} sat, and the server takes "
            f"{terms.min_sat:,} to {most_sat:,} sat at once: change the amount, or name fewer "
            "channels"
        )
    return [
        Piece(number=number, amount_sat=amount, channel=road)
        for number, (road, amount) in enumerate(pieces, first_number)
    ]


def _equal(amount_sat: int, parts: int) -> list[int]:
    """So many parts that differ by one satoshi at most."""
    least, over = divmod(amount_sat, max(parts, 1))
    return [least + (number < over) for number in range(max(parts, 1))]
