"""Under which name a workflow goes on to its budgets after an upgrade: the one it reserved under.

Replay compares commands and not what they say, so what is said is listened to here.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from temporalio.worker import (
    Interceptor,
    Replayer,
    StartActivityInput,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from fulgurite.budgets.orders import TellBudget
from tests.replay.test_replay import HISTORIES, history_of
from worker import WORKFLOWS
from workflows.plugin import plugin

# Recorded before keys were told apart by node, and since.
BEFORE = ("lease-to-the-end", "rebalance-over-budget")
SINCE = ("lease-counted", "rebalance-counted", "rebalance-counted-and-over-budget", "swap-counted")


class Listening(WorkflowOutboundInterceptor):
    """Keeps the names under which budgets are told anything."""

    holders: ClassVar[set[str]] = set()

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002 - the SDK's word
        self.holders.update(
            each.order.claim.holder for each in input.args if isinstance(each, TellBudget)
        )
        return super().start_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Listening(outbound))


class _Listeners(Interceptor):
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's word
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


async def _holders(history: str) -> tuple[str, set[str]]:
    """A history's workflow, and under which names it is heard at its budgets."""
    [path] = [path for path in HISTORIES if path.stem == history]
    recorded = history_of(path)
    Listening.holders.clear()
    replayer = Replayer(
        workflows=WORKFLOWS,
        plugins=[plugin()],
        interceptors=[_Listeners()],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await replayer.replay_workflow(recorded)
    return recorded.workflow_id, set(Listening.holders)


@pytest.mark.parametrize("history", BEFORE)
async def test_who_reserved_under_its_id_alone_is_settled_under_it(history: str) -> None:
    workflow_id, holders = await _holders(history)
    assert holders == {workflow_id}


@pytest.mark.parametrize("history", SINCE)
async def test_who_began_since_goes_by_its_node_too(history: str) -> None:
    workflow_id, holders = await _holders(history)
    assert holders == {f"{workflow_id}@alice"}
