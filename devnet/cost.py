"""What a workflow cost: events, bytes, and the actions that Temporal's price list counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

_E = EventType

# One action each, by Temporal's published list. A local activity's marker stands for all
# that one workflow task ran; a retried activity counts once a try, which its start tells.
_ACTIONS = frozenset(
    {
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        _E.EVENT_TYPE_MARKER_RECORDED,
        _E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        _E.EVENT_TYPE_TIMER_STARTED,
        _E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    }
)


@dataclass(frozen=True)
class Cost:
    """Of one run, an activity's retries included."""

    actions: int
    events: int
    history_bytes: int


def cost(history: WorkflowHistory) -> Cost:
    """Counts a fetched history."""
    kinds = Counter(event.event_type for event in history.events)
    retries = sum(
        max(event.activity_task_started_event_attributes.attempt - 1, 0)
        for event in history.events
        if event.event_type == _E.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    return Cost(
        actions=sum(kinds[kind] for kind in _ACTIONS) + retries,
        events=len(history.events),
        history_bytes=sum(event.ByteSize() for event in history.events),
    )
