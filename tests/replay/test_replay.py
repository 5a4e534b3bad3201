"""Payments under way survive a new version of the code, or the change is noticed here.

When one of these fails, the change would break payments that run: gate it with
`workflow.patched`, or release it beside the old version; then record anew.
"""

from __future__ import annotations

import importlib
import json
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError, SandboxImportNotificationPolicy

import workflows.payment
from tests.replay.shapes import SHAPES
from workflows.payment import PaymentWorkflow
from workflows.plugin import STRICT, plugin

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))

# Each would send other commands than those that running payments have recorded.
CHANGES = {
    "a timer more": (
        "                case PaymentState.REQUESTED:\n",
        "                case PaymentState.REQUESTED:\n" + " " * 20 + "await workflow.sleep(1)\n",
    ),
    "another activity": (
        "            FOLLOW_PAYMENT,\n            Follow(",
        "            DISPATCH_PAYMENT,\n            Follow(",
    ),
    "a search attribute less": ("        workflow.upsert_search_attributes(updates)\n", ""),
    "a shorter fast path": (
        "if dispatched.outcome not in {DispatchOutcome.UNCERTAIN, DispatchOutcome.NOT_HERE}:",
        "if dispatched.outcome is DispatchOutcome.LAPSED:",
    ),
}
A_NODE_IN_A_WORKFLOW = ("import asyncio\n", "import asyncio\nimport nodes.registry\n")

# Beside what is pure, a workflow may import the other modules of its own folder. (The one
# that defines it is imported anew, which is what makes its imports seen.)
DELIBERATE = STRICT.with_passthrough_modules(
    *(
        f"workflows.{path.stem}"
        for path in Path(workflows.payment.__file__).parent.glob("*.py")
        if path.stem not in {"payment", "__init__"}
    )
).with_import_notification_policy(
    SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
)


def history_of(path: Path) -> WorkflowHistory:
    recorded = json.loads(path.read_text())
    started = recorded["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], recorded)


def named(path: Path) -> str:
    return path.stem


def test_every_shape_has_its_history() -> None:
    assert {shape.name for shape in SHAPES} <= {path.stem for path in HISTORIES}
    runs = [path for path in HISTORIES if path.stem.startswith("continued-as-new")]
    assert len(runs) > 1


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_a_payment_of_this_shape_goes_on_under_this_version(path: Path) -> None:
    replayer = Replayer(workflows=[PaymentWorkflow], plugins=[plugin()])

    await replayer.replay_workflow(history_of(path))


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_no_workflow_touches_what_the_sandbox_forbids(path: Path) -> None:
    """With every workflow module imported anew, as no fast path of ours lets it be."""
    replayer = Replayer(workflows=[PaymentWorkflow], plugins=[plugin(STRICT)])

    await replayer.replay_workflow(history_of(path))


async def test_a_workflow_imports_what_is_pure_and_nothing_else() -> None:
    replayer = Replayer(workflows=[PaymentWorkflow], plugins=[plugin(DELIBERATE)])

    await replayer.replay_workflow(history_of(HISTORIES[0]))


@pytest.fixture
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModuleType]:
    """A copy of the workflow's module with one change, importable by the sandbox too."""
    old, new = request.param
    source = Path(workflows.payment.__file__).read_text()
    assert old in source, "the change does not fit the code any more"
    (tmp_path / "changed_payment.py").write_text(source.replace(old, new))
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module("changed_payment")
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["changed_payment"]


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES, indirect=True)
async def test_a_change_that_would_break_running_payments_is_noticed(changed: ModuleType) -> None:
    """The gate bites: for each of these changes some history does not replay."""
    replayer = Replayer(workflows=[changed.PaymentWorkflow], plugins=[plugin()])
    results = [
        await replayer.replay_workflow(history_of(path), raise_on_replay_failure=False)
        for path in HISTORIES
    ]

    assert any(isinstance(result.replay_failure, NondeterminismError) for result in results)


@pytest.mark.parametrize("changed", [A_NODE_IN_A_WORKFLOW], ids=["nodes"], indirect=True)
async def test_a_workflow_that_imports_a_node_is_noticed(changed: ModuleType) -> None:
    replayer = Replayer(workflows=[changed.PaymentWorkflow], plugins=[plugin(DELIBERATE)])

    with pytest.raises(RuntimeError, match="Failed validating workflow"):
        await replayer.replay_workflow(history_of(HISTORIES[0]))


def test_the_histories_hold_no_secret() -> None:
    """They are published with the code: what they hold of preimages is sealed."""
    for path in HISTORIES:
        for text in _payloads(json.loads(path.read_text())):
            assert "preimage" not in text.replace("sealed_preimage", ""), path
            assert "macaroon" not in text.replace("pay macaroon", ""), path


def _payloads(node: object) -> Iterator[str]:
    """What the payloads of a history say, decoded."""
    match node:
        case {"metadata": _, "data": str(data)}:
            yield b64decode(data).decode()
        case dict():
            for value in node.values():
                yield from _payloads(value)
        case list():
            for value in node:
                yield from _payloads(value)
