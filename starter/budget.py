"""Budgets: what is spent, reserved and free; and a person's word on how much it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import ClassVar, Final

from pydantic import TypeAdapter, ValidationError
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from fulgurite import ids
from fulgurite.budgets.orders import BudgetRelease, BudgetSetting
from fulgurite.budgets.policy import BudgetName, BudgetPolicy
from fulgurite.budgets.receipts import BudgetView
from fulgurite.errors import InvalidRequestError
from fulgurite.money import Msat
from starter.errors import NotRetainedError, WorkerUnavailableError, temporal_errors
from starter.finding import Finder
from starter.handle import Answer, Handle
from workflows.budget import BudgetWorkflow

_NAME: Final[TypeAdapter[BudgetName]] = TypeAdapter(BudgetName)
_PATIENCE: Final = timedelta(seconds=10)
_NOTHING: Final = Msat(0)


class Budget(Handle[None, BudgetView]):
    """A budget, which does not end: `view`, `watch`, `set` and `release`."""

    _NOUN: ClassVar = "budget"

    def __init__(self, client: Client, name: str) -> None:
        """Raises InvalidRequestError for what can be no budget's name."""
        self.name = _name(name)
        super().__init__(
            client.get_workflow_handle_for(BudgetWorkflow.run, ids.budget_id(self.name)),
            BudgetWorkflow.view,
        )
        self._client = client

    def __repr__(self) -> str:
        return f"Budget({self.name})"

    async def set(self, policy: BudgetPolicy, *, by: str) -> BudgetView:
        """How much it allows from now on. What is spent and reserved counts on.

        Holds until somebody sets another, or the workers' configuration of this budget is
        changed. Raises InvalidRequestError, WorkerUnavailableError, TemporalUnavailableError.
        """
        try:
            setting = BudgetSetting(policy=policy, by=by)
        except ValidationError as error:
            raise InvalidRequestError("give a name in one line: who sets the budget") from error
        try:
            with temporal_errors():
                return await self._client.execute_update_with_start_workflow(
                    BudgetWorkflow.set_policy,
                    setting,
                    start_workflow_operation=WithStartWorkflowOperation(
                        BudgetWorkflow.run,
                        args=[self.name],
                        id=ids.budget_id(self.name),
                        task_queue=ids.TASK_QUEUE,
                        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                        static_summary=f"budget {self.name}",
                    ),
                    rpc_timeout=_PATIENCE,
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            raise WorkerUnavailableError(
                f"no worker answered within {_PATIENCE.seconds} s, and the policy may still be "
                "taken: start `fulgurite-worker`, then look at the budget"
            ) from late

    async def release(
        self, holder: str, *, spent_msat: Msat = _NOTHING, fee_msat: Msat = _NOTHING
    ) -> BudgetView:
        """Frees what a workflow that was ended by force has left reserved.

        Only where nothing of it is in flight any more. `spent_msat`, and beside it `fee_msat`,
        is what has left: it counts from now. A settlement that comes after nothing was said to
        have left counts all the same, and the budget is then overdrawn. Mostly a payment needs
        this not: asked for again it learns LND's verdict and frees or settles by that.

        Raises InvalidRequestError where `holder` holds nothing, WorkerUnavailableError,
        TemporalUnavailableError.
        """
        try:
            word = BudgetRelease(holder=holder, amount_msat=spent_msat, fee_msat=fee_msat)
        except ValidationError as error:
            raise InvalidRequestError("give a holder: `fulgurite budget show` has them") from error
        return await self._ordering(BudgetWorkflow.release, word)

    async def _asking(self, answer: Awaitable[Answer]) -> Answer:
        try:
            return await super()._asking(answer)
        except NotRetainedError as error:
            raise NotRetainedError(
                f"there is no budget {self.name}: `fulgurite budget list` has them, "
                f"`fulgurite budget set {self.name}` makes one"
            ) from error

    def _standing(self, view: BudgetView) -> str:
        return view.state

    def _is_last(self, view: BudgetView) -> bool:  # noqa: ARG002 - it does not end
        return False


async def budgets(client: Client, finder: Finder) -> tuple[BudgetView, ...]:
    """All of them by name; what `FulguriteClient.budgets` gives."""
    names = sorted([each async for each in finder.budget_names()])
    return tuple(await asyncio.gather(*(Budget(client, name).view() for name in names)))


async def configure_budgets(client: Client, policies: Mapping[BudgetName, BudgetPolicy]) -> None:
    """Tells each budget what the configuration says. Told again it changes nothing."""
    for name, policy in policies.items():
        setting = BudgetSetting(policy=policy, by="the configuration", configured=True)
        await client.start_workflow(
            BudgetWorkflow.run,
            name,
            id=ids.budget_id(name),
            task_queue=ids.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal="configure",
            start_signal_args=[setting],
            static_summary=f"budget {name}",
        )


def _name(text: str) -> BudgetName:
    try:
        return _NAME.validate_python(text.strip().removeprefix("budget/"))
    except ValidationError as error:
        raise InvalidRequestError(
            "a budget's name is lower-case letters, digits, - and _, and begins with a letter"
        ) from error
