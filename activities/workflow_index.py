"""What Temporal knows of our payments or invoices: one of the two books of a reconciliation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.comparing import OurPage, batches
from fulgurite import attributes
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.money import Msat
from fulgurite.reconciliation.comparing import Execution, Ours, Theirs
from fulgurite.reconciliation.differences import DifferenceKind

# A dev server and PostgreSQL take thousands of ids in one query. This many make a query of
# 19 kB, and 400 queries of 100,000 records.
_IDS_PER_QUERY: Final = 250

_NODE = SearchAttributeKey.for_keyword(attributes.NODE)
_STATE = SearchAttributeKey.for_keyword(attributes.STATE)
_AMOUNT_MSAT = SearchAttributeKey.for_int(attributes.AMOUNT_MSAT)

# What a kind of difference is told by: the signal's name and its argument, if it has one.
Signals = Callable[[DifferenceKind, Theirs], tuple[str, Any]]


class WorkflowIndex:
    """Workflows of one type on one node. An `activities.comparing.OurBook`."""

    def __init__(
        self,
        client: Client,
        node: NodeName,
        workflow_type: str,
        resource: Callable[[PaymentHash], str],
        *,
        first_state: str,
        signal: Signals,
    ) -> None:
        """`first_state`: of one that nothing is indexed of yet."""
        self._client = client
        self._node = node
        self._all = f"WorkflowType = '{workflow_type}' AND {attributes.NODE} = '{node}'"
        self._first_state = first_state
        self._signal = signal
        self.resource = resource

    async def find(self, hashes: Sequence[PaymentHash]) -> Mapping[PaymentHash, Ours]:
        """Of several runs of one workflow the newest counts."""
        newest: dict[PaymentHash, WorkflowExecution] = {}
        for some in batches(hashes, _IDS_PER_QUERY):
            # By the id and not by an attribute: the id is there from the first moment.
            wanted = ", ".join(f"'{self.resource(each)}'" for each in some)
            async for found in self._client.list_workflows(
                f"{self._all} AND WorkflowId IN ({wanted})"
            ):
                payment_hash = _hash_of(found.id)
                known = newest.get(payment_hash)
                if known is None or found.start_time > known.start_time:
                    newest[payment_hash] = found
        return {each: self._ours(found) for each, found in newest.items()}

    async def look_up(self, payment_hash: PaymentHash) -> Ours | None:
        described = await described_at(
            self._client, self._node, self._all, self.resource(payment_hash)
        )
        return self._ours(described) if described else None

    async def running(self, before: datetime, token: bytes, limit: int) -> OurPage:
        started = before.astimezone(UTC).isoformat()
        listed = self._client.list_workflows(
            f"{self._all} AND ExecutionStatus = 'Running' AND StartTime < '{started}'",
            page_size=limit,
            next_page_token=token or None,
        )
        await listed.fetch_next_page()
        return OurPage(
            [self._ours(found) for found in listed.current_page or ()],
            listed.next_page_token or b"",
        )

    async def tell(self, kind: DifferenceKind, theirs: Theirs) -> bool:
        name, argument = self._signal(kind, theirs)
        handle = self._client.get_workflow_handle(self.resource(theirs.payment_hash))
        try:
            await handle.signal(name, args=[] if argument is None else [argument])
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    def _ours(self, found: WorkflowExecution) -> Ours:
        indexed = found.typed_search_attributes
        amount = indexed.get(_AMOUNT_MSAT)
        return Ours(
            payment_hash=_hash_of(found.id),
            execution=execution_of(found.status),
            state=indexed.get(_STATE) or self._first_state,
            amount=None if amount is None else Msat(amount),
        )


async def described_at(
    client: Client, node: NodeName, indexed: str, workflow_id: str
) -> WorkflowExecutionDescription | None:
    """The newest run at a node, by Temporal's present word; None: there is none.

    The same id can have been asked for at another node since, once its run here was ended by
    force: that hides nothing of this node. `indexed` lists the node's workflows.
    """
    described = await _described(client, workflow_id)
    at = described.typed_search_attributes.get(_NODE) if described else None
    if at in {node, None}:  # None: it has only begun, and not said where
        return described if at else None
    listed = client.list_workflows(f"{indexed} AND WorkflowId = '{workflow_id}'")
    here = [found async for found in listed]
    if not here:
        return None
    newest = max(here, key=lambda found: found.start_time)
    if newest.status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
        return None  # the index has not its last run yet
    return await _described(client, workflow_id, newest.run_id)


async def _described(
    client: Client, workflow_id: str, run_id: str | None = None
) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def execution_of(status: WorkflowExecutionStatus | None) -> Execution:
    """Temporal's word in ours."""
    # One that continued as new runs, whatever the index says of its earlier run.
    if status in {None, WorkflowExecutionStatus.CONTINUED_AS_NEW}:
        return Execution.RUNNING
    assert status is not None
    return Execution(status.name)


def _hash_of(workflow_id: str) -> PaymentHash:
    return PaymentHash(workflow_id.partition("/")[2])
