"""Waiting for a payment where a person can see it. On stderr: stdout is for the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fulgurite.errors import FulguriteError
from fulgurite.payments.receipts import PaymentView, Receipt
from starter.cli.rendering import headline, meaning, timeline_line
from starter.errors import TemporalUnavailableError, WorkerUnavailableError
from starter.payment import Payment

_LINES = 5
_PAUSE_AFTER_TROUBLE_SECONDS = 2.0


class Teller(Protocol):
    """Somebody who tells a person how it goes."""

    def tell(self, view: PaymentView) -> None: ...

    def trouble(self, words: str) -> None: ...


async def wait_for(payment: Payment, teller: Teller) -> Receipt:
    """The receipt, told on the way. Raises what `Payment.receipt` raises.

    Workers and Temporal may come and go meanwhile: the payment does not depend on our
    looking at it, and neither does the waiting.
    """
    receipt = asyncio.create_task(payment.receipt())
    telling = asyncio.create_task(_tell(payment, teller))
    try:
        return await receipt
    finally:
        telling.cancel()
        receipt.cancel()
        await asyncio.wait({receipt, telling})


async def _tell(payment: Payment, teller: Teller) -> None:
    while True:
        try:
            async for view in payment.watch():
                teller.tell(view)
        except (TemporalUnavailableError, WorkerUnavailableError) as error:
            teller.trouble(str(error))
            await asyncio.sleep(_PAUSE_AFTER_TROUBLE_SECONDS)
        except FulguriteError:
            # Why it cannot be watched is the receipt's to tell.
            return
        else:
            return


@contextmanager
def teller(console: Console, *, quiet: bool) -> Iterator[Teller]:
    """A live picture on a terminal; elsewhere lines, or with `quiet` nothing."""
    if not console.is_terminal:
        yield Quiet() if quiet else Lines(console)
        return
    picture = Picture()
    with Live(picture, console=console, transient=True, refresh_per_second=8):
        yield picture


class Quiet:
    """For those who read nothing but the result."""

    def tell(self, view: PaymentView) -> None:
        """Nothing."""

    def trouble(self, words: str) -> None:
        """Nothing."""


class Lines:
    """The timeline, each line once: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def tell(self, view: PaymentView) -> None:
        for line in view.timeline:
            self._once(timeline_line(line))

    def trouble(self, words: str) -> None:
        self._once(words)

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._console.print(line, markup=False, soft_wrap=True)


class Picture:
    """What a terminal shows while the payment is under way."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._spinner = Spinner("dots")
        self._view: PaymentView | None = None
        self._trouble = ""

    def tell(self, view: PaymentView) -> None:
        self._view, self._trouble = view, ""

    def trouble(self, words: str) -> None:
        self._trouble = words

    def __rich__(self) -> RenderableType:
        waited = f"  {time.monotonic() - self._begun:,.0f} s"
        if self._view is None:
            self._spinner.update(text=Text(f"asking{waited}", style="dim"))
            return Group(self._spinner, *self._troubles())
        view = self._view
        self._spinner.update(
            text=headline(view.state, view.amount_msat, view.destination, view.node, words=waited)
        )
        lines = [timeline_line(line) for line in view.timeline[-_LINES:]]
        return Group(
            self._spinner,
            Text(f"  {meaning(view)}"),
            *(Text(f"  {line}", style="dim") for line in lines),
            *self._troubles(),
            Text("  Ctrl-C leaves it under way.", style="dim italic"),
        )

    def _troubles(self) -> list[Text]:
        return [Text(f"  {self._trouble}", style="yellow")] if self._trouble else []
