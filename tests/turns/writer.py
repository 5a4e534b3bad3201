"""A workflow that has turns, and does nothing with them. In a module that the sandbox takes."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from fulgurite.identity import ChannelPoint
from workflows import turns

NODE = "alice"


class Errand(BaseModel):
    """What a writer of these tests does with its channels."""

    channels: list[str]
    at_most_seconds: int = 600
    patience_seconds: int | None = None
    urgent: bool = False


@workflow.defn(name="Writer")
class Writer:
    """Holds its channels until it is told to go on; `again` begins a new run in between."""

    def __init__(self) -> None:
        self._holds = False
        self._wanted_by = ""
        self._go = ""
        self._turn: turns.HeldTurn | None = None

    @workflow.run
    async def run(self, errand: Errand) -> str:
        patience = errand.patience_seconds
        try:
            async with turns.held(
                NODE,
                [ChannelPoint(each) for each in errand.channels],
                at_most=timedelta(seconds=errand.at_most_seconds),
                urgent=errand.urgent,
                patience=None if patience is None else timedelta(seconds=patience),
            ) as self._turn:
                self._holds = True
                await workflow.wait_condition(lambda: bool(self._go))
                if self._go == "again":
                    workflow.continue_as_new(errand)
                if self._go == "renew":
                    await self._turn.renew()
                if self._go == "renew or leave":
                    await self._turn.renew(patience=timedelta(0))
                return f"held until {self._turn.until.isoformat()}"
        except turns.NoTurnError as error:
            return str(error)

    @workflow.signal
    def go(self, how: str) -> None:
        self._go = how

    @workflow.query
    def holds(self) -> bool:
        return self._holds

    @workflow.query
    def wanted_by(self) -> str:
        wanted = self._turn and self._turn.wanted
        return wanted.by if wanted else ""
