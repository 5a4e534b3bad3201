"""Who keeps the book of a node's turns: one a node, while anybody has or wants one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import NodeName
from fulgurite.model import Model
from fulgurite.turns.book import Book
from fulgurite.turns.requests import Ask, Turn, TurnsView, Wanted
from fulgurite.turns.words import details
from workflows import search_attributes
from workflows.calling import read_signal, refused
from workflows.enduring import to_its_end
from workflows.turns import GRANTED, WANTED

# Nobody wants a turn: so long it stays, so that the next one need not start it.
_LINGER = timedelta(minutes=10)
_NODE: Final[TypeAdapter[NodeName]] = TypeAdapter(NodeName)


@workflow.defn(name="TurnsWorkflow")
class TurnsWorkflow:
    """Grants sets of channels. Its id is `turns/<node>`. It asks LND nothing, and moves nothing.

    It is told by the signals `ask` and `give_back`, and tells by signals: `turn_granted` to
    whose turn it is, and `turn_wanted` to whom somebody waits for. A holder that no longer
    exists is found so, and loses its turn before it is over.
    """

    @workflow.init
    def __init__(self, node: Any, carried: Any = None) -> None:
        # `node` is any JSON: what is none must be refused, and never wedge the task. What an
        # earlier run carried over is ours: there a wedge is better than forgetting.
        self._book = Book()
        self._renewed: list[Turn] = []
        self._told_wanted: dict[str, Wanted] = {}
        self._news = True
        self._refusal: ApplicationError | None = None
        self._node: NodeName = node
        if workflow.info().continued_run_id:
            self._book = Book.model_validate(carried)
            return
        try:
            _NODE.validate_python(node)
            if carried is not None or workflow.info().workflow_id != ids.turns_id(node):
                raise InvalidRequestError(
                    f"give one argument, the node; the workflow id is {ids.turns_id(node)}"
                )
        except (ValidationError, FulguriteError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, node: Any, carried: Any = None) -> None:
        """`carried` is what an earlier run knew. Raises ApplicationError for what is no node."""
        if self._refusal:
            raise self._refusal
        if carried is None:
            workflow.upsert_search_attributes([search_attributes.NODE.value_set(node)])
        # Who has a turn would go on, and somebody else be granted the same channels.
        return await to_its_end(
            self._keep(),
            lambda: workflow.logger.warning("canceled in Temporal: turns are kept all the same"),
        )

    async def _keep(self) -> None:
        while True:
            self._news = False
            await self._serve()
            workflow.set_current_details(details(self._book))
            if self._news:
                continue
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(args=[self._node, self._book])
            if not await self._wait():
                return

    async def _serve(self) -> None:
        """Tells everybody whose turn it is, and whoever is in the way of somebody."""
        granted = [*self._renewed, *self._book.grant(workflow.now())]
        self._renewed = []
        await asyncio.gather(*(self._tell(t.ask.holder, GRANTED, t) for t in granted))
        wanted = self._book.in_the_way()
        news = {h: word for h, word in wanted.items() if self._told_wanted.get(h) != word}
        self._told_wanted = wanted
        await asyncio.gather(*(self._tell(h, WANTED, word) for h, word in news.items()))

    async def _tell(self, holder: str, signal: str, word: Model) -> None:
        try:
            await workflow.get_external_workflow_handle(holder).signal(signal, word)
        except FailureError:
            workflow.logger.info("a holder is gone", extra={"holder": holder})
            self._book.give_back(holder)
            self._news = True

    async def _wait(self) -> bool:
        """For a word, or until a turn is over by itself. False: nobody has or wants one."""
        end = self._book.next_end()
        patience = max(end - workflow.now(), timedelta(0)) if end else _LINGER
        try:
            await workflow.wait_condition(
                lambda: self._news or workflow.info().is_continue_as_new_suggested(),
                timeout=patience,
                timeout_summary="the end of a turn" if end else "nobody wants a turn",
            )
        except TimeoutError:
            return not self._book.empty
        return True

    @workflow.signal
    def ask(self, *given: Any) -> None:
        """An Ask. The same once more, of a holder that has its turn, renews it."""
        if (ask := read_signal(Ask, given)) is None:
            return
        if renewed := self._book.ask(ask, workflow.now()):
            self._renewed.append(renewed)
            self._told_wanted.pop(ask.holder, None)  # it may have forgotten, in a new run
        self._news = True

    @workflow.signal
    def give_back(self, *given: Any) -> None:
        """The id of a workflow that needs its turn, or its place, no more."""
        match given:
            case [str(holder)]:
                self._book.give_back(holder)
                self._told_wanted.pop(holder, None)
                self._news = True
            case _:
                workflow.logger.warning("a signal that is no workflow id was dropped")

    @workflow.query
    def view(self) -> TurnsView:
        if self._refusal:
            raise self._refusal
        return TurnsView(
            node=self._node,
            held=tuple(self._book.held.values()),
            waiting=tuple(self._book.waiting),
        )
