"""Taking turns on channels: one writer each, who is known by its workflow id.

    async with turns.held(node, channels, at_most=timedelta(minutes=30)) as turn:
        await turn.renew()  # before each step that moves money

What is held is given back when the block is left, and kept across continue-as-new: the next
run enters the block again, and has its turn at once. Who is ended by force has its turn taken
when it is over, or when somebody else wants it: whoever is told that and does not exist, has
none.

A turn keeps ours from one another, and never LND from anything: it is no proof that a channel
is as it was. A force close waits for no turn. Neither does who follows what LND has begun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

from fulgurite import ids
from fulgurite.identity import ChannelPoint, NodeName
from fulgurite.turns.calls import ASK_FOR_TURN, AskForTurn
from fulgurite.turns.requests import Ask, Turn, Wanted
from workflows.calling import call_local, read_signal

GRANTED, WANTED, GIVE_BACK = "turn_granted", "turn_wanted", "give_back"

# Whoever keeps the book can be ended by force, and then knows of nobody.
_ASK_AGAIN = timedelta(minutes=10)


class NoTurnError(Exception):
    """It was not granted in time, or is wanted no more. Nothing is held."""


class HeldTurn:
    """A turn that this workflow has."""

    def __init__(
        self, node: NodeName, channels: Iterable[ChannelPoint], at_most: timedelta, *, urgent: bool
    ) -> None:
        self._node = node
        self._channels = tuple(channels)
        self._at_most = at_most
        self._urgent = urgent
        self._ask_id = ""
        self._granted: Turn | None = None
        self._wanted: Wanted | None = None

    @property
    def wanted(self) -> Wanted | None:
        """Who waits for one of its channels. It is for the holder to say when it gives way."""
        return self._wanted

    @property
    def until(self) -> datetime:
        """When it is over, if it is not renewed. After that, somebody else may have it."""
        assert self._granted is not None
        return self._granted.until

    async def renew(
        self,
        *,
        patience: timedelta | None = None,
        unless: Callable[[], bool] | None = None,
    ) -> None:
        """Returns once half of the time, or more, is left: at once, mostly.

        A turn that was over meanwhile is waited for again, behind those who came before. Raises
        NoTurnError as `held` does.
        """
        if self._granted is None or self.until - workflow.now() < self._at_most / 2:
            await self._ask(patience, unless)

    async def _ask(self, patience: timedelta | None, unless: Callable[[], bool] | None) -> None:
        self._ask_id, self._granted = str(workflow.uuid4()), None
        gives_up_at = workflow.now() + patience if patience is not None else None
        while True:
            ask = Ask(
                holder=workflow.info().workflow_id,
                ask_id=self._ask_id,
                channels=self._channels,
                seconds=max(1, int(self._at_most.total_seconds())),
                urgent=self._urgent,
            )
            await call_local(
                ASK_FOR_TURN,
                AskForTurn(node=self._node, ask=ask),
                summary=f"ask for a turn on {len(ask.channels)} channels of {self._node}",
                for_ever=True,
            )
            left = gives_up_at - workflow.now() if gives_up_at else _ASK_AGAIN
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._granted is not None or (unless is not None and unless()),
                    timeout=max(min(left, _ASK_AGAIN), timedelta(0)),
                    timeout_summary="a turn",
                )
            if self._granted:
                return
            if unless is not None and unless():
                raise NoTurnError("it is wanted no more")
            if gives_up_at and workflow.now() >= gives_up_at:
                raise NoTurnError("others have these channels for too long")

    async def _give_back(self) -> None:
        workflow.set_signal_handler(GRANTED, None)
        workflow.set_signal_handler(WANTED, None)
        with suppress(FailureError):  # nobody keeps the book, so nobody has a turn
            keeper = workflow.get_external_workflow_handle(ids.turns_id(self._node))
            await keeper.signal(GIVE_BACK, workflow.info().workflow_id)

    def _hear(self, *given: Any) -> None:
        if (turn := read_signal(Turn, given)) and turn.ask.ask_id == self._ask_id:
            self._granted, self._wanted = turn, None

    def _hear_wanted(self, *given: Any) -> None:
        if wanted := read_signal(Wanted, given):
            self._wanted = wanted


@asynccontextmanager
async def held(
    node: NodeName,
    channels: Iterable[ChannelPoint],
    *,
    at_most: timedelta,
    urgent: bool = False,
    patience: timedelta | None = None,
    unless: Callable[[], bool] | None = None,
) -> AsyncIterator[HeldTurn]:
    """Waits until all of these channels are this workflow's, and gives them back at the end.

    `at_most`: it is over so long after it was granted, or renewed. `urgent` goes before those
    who wait and are not. One block at a time in one workflow. Raises NoTurnError when it is not
    granted within `patience`, or `unless` comes first.
    """
    assert workflow.get_signal_handler(GRANTED) is None, "a workflow has one turn at a time"
    turn = HeldTurn(node, channels, at_most, urgent=urgent)
    workflow.set_signal_handler(GRANTED, turn._hear)  # noqa: SLF001 - its own module
    workflow.set_signal_handler(WANTED, turn._hear_wanted)  # noqa: SLF001
    try:
        await turn._ask(patience, unless)  # noqa: SLF001
        yield turn
    except (workflow.ContinueAsNewError, GeneratorExit):
        raise  # the next run, or another worker, asks again for what this workflow has
    except BaseException:
        await turn._give_back()  # noqa: SLF001
        raise
    else:
        await turn._give_back()  # noqa: SLF001
