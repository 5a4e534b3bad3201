"""Blocks in the words of people, who think in hours."""

from __future__ import annotations

# Bitcoin's own pace.
_MINUTES_A_BLOCK = 10


def in_blocks(blocks: int) -> str:
    """Blocks, and the hours that they take on average."""
    hours = blocks * _MINUTES_A_BLOCK / 60
    return f"{blocks:,} block{'s' * (blocks != 1)} (≈ {hours:,.1f} h)"
