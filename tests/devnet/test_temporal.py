"""The dev server forgets nothing that it has confirmed, whatever ends it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devnet.temporal import TemporalServer
from devnet.waiting import eventually

STATE = SearchAttributeKey.for_keyword("LampState")


@workflow.defn
class Lamp:
    """Waits to be told, as a payment waits for its verdict."""

    def __init__(self) -> None:
        self._colour = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._colour != "")
        return self._colour

    @workflow.signal
    def shine(self, colour: str) -> None:
        self._colour = colour


@pytest.mark.timeout(900)  # the first time it may have to build the server
async def test_a_workflow_outlives_the_kill_of_its_server(tmp_path: Path) -> None:
    async with TemporalServer(
        tmp_path / "temporal", search_attributes={"LampState": "Keyword"}
    ) as server:
        address = server.address
        client = await Client.connect(address)
        handle = await client.start_workflow(
            Lamp.run,
            id="lamp",
            task_queue="lamps",
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATE, "OFF")]),
        )
        await handle.signal(Lamp.shine, "blue")

        await server.kill()
        await server.start()

        assert server.address == address
        async with Worker(
            client,
            task_queue="lamps",
            workflows=[Lamp],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            assert await handle.result(rpc_timeout=timedelta(seconds=30)) == "blue"

        async def listed() -> list[str]:
            return [run.id async for run in client.list_workflows("LampState = 'OFF'")]

        await eventually(listed, what="the lamp in the visibility store")
