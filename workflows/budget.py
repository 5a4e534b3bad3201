"""One budget: who asks is granted or refused, one after another, by one book."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from fulgurite import ids
from fulgurite.budgets.book import Book
from fulgurite.budgets.orders import (
    BudgetAnswers,
    BudgetOrders,
    BudgetRelease,
    BudgetSetting,
)
from fulgurite.budgets.policy import BudgetState
from fulgurite.budgets.receipts import BudgetView, view_of
from fulgurite.errors import FulguriteError, InvalidRequestError
from workflows import metrics, search_attributes
from workflows.calling import read_signal, refused
from workflows.enduring import to_its_end

# Temporal takes 2,000 updates in a run, which carry many orders each. A worker that comes new to
# a run repeats all of it in one go, for which it has two seconds.
_ORDERS_A_RUN = 1_000
_LONGEST_REST = timedelta(days=1)


@workflow.defn(name="BudgetWorkflow")
class BudgetWorkflow:
    """Keeps a budget for ever. Its id is `budget/<name>`, so that there is one book a name.

    Orders are carried out without ever waiting, so that none sees another's half. Whoever
    cannot reach it has no word from it, and without its word nothing is sent.
    """

    @workflow.init
    def __init__(self, name: Any, carried: Any = None) -> None:
        # `name` is any JSON: what is none must be refused, and never wedge the task. What an
        # earlier run carried over is ours: there a wedge is better than forgetting.
        self._orders = 0
        self._shown: BudgetState | None = None
        self._news = True  # something has happened that was not shown yet
        self._refusal: ApplicationError | None = None
        self._book: Book
        if workflow.info().continued_run_id:
            self._book = Book.model_validate(carried)
            return
        try:
            self._book = Book(name=name)
            if carried is not None or workflow.info().workflow_id != ids.budget_id(name):
                raise InvalidRequestError(
                    f"give one argument, the name; the workflow id is {ids.budget_id(name)}"
                )
        except (ValidationError, FulguriteError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, name: Any, carried: Any = None) -> None:
        """`carried` is the book of an earlier run. Raises ApplicationError for what is no name."""
        if self._refusal:
            raise self._refusal
        if carried is None:
            workflow.upsert_search_attributes([search_attributes.KEY.value_set(name)])
        # A budget that has ended has forgotten what was spent. Setting it to 0 stops it.
        return await to_its_end(
            self._keep(),
            lambda: workflow.logger.warning("canceled in Temporal: a budget goes on all the same"),
        )

    async def _keep(self) -> None:
        while not self._is_full():
            self._show()
            await self._rest()
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=[self._book.name, self._book])

    def _is_full(self) -> bool:
        return self._orders >= _ORDERS_A_RUN or workflow.info().is_continue_as_new_suggested()

    async def _rest(self) -> None:
        """Until somebody comes, or a window moves that others should see moving."""
        timeout = None
        if self._shown in {BudgetState.LOW, BudgetState.SPENT} and (
            changes_at := self._book.changes_at(workflow.now())
        ):
            left = changes_at - workflow.now() + timedelta(seconds=1)
            timeout = min(max(left, timedelta(seconds=1)), _LONGEST_REST)
        try:
            await workflow.wait_condition(
                lambda: self._news or self._is_full(),
                timeout=timeout,
                timeout_summary="the window moves",
            )
        except TimeoutError:
            return

    def _show(self) -> None:
        self._news = False
        view = self._present_view()
        workflow.set_current_details(view.details())
        if view.state is self._shown:
            return
        before, self._shown = self._shown, view.state
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(view.state)])
        if before is not None:
            workflow.logger.info("budget moved", extra={"state": view.state})
            metrics.count_budget_state(view.name, view.state)

    def _present_view(self) -> BudgetView:
        return view_of(self._book, workflow.now())

    # What it is told and asked.

    @workflow.update
    def tell(self, told: BudgetOrders) -> BudgetAnswers:
        """Many orders, in their order; an answer each."""
        self._orders += len(told.orders)
        now = workflow.now()
        answers = tuple(self._book.take(order, now) for order in told.orders)
        for answer in answers:
            if answer.refusal:
                metrics.count_budget_refusal(self._book.name, answer.refusal.reason)
        self._news = True
        return BudgetAnswers(answers=answers)

    @tell.validator
    def _may_tell(self, told: BudgetOrders) -> None:  # noqa: ARG002 - any orders will do
        self._must_be_understood()

    @workflow.update
    def release(self, word: BudgetRelease) -> BudgetView:
        """A person's word on what a holder that was ended by force has left reserved."""
        self._orders += 1
        self._book.release(word, workflow.now())
        self._news = True
        return self._present_view()

    @release.validator
    def _may_release(self, word: BudgetRelease) -> None:
        self._must_be_understood()
        if word.holder not in self._book.held:
            raise refused(
                InvalidRequestError(
                    f"{word.holder} holds nothing of budget {self._book.name}: "
                    "`fulgurite budget show` has those who do"
                )
            )

    @workflow.update
    def set_policy(self, setting: BudgetSetting) -> BudgetView:
        """A person's word on how much is allowed."""
        self._set(setting)
        return self._present_view()

    @set_policy.validator
    def _may_set(self, setting: BudgetSetting) -> None:  # noqa: ARG002 - any policy will do
        self._must_be_understood()

    @workflow.signal
    def configure(self, *given: Any) -> None:
        """A worker's configuration, told at its start: a BudgetSetting."""
        setting = read_signal(BudgetSetting, given)
        if setting and not self._refusal:
            self._set(setting)

    def _set(self, setting: BudgetSetting) -> None:
        self._orders += 1
        self._book.set(setting, workflow.now())
        self._news = True

    @workflow.query
    def view(self) -> BudgetView:
        self._must_be_understood()
        return self._present_view()

    def _must_be_understood(self) -> None:
        if self._refusal:
            raise self._refusal
