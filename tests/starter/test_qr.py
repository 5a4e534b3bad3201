"""The QR code in a terminal is the one that a wallet reads."""

from __future__ import annotations

import io

import segno
from rich.console import Console

from starter.cli import qr
from tests.unit.invoices import LONGEST

REQUEST = LONGEST


def modules(drawn: str) -> list[list[bool]]:
    """Dark modules, two rows of them a line of half blocks."""
    rows = []
    for line in drawn.splitlines():
        rows.append([block in " ▄" for block in line])
        rows.append([block in " ▀" for block in line])
    return rows
