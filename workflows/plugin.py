"""What every client, worker and replayer of this project shares."""

from __future__ import annotations

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

# Pure modules, imported once. What is not named here is imported anew for every run; our
# own workflow modules cost most of a payment's time so, and are named too. In the tests they
# are not (`STRICT`): what a workflow module may touch is decided there.
_PURE = ("fulgurite", "bech32", "coincurve", "nacl")

STRICT = SandboxRestrictions.default.with_passthrough_modules(*_PURE)
FAST = STRICT.with_passthrough_modules("workflows")


def plugin(restrictions: SandboxRestrictions = FAST) -> SimplePlugin:
    """JSON by pydantic, and the sandbox. Given once to the client, workers inherit it."""
    return SimplePlugin(
        "fulgurite",
        data_converter=pydantic_data_converter,
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
    )
