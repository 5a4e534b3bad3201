"""A payment request as a QR code, for a phone held before a terminal."""

from __future__ import annotations

import io

import segno
from rich.console import Console
from rich.text import Text

# Of four that the standard asks for, two are enough for every reader, and the width counts.
_QUIET_ZONE = 2


def code(payment_request: str) -> Text:
    """Half blocks, two rows of the code a line of text.

    Upper case, which BOLT 11 allows: letters and digits alone take a third less room.
    """
    drawn = io.StringIO()
    made = segno.make(payment_request.upper(), error="l", micro=False)
    made.terminal(out=drawn, border=_QUIET_ZONE, compact=True)
    # The blocks are what is light: right on a dark terminal even where colors are off.
    return Text(drawn.getvalue().rstrip("\n"), style="bright_white on black", no_wrap=True)


def show(console: Console, payment_request: str) -> None:
    """Prints the code, or says that it does not fit."""
    drawn = code(payment_request)
    width = len(drawn.plain.partition("\n")[0])
    if console.is_terminal and width > console.width:
        console.print(
            f"(The QR code is {width} columns wide, and this terminal {console.width}.)",
            style="dim",
        )
        return
    console.print(drawn, soft_wrap=True)
