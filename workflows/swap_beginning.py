"""How a swap is begun: quoted, held against its limits, and asked of loopd once.

loopd makes two swaps of two calls. So the activity that asks it is run once, and whatever
cannot tell whether it has begun leads to looking, and never to asking again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from fulgurite import ids
from fulgurite.budgets.orders import Claim, Purpose
from fulgurite.money import Msat
from fulgurite.swaps.calls import (
    INITIATE_SWAP,
    QUOTE_SWAP,
    Initiate,
    Initiated,
    Outcome,
    QuoteSwap,
)
from fulgurite.swaps.progress import Swap
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SwapEvent, SwapState
from workflows import reserving, turns
from workflows.calling import nobody_came, try_on

_ONE_CALL = timedelta(minutes=2)
_START_WITHIN = timedelta(minutes=1)
# Of a call that begins a swap: to be taken by a worker, which looks first.
_ASK_WITHIN = timedelta(minutes=2)
# A quote that is older is asked for again before anything is begun on it.
_FRESH = timedelta(minutes=1)
# loopd takes so long at most, and the activity looks before and after.
_BESIDE = timedelta(seconds=90)
_TURN_AT_MOST = timedelta(minutes=30)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=2)


class Beginning:
    """One swap's way to loopd. `fire` moves it along its table; `stops` says that it may not."""

    def __init__(
        self,
        swap: Swap,
        request: SwapRequest,
        fire: Callable[[SwapEvent, str], None],
        stops: Callable[[], bool],
    ) -> None:
        self._swap = swap
        self._request = request
        self._fire = fire
        self._stops = stops
        self._tries = 0

    async def quote(self) -> None:
        """From QUOTING on: to READY, to a person, or to a refusal."""
        if not await self._offered() or self._stops():
            return
        wanted = self._swap.wants_a_person(self._request)
        self._fire(
            SwapEvent.NEEDS_APPROVAL if wanted else SwapEvent.WITHIN_LIMITS,
            f"at the worst {self._worst_case_sat:,} sat",
        )

    async def begin(self) -> None:
        """From READY on: with its turn and its budget, loopd is asked."""
        async with AsyncExitStack() as stack:
            if not await self._has_turn(stack) or not await self._has_budget():
                return
            quoted_at = self._swap.quoted_at
            fresh = quoted_at is not None and workflow.now() - quoted_at <= _FRESH
            if not fresh and not await self._offered():
                return
            # From here to the call nothing is waited for: who said stop in time was heard.
            if self._stops():
                return
            self._swap.note(f"asked as `{self._label}`", workflow.now())
            self._fire(SwapEvent.ASKED, "")
            self._hear(await self._ask())

    async def settle(self) -> None:
        """Tells the budgets the end. What nobody knows counts as if it had been spent.

        An earlier run of this key can have left its swap, and what it reserved, behind: only who
        has heard that loopd has no swap of ours frees anything.
        """
        swap, budgets = self._swap, self._request.budgets
        if not budgets:
            return
        if swap.swap_hash or swap.state is SwapState.GIVEN_UP:
            fee = Msat.from_sat(swap.cost.total_sat + swap.unseen_sat(self._request))
            await reserving.commit(budgets, self._claim, Msat(0), fee, reserved=swap.asked > 0)
        elif swap.offer and swap.offer.existing is None:
            await reserving.release(budgets, self._claim)

    async def _offered(self) -> bool:
        """Whether there is an offer within every limit; what else is fires its event."""
        swap = self._swap
        try:
            offer = await try_on(
                self._queue,
                QUOTE_SWAP,
                QuoteSwap(request=self._request, label_prefix=self._swap.label_prefix),
                at_most=_ONE_CALL,
                start_within=_START_WITHIN,
                summary=f"quote {self._request.amount_sat:,} sat",
            )
        except ActivityError as error:
            await self.pause(f"no quote: {error.cause or error}")
            return False
        if offer.reason is SwapReason.UNLISTED:
            swap.reason = offer.reason
            await self.pause(f"not begun: {offer.because}")
            return False
        self._tries, swap.reason = 0, SwapReason.NONE
        if offer.existing and offer.reason is SwapReason.NONE:
            swap.swap_hash = offer.existing.swap_hash
            self._fire(SwapEvent.FOUND, "begun before")
            return False
        reason, because = swap.quoted(offer, self._request, workflow.now())
        if reason is not SwapReason.NONE:
            self._refuse(reason, because)
            return False
        return True

    async def pause(self, because: str) -> None:
        """Before another try: what does not answer now may do so soon."""
        self._swap.note(because, workflow.now())
        pause = min(_FIRST_PAUSE * 2**self._tries, _LONGEST_PAUSE)
        self._tries = min(self._tries + 1, 10)
        try:
            await workflow.wait_condition(
                self._stops, timeout=pause, timeout_summary="before another try"
            )
        except TimeoutError:
            return

    async def pause_unless_asked(self) -> None:
        """Where loopd did not even answer whether it has the swap."""
        if self._swap.state is SwapState.QUOTING:
            await self.pause("loopd did not answer")

    async def _has_turn(self, stack: AsyncExitStack) -> bool:
        points = self._swap.offer.points if self._swap.offer else ()
        if not points:
            return True
        left = self._swap.deadline(self._request) - workflow.now()
        try:
            await stack.enter_async_context(
                turns.held(
                    self._request.node,
                    points,
                    at_most=_TURN_AT_MOST,
                    patience=max(left, timedelta(0)),
                    unless=self._stops,
                )
            )
        except turns.NoTurnError as error:
            if not self._stops():
                self._fire(SwapEvent.LAPSED, str(error))
            return False
        return True

    async def _has_budget(self) -> bool:
        if not self._request.budgets:
            return True
        refused = await reserving.reserve(
            self._request.budgets, self._claim, Msat(0), Msat.from_sat(self._total_sat)
        )
        if refused:
            self._refuse(SwapReason.OVER_BUDGET, refused.words)
        return refused is None

    async def _ask(self) -> Initiated:
        swap = self._swap
        assert swap.bounds is not None
        not_after = workflow.now() + _ASK_WITHIN
        patience = timedelta(seconds=self._request.initiation_seconds)
        try:
            return await try_on(
                self._queue,
                INITIATE_SWAP,
                Initiate(
                    request=self._request,
                    label=self._label,
                    label_prefix=self._swap.label_prefix,
                    bounds=swap.bounds,
                    not_after=not_after,
                ),
                at_most=patience + _BESIDE,
                start_within=_START_WITHIN,
                summary=f"begin as {self._label}",
            )
        except ActivityError as error:
            if nobody_came(error):
                return Initiated(outcome=Outcome.NOT_ASKED, because="no worker came for it")
            # The worker died, or lost its way to Temporal: loopd may have been asked, and one
            # that is only held up asks it yet.
            swap.asked_until = not_after + patience
            return Initiated(outcome=Outcome.LOST, because=f"{error.cause or error}")

    def _hear(self, told: Initiated) -> None:
        swap = self._swap
        match told.outcome:
            case Outcome.BEGUN:
                swap.swap_hash = told.swap_hash
                self._fire(SwapEvent.FOUND, f"`{told.swap_hash}`")
            case Outcome.REFUSED:
                self._refuse(told.reason, told.because)
            case Outcome.NOT_ASKED:
                self._fire(SwapEvent.NOT_ASKED, told.because)
            case Outcome.LOST:
                self._fire(SwapEvent.LOST, told.because)

    def _refuse(self, reason: SwapReason, because: str) -> None:
        self._swap.reason, self._swap.because = reason, because
        self._fire(SwapEvent.REFUSED, f"{reason}: {because}")

    @property
    def _label(self) -> str:
        return self._swap.label

    @property
    def _claim(self) -> Claim:
        return reserving.claim(self._swap.holder, self._swap.began_at, Purpose.SWAP)

    @property
    def _total_sat(self) -> int:
        return self._request.limits.total.of(self._request.amount_sat)

    @property
    def _worst_case_sat(self) -> int:
        return self._swap.bounds.worst_case_sat if self._swap.bounds else self._total_sat

    @property
    def _queue(self) -> str:
        return ids.swap_queue(self._request.node)
