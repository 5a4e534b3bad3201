"""Waiting where a person can see it. On stderr: stdout is for the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fulgurite.errors import FulguriteError
from starter.cli.heights import Ahead
from starter.errors import TemporalUnavailableError, WorkerUnavailableError

_LINES = 5
_PAUSE_AFTER_TROUBLE_SECONDS = 2.0
_HINT_AFTER_SECONDS = 5.0

View = TypeVar("View")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Moment:
    """A view in a person's words. `timeline` is as the Temporal UI has it, in Markdown."""

    headline: Text
    meaning: str
    timeline: Sequence[str]
    ahead: Sequence[Ahead] = ()


class Teller(Protocol):
    """Somebody who tells a person how it goes."""

    def tell(self, moment: Moment) -> None: ...

    def trouble(self, words: str) -> None: ...


async def wait_for(
    end: Coroutine[Any, Any, Result],
    watch: Callable[[], AsyncIterator[View]],
    in_words: Callable[[View], Moment],
    teller: Teller,
) -> Result:
    """What `end` gives or raises, with what `watch` sees told on the way.

    Workers and Temporal may come and go meanwhile: nothing under way depends on our looking
    at it, and neither does the waiting.
    """
    ended = asyncio.create_task(end)
    telling = asyncio.create_task(_tell(watch, in_words, teller))
    try:
        return await ended
    finally:
        telling.cancel()
        ended.cancel()
        await asyncio.wait({ended, telling})


async def _tell(
    watch: Callable[[], AsyncIterator[View]], in_words: Callable[[View], Moment], teller: Teller
) -> None:
    while True:
        try:
            async for view in watch():
                teller.tell(in_words(view))
        except (TemporalUnavailableError, WorkerUnavailableError) as error:
            teller.trouble(str(error))
            await asyncio.sleep(_PAUSE_AFTER_TROUBLE_SECONDS)
        except FulguriteError:
            # Why it cannot be watched is told by the end.
            return
        else:
            return


@asynccontextmanager
async def busy(console: Console, words: str, *, hint: str, quiet: bool) -> AsyncIterator[None]:
    """A spinner with `words`, for what is done in a moment; the `hint` when it is not."""

    async def hinting() -> None:
        await asyncio.sleep(_HINT_AFTER_SECONDS)
        console.print(hint, style="yellow", soft_wrap=not console.is_terminal)

    if quiet:
        yield
        return
    hinted = asyncio.create_task(hinting())
    try:
        with console.status(words) if console.is_terminal else nullcontext():
            yield
    finally:
        hinted.cancel()


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

    def tell(self, moment: Moment) -> None:
        """Nothing."""

    def trouble(self, words: str) -> None:
        """Nothing."""


class Lines:
    """The timeline, each line once: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def tell(self, moment: Moment) -> None:
        for line in moment.timeline:
            self._once(plain(line))
        for each in moment.ahead:
            # The estimate changes with every block, and would be a new line each time.
            self._once(f"ahead: {each}", name=each.name)

    def trouble(self, words: str) -> None:
        self._once(words)

    def _once(self, line: str, *, name: str | None = None) -> None:
        if (name or line) not in self._told:
            self._told.add(name or line)
            self._console.print(line, markup=False, soft_wrap=True)


class Picture:
    """What a terminal shows while something is under way."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._spinner = Spinner("dots")
        self._moment: Moment | None = None
        self._trouble = ""

    def tell(self, moment: Moment) -> None:
        self._moment, self._trouble = moment, ""

    def trouble(self, words: str) -> None:
        self._trouble = words

    def __rich__(self) -> RenderableType:
        waited = Text(f"  {time.monotonic() - self._begun:,.0f} s", style="dim")
        if self._moment is None:
            self._spinner.update(text=Text("asking", style="dim") + waited)
            return Group(self._spinner, *self._troubles())
        moment = self._moment
        self._spinner.update(text=moment.headline + waited)
        return Group(
            self._spinner,
            Text(f"  {moment.meaning}"),
            *(Text(f"  {plain(line)}", style="dim") for line in moment.timeline[-_LINES:]),
            *(Text(f"  {each}", style="cyan") for each in moment.ahead[:_LINES]),
            *self._troubles(),
            Text("  Ctrl-C leaves it under way.", style="dim italic"),
        )

    def _troubles(self) -> list[Text]:
        return [Text(f"  {self._trouble}", style="yellow")] if self._trouble else []


def plain(line: str) -> str:
    """Without the Markdown that the Temporal UI shows."""
    return line.replace("**", "")
