"""What every client, worker and replayer of this project shares."""

from __future__ import annotations

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

# Pure modules, imported once. What is not named here is imported anew for every run, which
# costs throughput; what touches the world is not named, so that no workflow can.
_PASSED_THROUGH = ("fulgurite", "bolt11", "bech32", "bitstring", "coincurve", "nacl")

SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(*_PASSED_THROUGH)
)


def plugin() -> SimplePlugin:
    """JSON by pydantic, and the sandbox. Given once to the client, workers inherit it."""
    return SimplePlugin(
        "fulgurite", data_converter=pydantic_data_converter, workflow_runner=SANDBOX
    )
