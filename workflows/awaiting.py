"""How a workflow waits for blocks: asleep, and woken by `chain/<node>`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

from fulgurite import ids
from fulgurite.chain.tip import Alarm, Tip
from fulgurite.identity import NodeName
from workflows.calling import read_signal

# Whoever wakes us can be ended by force and started anew, and then knows of nobody. Asked again
# so often, and less often while many blocks are to come: six take an hour, or a little more.
_ASK_AGAIN, _ASK_AGAIN_FAR_AWAY = timedelta(minutes=10), timedelta(minutes=90)
_FAR_AWAY_BLOCKS = 6
# Where nobody tells blocks, one looks for oneself.
_LOOK_ANYWAY = timedelta(minutes=10)


def _never() -> bool:
    return False


class ChainTime:
    """A workflow's waiting for blocks of one node, one wait at a time.

    The workflow hands its signal `block` to `hear`.
    """

    def __init__(self, node: NodeName) -> None:
        self._node = node
        self._news = False
        self._tip: Tip | None = None
        self._every_blocks: int | None = None  # it is woken so often without asking
        self._asked_for: int | None = None
        self._ask_again_at: datetime | None = None

    @property
    def tip(self) -> Tip | None:
        """The last that was told. What is decided is decided by what a look at LND says."""
        return self._tip

    def hear(self, *given: Any) -> None:
        """The signal `block`: a Tip. Never raises."""
        if tip := read_signal(Tip, given):
            self._tip, self._news = tip, True
            self._asked_for = None
            if self._every_blocks is not None:
                self._asked_for = tip.height + self._every_blocks
                self._ask_again_at = self._patience(self._asked_for)

    async def wait(
        self,
        height: int,
        *,
        seen: Tip | None = None,
        interrupted: Callable[[], bool] = _never,
        until: datetime | None = None,
        every_blocks: int | None = None,
    ) -> bool:
        """Until a block of `height` or later, or until `interrupted`, or that time.

        `seen`: the tip at which the caller looked at LND. `every_blocks`: whoever waits again and
        again is woken so often from then on without asking, at `height` or before.

        True: the chain has moved since, or may have: look again. That is so too when a block was
        taken back, however far `height` is then. False: it was one of the other two.
        """
        if self._tip == seen:
            self._news = False  # told while the caller looked, and seen by it
        self._tip = seen or self._tip
        while not self._news:
            if interrupted() or (until and workflow.now() >= until):
                return False
            told = await self._ask(height, every_blocks)
            patience = self._ask_again_at - workflow.now() if self._ask_again_at else _LOOK_ANYWAY
            if until:
                patience = min(patience, until - workflow.now())
            try:
                await workflow.wait_condition(
                    lambda: self._news or interrupted(),
                    timeout=max(patience, timedelta(0)),
                    timeout_summary=f"block {height}",
                )
            except TimeoutError:
                if not told and not (until and workflow.now() >= until):
                    return True
        self._news = False
        return True

    async def forget(self) -> None:
        """It waits no more. Who ends without a word is woken once for nothing."""
        if self._asked_for is not None:
            await self._say("forget", workflow.info().workflow_id)
            self._asked_for = None

    async def _ask(self, height: int, every_blocks: int | None) -> bool:
        """Whether somebody will wake us. Asked once a height, and again after a while."""
        if self._is_asked(height) and self._ask_again_at and workflow.now() < self._ask_again_at:
            return True
        alarm = Alarm(
            workflow_id=workflow.info().workflow_id, height=height, every_blocks=every_blocks
        )
        self._asked_for, self._ask_again_at = height, None
        self._every_blocks = every_blocks
        if not await self._say("wake", alarm):
            self._asked_for = self._every_blocks = None
            return False
        self._ask_again_at = self._patience(height)
        return True

    def _patience(self, height: int) -> datetime:
        far = self._tip is not None and height >= self._tip.height + _FAR_AWAY_BLOCKS
        return workflow.now() + (_ASK_AGAIN_FAR_AWAY if far else _ASK_AGAIN)

    def _is_asked(self, height: int) -> bool:
        if self._every_blocks is None or self._asked_for is None:
            return self._asked_for == height
        # Woken before its time, one looks once more than one had to.
        return (self._tip.height if self._tip else 0) < self._asked_for <= height

    async def _say(self, signal: str, data: Alarm | str) -> bool:
        try:
            teller = workflow.get_external_workflow_handle(ids.chain_id(self._node))
            await teller.signal(signal, data)
        except FailureError:
            workflow.logger.warning("nobody tells blocks", extra={"of_node": self._node})
            return False
        return True
