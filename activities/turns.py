"""Asking for a turn: by a signal that starts whoever keeps the book."""

from __future__ import annotations

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from activities.starting import searchable
from fulgurite import attributes, ids
from fulgurite.turns.calls import ASK_FOR_TURN, Asked, AskForTurn


class TurnActivities:
    """Hands asks to `turns/<node>`."""

    def __init__(self, client: Client) -> None:
        """`client` must carry the converter that the workers have."""
        self._client = client

    @activity.defn(name=ASK_FOR_TURN.name)
    async def ask(self, ask: AskForTurn) -> Asked:
        """Safe to repeat: a holder has one turn and one place, however often it asks."""
        await self._client.start_workflow(
            "TurnsWorkflow",
            ask.node,
            id=ids.turns_id(ask.node),
            task_queue=ids.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal="ask",
            start_signal_args=[ask.ask],
            search_attributes=searchable({attributes.NODE: ask.node}),
            static_summary=f"turns on the channels of {ask.node}",
        )
        return Asked()
