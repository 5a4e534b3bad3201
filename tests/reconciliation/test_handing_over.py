"""A source that goes away amid a comparison: what was found before is told all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.reconciliation import go_on
from fulgurite.errors import NodeUnavailableError
from fulgurite.reconciliation.calls import Compare, Tally
from fulgurite.reconciliation.differences import Counts, Difference, DifferenceKind

FOUND = Difference(
    kind=DifferenceKind.UNFOLLOWED_SWAP,
    node="alice",
    resource="swap/order-7",
    ours="no workflow",
    theirs="INITIATED",
    action="",
)
ASK = Compare(
    node="alice",
    began_at=datetime(2026, 1, 1, tzinfo=UTC),
    so_far=Tally(),
    at_most=timedelta(minutes=1),
)


class GoesAway:
    """A page with a difference, and then nothing more."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def further(self, tally: Tally) -> Tally:
        if tally.after_index:
            raise self._error
        found = tally.plus(Counts(ours=1, differing=1), [FOUND])
        return found.model_copy(update={"after_index": 1})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NodeUnavailableError("loopd of alice is away"), ApplicationError),
        (RPCError("a workflow gives no answer", RPCStatusCode.DEADLINE_EXCEEDED, b""), RPCError),
    ],
)
async def test_what_was_found_before_a_source_went_away_is_handed_over_once(
    error: Exception, told: type[Exception]
) -> None:
    book = GoesAway(error)
    tally = await ActivityEnvironment().run(go_on, ASK, book)
    assert tally.differences == (FOUND,)

    further = ASK.model_copy(update={"so_far": tally.handed_over()})
    with pytest.raises(told):
        await ActivityEnvironment().run(go_on, further, book)
