"""Other workflows that want to hear of each move of this one."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from fulgurite.model import Model

# So many are told at the same time; Temporal has a limit for what one workflow signals.
_AT_ONCE = 100


class Listeners:
    """Told by a signal, each of every move since it came. Who has ended is forgotten."""

    def __init__(self, workflow_ids: list[str], signal: str) -> None:
        """`workflow_ids` is the workflow's own, and is read and written here."""
        self._ids = workflow_ids
        self._signal = signal
        self._new: list[str] = []
        self._last_move: object = None

    def add(self, workflow_id: str) -> bool:
        """Whether it is a new one. It is told at once how things stand."""
        if workflow_id in self._ids:
            return False
        self._ids.append(workflow_id)
        self._new.append(workflow_id)
        return True

    async def tell(self, word: Model, move: object) -> None:
        """`word` to all, where `move` is another than it was; else to those who are new."""
        to = self._new if move == self._last_move else list(self._ids)
        self._last_move, self._new = move, []
        for at in range(0, len(to), _AT_ONCE):
            await asyncio.gather(*(self._tell(each, word) for each in to[at : at + _AT_ONCE]))

    async def _tell(self, workflow_id: str, word: Model) -> None:
        try:
            listener = workflow.get_external_workflow_handle(workflow_id)
            await listener.signal(self._signal, word)
        except FailureError:
            workflow.logger.info("a listener is gone", extra={"listener": workflow_id})
            if workflow_id in self._ids:
                self._ids.remove(workflow_id)
