"""What Temporal knows of our swaps, rebalances and leases: workflows of a caller's key.

There are few of them beside payments, and what they say at the end is in their receipts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecution, WorkflowFailureError
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.comparing import batches
from activities.workflow_index import described_at, execution_of
from fulgurite import attributes
from fulgurite.identity import NodeName
from fulgurite.invoices.requests import Key
from fulgurite.model import Model
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.saying import Receipt, Said

_AT_ONCE: Final = 20
_IDS_PER_QUERY: Final = 100
_PATIENCE: Final = timedelta(seconds=10)
# Clocks differ, and a workflow's end is some moments after that of what it followed.
_MARGIN: Final = timedelta(minutes=30)

_STATE = SearchAttributeKey.for_keyword(attributes.STATE)

Asked = TypeVar("Asked", bound=Model)


@dataclass(frozen=True)
class KeyedPage(Generic[Receipt]):
    """Some workflows. No `next_token`: there are no more."""

    said: Mapping[Key, Said[Receipt]]
    next_token: bytes


class KeyedWorkflows(Generic[Receipt]):
    """Workflows of one type on one node, by the keys of those who asked for them."""

    def __init__(
        self,
        client: Client,
        node: NodeName,
        workflow_type: str,
        resource: Callable[[Key], str],
        receipt: type[Receipt],
    ) -> None:
        self._client = client
        self._node = node
        self._all = f"WorkflowType = '{workflow_type}' AND {attributes.NODE} = '{node}'"
        self._receipt = receipt
        self.resource = resource

    async def any(self) -> bool:
        return (await self._client.count_workflows(self._all)).count > 0

    async def find(self, keys: Sequence[Key]) -> Mapping[Key, Said[Receipt]]:
        """Which of them are ours, by Temporal's index. Of several runs the newest counts."""
        found: list[WorkflowExecution] = []
        for some in batches(keys, _IDS_PER_QUERY):
            wanted = ", ".join(f"'{self.resource(each)}'" for each in some)
            listed = self._client.list_workflows(f"{self._all} AND WorkflowId IN ({wanted})")
            found += [each async for each in listed]
        return await self._newest(found)

    async def look_up(self, key: Key) -> Said[Receipt] | None:
        """Temporal's own present word."""
        described = await described_at(self._client, self._node, self._all, self.resource(key))
        return await self._said(described) if described else None

    async def running(self, before: datetime, token: bytes, limit: int) -> KeyedPage[Receipt]:
        """Workflows that were started before that time and still run, by Temporal's index."""
        started = before.astimezone(UTC).isoformat()
        listed = self._client.list_workflows(
            f"{self._all} AND ExecutionStatus = 'Running' AND StartTime < '{started}'",
            page_size=limit,
            next_page_token=token or None,
        )
        await listed.fetch_next_page()
        said = await self._newest(listed.current_page or ())
        return KeyedPage(said, listed.next_page_token or b"")

    async def keys(self) -> list[Key]:
        """Of all that Temporal retains, running or not, in their order."""
        return sorted({_key_of(each.id) async for each in self._client.list_workflows(self._all)})

    async def ask(self, key: Key, query: str, answer: type[Asked]) -> Asked:
        """Asks one that runs, or has ended. Raises RPCError, and WorkflowQueryFailedError."""
        handle = self._client.get_workflow_handle(self.resource(key))
        said: Asked = await handle.query(query, result_type=answer, rpc_timeout=_PATIENCE)
        return said

    async def request(self, key: Key, run_id: str, request: type[Asked]) -> Asked | None:
        """What a run was started with; None: nothing that makes sense, or forgotten."""
        handle = self._client.get_workflow_handle(self.resource(key), run_id=run_id)
        try:
            async for event in handle.fetch_history_events(page_size=1):
                given = event.workflow_execution_started_event_attributes.input.payloads
                [first] = await self._client.data_converter.decode(given[:1], [request])
                return first if isinstance(first, request) else None
        except (ValidationError, ValueError):
            pass
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return None

    async def _newest(self, found: Sequence[WorkflowExecution]) -> dict[Key, Said[Receipt]]:
        newest: dict[Key, WorkflowExecution] = {}
        for each in found:
            key = _key_of(each.id)
            if key not in newest or each.start_time > newest[key].start_time:
                newest[key] = each
        said: dict[Key, Said[Receipt]] = {}
        for some in batches(newest.items(), _AT_ONCE):
            words = await asyncio.gather(*(self._said(each) for _, each in some))
            said |= {key: word for (key, _), word in zip(some, words, strict=True) if word}
        return said

    async def _said(self, found: WorkflowExecution) -> Said[Receipt] | None:
        """None: Temporal has forgotten it meanwhile."""
        state = found.typed_search_attributes.get(_STATE) or "REQUESTED"
        execution = execution_of(found.status)
        if execution is not Execution.COMPLETED:
            return Said(execution, state, run_id=found.run_id)
        handle: Any = self._client.get_workflow_handle(
            found.id, run_id=found.run_id, result_type=self._receipt
        )
        try:
            receipt = await handle.result(follow_runs=False)
            return Said(execution, state, receipt, run_id=found.run_id)
        except WorkflowFailureError:
            raise AssertionError(f"{found.id} has completed, and failed") from None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise


async def retained(client: Client) -> timedelta:
    """What ended within so long must have a workflow that Temporal still knows."""
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    kept: Duration = described.config.workflow_execution_retention_ttl
    return max(kept.ToTimedelta() - _MARGIN, timedelta(0))


def _key_of(workflow_id: str) -> Key:
    return workflow_id.partition("/")[2]
