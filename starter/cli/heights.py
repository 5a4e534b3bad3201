"""Heights for people: how many blocks, how many hours, and about when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fulgurite.chain.pace import in_blocks

# On average. A single block takes from seconds to an hour.
_A_BLOCK: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Ahead:
    """What a block will bring or allow, as seen from `tip`."""

    what: str
    height: int
    tip: int

    @property
    def name(self) -> str:
        """The same from whatever block it is seen."""
        return f"block {self.height:,}: {self.what}"

    def __str__(self) -> str:
        return f"block {self.height:,}, {away(self.height, self.tip)}: {self.what}"


def away(height: int, tip: int) -> str:
    """`in 12 blocks (≈ 2.0 h), about 01-31 14:20 UTC`, or that it is past."""
    blocks = height - tip
    if blocks <= 0:
        return f"{-blocks:,} block{'s' * (blocks != -1)} ago" if blocks else "now"
    about = datetime.now(UTC) + blocks * _A_BLOCK
    return f"in {in_blocks(blocks)}, about {about:%m-%d %H:%M} UTC"
