"""The QR code in a terminal has every module of the code, and fits or says that it does not."""

from __future__ import annotations

import io

import segno
from rich.console import Console

from starter.cli import qr
from tests.unit.invoices import written

REQUEST = written()
QUIET = 2


def modules(drawn: str) -> list[list[bool]]:
    """What is dark, row by row: a line of half blocks is two rows, and a block is light."""
    rows = []
    for line in drawn.splitlines():
        rows.append([block in " ▄" for block in line])
        rows.append([block in " ▀" for block in line])
    return rows


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, record=True)


def test_every_module_is_drawn_with_a_quiet_zone_around() -> None:
    code = segno.make(REQUEST.upper(), error="l", micro=False)
    wanted = [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET)]
    drawn = modules(qr.code(REQUEST).plain)
    # The number of rows is odd, and the last half line belongs to nobody.
    assert [row[: len(wanted[0])] for row in drawn[: len(wanted)]] == wanted
    assert len(drawn) - len(wanted) in {0, 1}


def test_upper_case_makes_the_code_smaller() -> None:
    assert code_width(REQUEST) < segno.make(REQUEST, error="l").symbol_size(border=QUIET)[0]
    assert code_width(REQUEST) < 80, "an ordinary invoice fits an ordinary terminal"


def test_a_code_that_does_not_fit_is_not_drawn_torn() -> None:
    wide, narrow = terminal(code_width(REQUEST)), terminal(code_width(REQUEST) - 1)
    qr.show(wide, REQUEST)
    qr.show(narrow, REQUEST)
    assert "▀" in wide.export_text()
    told = narrow.export_text()
    assert "▀" not in told
    assert f"{code_width(REQUEST)} columns wide" in told


def code_width(request: str) -> int:
    return len(qr.code(request).plain.splitlines()[0])
