"""Workflows under way survive a new version of the code, or the change is noticed here.

When one of these fails, the change would break what runs: gate it with
`workflow.patched`, or release it beside the old version; then record anew.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError, SandboxImportNotificationPolicy

import workflows.budget
import workflows.create_invoice
import workflows.event
import workflows.invoice
import workflows.payment
import workflows.payment_budget
import workflows.payment_dispatch
import workflows.rebalance
import workflows.turn_keeping
from tests.replay.shapes import SHAPES
from worker import WORKFLOWS
from workflows.payment import PaymentWorkflow
from workflows.plugin import STRICT, plugin

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))

# Each would send other commands than what runs has recorded.
CHANGES = {
    "payment, a timer more": (
        workflows.payment,
        "                case PaymentState.REQUESTED:\n",
        "                case PaymentState.REQUESTED:\n" + " " * 20 + "await workflow.sleep(1)\n",
    ),
    "payment, a pause before it follows": (
        workflows.payment,
        "        following = payment_following.start(",
        "        await workflow.sleep(1)\n        following = payment_following.start(",
    ),
    "payment, a search attribute less": (
        workflows.payment,
        "        workflow.upsert_search_attributes(updates)\n",
        "",
    ),
    "payment, a budget that is not told the end": (
        workflows.payment,
        "        await self._budgets.settle()\n",
        "",
    ),
    "payment, a budget that is asked twice": (
        workflows.payment_budget,
        "            granted, refusal = await self._ask()\n",
        "            granted, refusal = await self._ask()\n" * 2,
    ),
    "budget, a search attribute less": (
        workflows.budget,
        "if view.state is self._shown:",
        "if True:",
    ),
    "payment, another activity": (
        workflows.payment_dispatch,
        "import DISPATCH_PAYMENT, ",
        "import FOLLOW_PAYMENT as DISPATCH_PAYMENT, ",
    ),
    "payment, a shorter fast path": (
        workflows.payment_dispatch,
        "if dispatched.outcome not in {DispatchOutcome.UNCERTAIN, DispatchOutcome.NOT_HERE}:",
        "if dispatched.outcome is DispatchOutcome.LAPSED:",
    ),
    "invoice, a search attribute less": (
        workflows.invoice,
        "workflow.upsert_search_attributes([search_attributes.STATE.value_set(progress.state)])",
        "pass",
    ),
    "invoice, no last word": (
        workflows.invoice,
        "            self._heard.append(await at_lnd.look_up(self._this))\n",
        "",
    ),
    "create_invoice, no fast path": (
        workflows.create_invoice,
        "            return await call_local(CREATE_INVOICE, asked, summary=summary)\n",
        "            pass\n",
    ),
    "rebalance, no look before an attempt": (
        workflows.rebalance,
        "            await self._renew(turn)\n            await self._look()\n",
        "            await self._renew(turn)\n",
    ),
    "turn_keeping, nobody is told who waits": (
        workflows.turn_keeping,
        "(self._tell(h, WANTED, word) for h, word in news.items())",
        "(self._tell(h, WANTED, word) for h, word in ())",
    ),
    "event, a pause before the first try": (
        workflows.event,
        "        self._fire(name, DeliveryEvent.TURN_CAME)\n",
        "        self._fire(name, DeliveryEvent.TURN_CAME)\n        await workflow.sleep(1)\n",
    ),
}
# What a workflow's module was divided into, and by which name the change finds it.
PART_OF = {
    workflows.payment_dispatch: workflows.payment,
    workflows.payment_budget: workflows.payment,
}
A_NODE_IN_A_WORKFLOW = (
    workflows.payment,
    "from datetime import datetime, timedelta\n",
    "from datetime import datetime, timedelta\nimport nodes.registry\n",
)

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


def kind_of(path: Path) -> str:
    started = json.loads(path.read_text())["events"][0]["workflowExecutionStartedEventAttributes"]
    return str(started["workflowType"]["name"])


OF_PAYMENTS = [path for path in HISTORIES if kind_of(path) == "PaymentWorkflow"]


def test_every_shape_has_its_history() -> None:
    assert {shape.name for shape in SHAPES} <= {path.stem for path in HISTORIES}


def test_every_workflow_has_its_histories_and_what_carries_on_has_several_runs() -> None:
    assert {each.__name__ for each in WORKFLOWS} <= {kind_of(path) for path in HISTORIES}
    assert len(runs_of("continued-as-new")) > 1
    assert len(runs_of("invoice-continued-as-new")) > 1


def runs_of(shape: str) -> list[Path]:
    return [path for path in HISTORIES if path.stem.startswith(shape)]


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_a_workflow_of_this_shape_goes_on_under_this_version(path: Path) -> None:
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin()])

    await replayer.replay_workflow(history_of(path))


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_no_workflow_touches_what_the_sandbox_forbids(path: Path) -> None:
    """With every workflow module imported anew, as no fast path of ours lets it be."""
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin(STRICT)])

    await replayer.replay_workflow(history_of(path))


async def test_a_workflow_imports_what_is_pure_and_nothing_else() -> None:
    replayer = Replayer(workflows=[PaymentWorkflow], plugins=[plugin(DELIBERATE)])

    await replayer.replay_workflow(history_of(OF_PAYMENTS[0]))


@pytest.fixture
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type]:
    """A workflow from a copy of its module with one change, importable by the sandbox too."""
    changed, old, new = request.param
    whole = PART_OF.get(changed, changed)
    for module in {changed, whole}:
        source = Path(module.__file__).read_text()
        if module is changed:
            assert old in source, "the change does not fit the code any more"
            source = source.replace(old, new)
        source = source.replace(f"from {changed.__name__} import", f"from {_copy(changed)} import")
        (tmp_path / f"{_copy(module)}.py").write_text(source)
    [workflow] = [each for each in WORKFLOWS if each.__module__ == whole.__name__]
    sys.path.insert(0, str(tmp_path))
    try:
        yield getattr(importlib.import_module(_copy(whole)), workflow.__name__)
    finally:
        sys.path.remove(str(tmp_path))
        for module in {changed, whole}:
            del sys.modules[_copy(module)]


def _copy(module: ModuleType) -> str:
    return module.__name__.replace("workflows.", "changed_")


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES, indirect=True)
async def test_a_change_that_would_break_what_runs_is_noticed(changed: type) -> None:
    """The gate bites: for each of these changes some history does not replay."""
    replayer = Replayer(workflows=[changed], plugins=[plugin()])
    results = [
        await replayer.replay_workflow(history_of(path), raise_on_replay_failure=False)
        for path in HISTORIES
        if kind_of(path) == changed.__name__
    ]

    assert any(isinstance(result.replay_failure, NondeterminismError) for result in results)


@pytest.mark.parametrize("changed", [A_NODE_IN_A_WORKFLOW], ids=["nodes"], indirect=True)
async def test_a_workflow_that_imports_a_node_is_noticed(changed: type) -> None:
    replayer = Replayer(workflows=[changed], plugins=[plugin(DELIBERATE)])

    with pytest.raises(RuntimeError, match="Failed validating workflow"):
        await replayer.replay_workflow(history_of(OF_PAYMENTS[0]))


def test_the_histories_hold_no_secret() -> None:
    """They are published with the code: what they hold of preimages is sealed."""
    for path in HISTORIES:
        for text in _payloads(json.loads(path.read_text())):
            assert not re.search(r"(?<!sealed[_ ])preimage", text), path
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
