"""Whoever listens may break: the workflow that wants it goes on, and forgets nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fulgurite.invoices.stream import LISTEN, Cursor, Listen, Listened, StreamState, StreamView
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import NewRun
from tests.unit.stage import World, failed, play
from workflows import calling, invoice_stream
from workflows.invoice_stream import InvoiceStreamWorkflow

ROUNDS = 20
KNOWN = Listened(
    cursor=Cursor.at(EPOCH).model_copy(update={"complete": True, "pending_from": 77}),
    state=StreamState.LISTENING,
    settlements=5,
)


class Listener:
    """Comes further with each round that does not break."""

    def __init__(self, *, breaks_every: int = 0) -> None:
        self.asked: list[Listen] = []
        self._breaks_every = breaks_every

    async def listen(self, name: str, ask: Any) -> Listened:
        assert name == LISTEN.name
        assert isinstance(ask, Listen)
        self.asked.append(ask)
        await asyncio.sleep(1)
        if self._breaks_every and len(self.asked) % self._breaks_every == 0:
            raise failed("ValueError", "a defect of ours")
        return KNOWN.model_copy(update={"settlements": ask.so_far.settlements + 1})

    def carried(self) -> StreamView:
        """What the first run hands to the next one."""
        with pytest.raises(NewRun) as ended:
            play(
                World(self.listen, runs_after=ROUNDS),
                "invoice-stream/alice",
                (calling, invoice_stream),
                lambda: InvoiceStreamWorkflow("alice").run("alice"),
            )
        carried = ended.value.carried
        assert isinstance(carried, StreamView)
        return carried


def test_each_round_begins_where_the_one_before_it_ended() -> None:
    listener = Listener()
    carried = listener.carried()

    assert [ask.so_far.settlements for ask in listener.asked] == list(range(ROUNDS))
    assert {ask.so_far.cursor for ask in listener.asked[1:]} == {KNOWN.cursor}
    assert carried.listened == KNOWN.model_copy(update={"settlements": ROUNDS})


def test_a_defect_ends_a_round_and_not_the_listening() -> None:
    listener = Listener(breaks_every=2)
    carried = listener.carried()

    assert len(listener.asked) == ROUNDS
    assert carried.listened.cursor == KNOWN.cursor
    assert carried.listened.settlements == ROUNDS / 2


def test_a_defect_that_stays_makes_no_busy_loop_and_is_shown() -> None:
    listener = Listener(breaks_every=1)
    carried = listener.carried()

    first, last = listener.asked[0], listener.asked[-1]
    assert (last.until - first.until).total_seconds() > 10 * ROUNDS
    assert "a defect of ours" in carried.listened.problem
    assert carried.listened.state is StreamState.DISCONNECTED
