"""Temporal on PostgreSQL, from the files that production mounts, outlives its own kill."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from temporalio import activity, workflow
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devnet.daemons import find
from devnet.processes import free_ports
from devnet.temporal_postgres import DEPLOY, NAMESPACE, TemporalOnPostgres
from devnet.waiting import eventually
from fulgurite.attributes import REGISTRY
from telemetry import metrics_runtime
from tests.deploy.metrics import metrics_in_use

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(900),  # the first time it may have to build the server
]

BROKEN = "none"

# Published once a poll has failed, which takes a server that is away.
POLLS = {"temporal_long_request_failure"}
LAMP_STATE = SearchAttributeKey.for_keyword("LampState")


@activity.defn
async def look() -> None:
    if activity.info().attempt == 1:
        raise ApplicationError("too dark; look again")


@workflow.defn
class Lamp:
    """Waits to be told, as a payment waits for its verdict."""

    def __init__(self) -> None:
        self._colour = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._colour != "")
        if self._colour == BROKEN:
            raise RuntimeError("a defect: the workflow task fails, and is tried again")
        workflow.upsert_search_attributes([LAMP_STATE.value_set("ON")])
        await workflow.execute_activity(
            look,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        return self._colour

    @workflow.signal
    def shine(self, colour: str) -> None:
        self._colour = colour


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalOnPostgres]:
    state_dir = tmp_path_factory.mktemp("temporal-on-postgres")
    async with TemporalOnPostgres(state_dir, search_attributes={"LampState": "Keyword"}) as running:
        yield running


async def start_lamp(client: Client, name: str) -> WorkflowHandle[Lamp, str]:
    return await client.start_workflow(
        Lamp.run,
        id=name,
        task_queue="lamps",
        search_attributes=TypedSearchAttributes([SearchAttributePair(LAMP_STATE, "OFF")]),
    )


def lamp_worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue="lamps",
        workflows=[Lamp],
        activities=[look],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


async def test_a_workflow_outlives_the_kill_of_its_server(server: TemporalOnPostgres) -> None:
    client = await Client.connect(server.address)
    async with lamp_worker(client):
        handle = await start_lamp(client, "lamp")

        await server.kill()
        await server.start()

        await handle.signal(Lamp.shine, "blue")
        assert await handle.result(rpc_timeout=timedelta(seconds=30)) == "blue"

    async def listed() -> list[str]:
        return [run.id async for run in client.list_workflows("LampState = 'ON'")]

    await eventually(listed, what="the lamp in the visibility store")


async def test_the_namespace_script_registers_what_payments_are_found_by(
    server: TemporalOnPostgres,
) -> None:
    temporal = await asyncio.to_thread(find, "temporal")
    environment = {
        "PATH": f"{temporal.parent}:/usr/bin:/bin",
        "HOME": str(server.state_dir),
        "TEMPORAL_ADDRESS": server.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
    }
    for _ in ("once", "and again, which changes nothing"):
        script = await asyncio.create_subprocess_exec(DEPLOY / "namespace.sh", env=environment)
        assert await script.wait() == 0

    client = await Client.connect(server.address)
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=NAMESPACE)
    )
    assert known.custom_attributes.keys() >= REGISTRY.keys()


async def test_every_sdk_metric_that_we_alert_on_is_published(server: TemporalOnPostgres) -> None:
    (port,) = free_ports(1)
    client = await Client.connect(server.address, runtime=metrics_runtime(f"127.0.0.1:{port}"))

    async def missing() -> set[str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as response,
        ):
            published = set(re.findall(r"^(temporal_\w+)", await response.text(), re.MULTILINE))
        return metrics_in_use("temporal") - published

    async with lamp_worker(client):
        # An activity that fails, a workflow task that fails, and polls that find nobody.
        lamp = await start_lamp(client, "measured lamp")
        await lamp.signal(Lamp.shine, "green")
        assert await lamp.result(rpc_timeout=timedelta(seconds=30)) == "green"
        broken = await start_lamp(client, "broken lamp")
        await broken.signal(Lamp.shine, BROKEN)
        await eventually(
            missing, lambda names: names <= POLLS, what="metrics of failures never published"
        )
        await server.kill()
        try:
            await eventually(missing, lambda names: not names, what="metrics never published")
        finally:
            await server.start()
        await broken.terminate()


async def test_a_database_of_an_earlier_run_is_taken_up_again(tmp_path: Path) -> None:
    server = TemporalOnPostgres(tmp_path / "temporal")
    async with server:
        client = await Client.connect(server.address)
        await client.start_workflow("Lamp", id="lamp", task_queue="nobody listens")

    async with TemporalOnPostgres(tmp_path / "temporal") as again:
        client = await Client.connect(again.address)
        description = await client.get_workflow_handle("lamp").describe()
    assert description.workflow_type == "Lamp"
