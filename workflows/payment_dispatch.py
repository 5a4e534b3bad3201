"""How a payment is dispatched: tracked, sent where LND knows nothing, and followed a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow

from fulgurite import ids
from fulgurite.payments.calls import DISPATCH_PAYMENT, Dispatch, Dispatched, DispatchOutcome
from fulgurite.payments.progress import Progress
from fulgurite.payments.requests import Order, PaymentRequest
from workflows.calling import ACTIVITY_ERRORS, call_local, done_or, refusal, start_on

# The fast path listens for this long. A workflow task that takes five seconds earns a warning,
# and one that takes ten is given to another worker.
FAST_PATH_SECONDS = 4.0
# How long one activity dispatches before the workflow takes stock.
_DISPATCH_AT_MOST = timedelta(minutes=5)
# Before every clock's present, however wrong that clock is.
_NEVER = datetime.fromtimestamp(0, tz=UTC)
# Started, task scheduled, task started.
_FIRST_TASK_EVENTS = 3


class Dispatcher:
    """One payment's dispatches, of which one is under way at a time."""

    def __init__(
        self,
        progress: Progress,
        request: PaymentRequest,
        order: Order,
        note: Callable[[str], None],
    ) -> None:
        self._progress = progress
        self._request = request
        self._order = order
        self._note = note
        self.may_send = False  # a dispatch is under way that may still send

    async def run(self) -> Dispatched:
        """Raises what ends a dispatch: a refusal, or a defect of ours."""
        try:
            return await self._run()
        finally:
            self.may_send = False

    async def _run(self) -> Dispatched:
        """The fast path; where it cannot tell, the same again on the node's queue."""
        if not self._progress.uncertain:
            try:
                dispatched = await call_local(DISPATCH_PAYMENT, self._ask(), summary=self._summary)
            except ACTIVITY_ERRORS as error:
                if refusal(error):
                    raise
                # A defect of ours, with LND possibly paying: never a reason to end.
                because = f"the fast path broke: {error.cause or error}"
            else:
                if dispatched.outcome not in {DispatchOutcome.UNCERTAIN, DispatchOutcome.NOT_HERE}:
                    return dispatched
                because = dispatched.because
            self._progress.uncertain = True
            self._note(f"continued on the node's queue: {because}")
        while True:
            activity = start_on(
                ids.node_queue(self._request.node),
                DISPATCH_PAYMENT,
                self._ask(),
                at_most=_DISPATCH_AT_MOST,
                summary=self._summary,
            )
            if await self._done_or_canceled(activity):
                return await activity

    async def _done_or_canceled(self, activity: workflow.ActivityHandle[Any]) -> bool:
        """True when the dispatch has ended; False when a cancel cut it off before that.

        A dispatch that hangs because the node is away would send when the node is back.
        One that is canceled is followed by another that may only ask.
        """
        if self._progress.cancel_requested:
            await workflow.wait([activity])
            return True
        done = await done_or(activity, lambda: self._progress.cancel_requested)
        self.may_send &= done
        return done

    def _ask(self) -> Dispatch:
        progress = self._progress
        last_moment = progress.last_moment(self._request, self._order)
        self.may_send = not progress.cancel_requested
        return Dispatch(
            request=self._request,
            requested_at=progress.requested_at,
            # A canceled payment may be asked about, and no longer be sent.
            send_until=_NEVER if progress.cancel_requested else last_moment,
            follow_seconds=FAST_PATH_SECONDS,
            approved=progress.approved,
            reserved=progress.reserved,
            last_failed_index=progress.last_failed_index,
            last_failed_at=progress.last_failed_at,
            uncertain=progress.uncertain,
            # A task that timed out, or any message before this one, makes the history longer.
            first_task=not progress.uncertain
            and not progress.failures
            and workflow.info().get_current_history_length() <= _FIRST_TASK_EVENTS,
        )

    @property
    def _summary(self) -> str:
        return f"pay {self._order.amount} from {self._request.node}"
