"""Stories that are played at the same time, so that what is killed is killed in all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from devnet.waiting import eventually

from .stories import Act

At: TypeAlias = Callable[[Act], Awaitable[None]]


class _Stage:
    """Whoever comes to an act waits until nobody is left who has an earlier one before him."""

    def __init__(self, players: int, between: At) -> None:
        self._players = players
        self._between = between
        self._waiting: list[tuple[Act, asyncio.Future[None]]] = []

    async def at(self, act: Act) -> None:
        cue = asyncio.get_running_loop().create_future()
        self._waiting.append((act, cue))
        await self._goes_on()
        await cue

    async def has(self, players: int, newest: asyncio.Task[None]) -> bool:
        """Whether so many have come to their first act, or the newest never will."""
        return len(self._waiting) >= players or newest.done()

    async def leaves(self) -> None:
        self._players -= 1
        await self._goes_on()

    async def _goes_on(self) -> None:
        if not self._waiting or len(self._waiting) < self._players:
            return
        next_act = min(act for act, _ in self._waiting)
        await self._between(next_act)
        for act, cue in self._waiting:
            if act is next_act:
                cue.set_result(None)
        self._waiting = [each for each in self._waiting if each[0] is not next_act]


async def together(stories: Sequence[Callable[[At], Awaitable[None]]], between: At) -> None:
    """Plays all of them to their ends. `between` happens once an act, while all stand still.

    They begin one after another: payments that look for a way at once take it from each other.
    """
    stage = _Stage(len(stories), between)

    async def play(story: Callable[[At], Awaitable[None]]) -> None:
        await story(stage.at)
        await stage.leaves()

    async with asyncio.TaskGroup() as group:
        for number, each in enumerate(stories, start=1):
            playing = group.create_task(play(each))
            await eventually(
                partial(stage.has, number, playing), what="a story that begins", timeout_seconds=180
            )
