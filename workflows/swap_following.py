"""What loopd has begun, or may have: looked for, and followed to its last word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.swaps.calls import (
    ABANDON_SWAP,
    FOLLOW_SWAP,
    LOOK_FOR_SWAP,
    AbandonSwap,
    FollowSwap,
    LookForSwap,
)
from fulgurite.swaps.progress import Swap
from fulgurite.swaps.requests import Abandonment, Adoption, SwapRequest
from fulgurite.swaps.states import SwapEvent, SwapState
from fulgurite.swaps.told import LoopSwap, Sighting
from workflows import metrics
from workflows.calling import done_or, start_on, try_on

# How long one activity follows before the workflow takes stock.
_FOLLOW = timedelta(minutes=30)
_ONE_CALL = timedelta(minutes=2)
_START_WITHIN = timedelta(minutes=1)
# Between looks for one whose answer was lost; later, when the looks are evidence enough.
_LOOK_EVERY, _LOOK_EVERY_LATER = timedelta(seconds=5), timedelta(seconds=30)
_NOT_LISTED = timedelta(seconds=30)


class Following:
    """One swap at loopd. `fire` moves it along its table, and `show` tells who looks."""

    def __init__(
        self,
        swap: Swap,
        request: SwapRequest,
        fire: Callable[[SwapEvent, str], None],
        show: Callable[[], None],
    ) -> None:
        self._swap = swap
        self._request = request
        self._orders = swap.orders
        self._fire = fire
        self._show = show

    async def look_for_it(self) -> None:
        """One look, then a pause. What is found is followed, and never begun again."""
        swap, adopting = self._swap, self._orders.adopting
        sighting = await self._look(adopting.swap_hash if adopting else None)
        found = swap.sighted(sighting, workflow.now())
        if adopting and swap.state is SwapState.UNCERTAIN:
            self._orders.adopting = None
            if self._adopted(adopting, sighting):
                return
        if found:
            swap.swap_hash = found.swap_hash
            self._fire(SwapEvent.FOUND, f"`{found.swap_hash}`")
            return
        self._show()
        if swap.state is SwapState.ORPHAN_WATCH:
            watched = workflow.now() - swap.entered_at
            if watched >= timedelta(seconds=self._request.orphan_watch_seconds):
                metrics.count_uncertain_swap(self._request.node)
                self._fire(SwapEvent.NOT_FOUND, "loopd does not list it, which proves nothing")
                return
        elif self._decided():
            return
        await self._pause_between_looks()

    async def follow(self) -> None:
        """Until loopd says something new, or a person does."""
        swap = self._swap
        assert swap.swap_hash is not None
        if self._orders.abandoning:
            await self._abandon(self._orders.abandoning, swap.swap_hash)
        following = start_on(
            ids.swap_queue(self._request.node),
            FOLLOW_SWAP,
            FollowSwap(
                node=self._request.node,
                swap_hash=swap.swap_hash,
                seen=swap.loop,
                until=workflow.now() + _FOLLOW,
            ),
            at_most=_FOLLOW + timedelta(hours=1),
            summary="follow",
        )
        if not await done_or(following, lambda: self._orders.abandoning is not None):
            return
        told = (await following).swap
        if told is None:
            self._note("loopd does not list it: it is asked for again, and never given up")
            await workflow.sleep(_NOT_LISTED, summary="before another look")
        else:
            await self._hear(told)

    def why_not_again(self) -> str:
        """Why another try could make a second swap; empty: loopd has nothing that could."""
        if self._swap.unlisted is None:
            return "loopd does not answer, so that nothing is known"
        if self._swap.unlisted:
            return (
                f"loopd has stored {self._swap.unlisted} swap(s) that it does not list: restart "
                "it, and what it then lists is found"
            )
        if self._swap.absent(self._request):
            return ""
        until = self._swap.asked_until
        after = f" after {until:%H:%M:%S}, when no worker can ask loopd any more" if until else ""
        return f"it is looked for over {self._request.orphan_watch_seconds} s first{after}"

    async def _look(self, named: PaymentHash | None = None) -> Sighting | None:
        """What loopd has of this workflow; None: it does not answer."""
        try:
            return await try_on(
                ids.swap_queue(self._request.node),
                LOOK_FOR_SWAP,
                LookForSwap(
                    node=self._request.node,
                    direction=self._request.direction,
                    label_prefix=self._swap.label_prefix,
                    swap_hash=named,
                ),
                at_most=_ONE_CALL,
                start_within=_START_WITHIN,
                summary="look for it",
            )
        except ActivityError:
            return None

    def _adopted(self, adopting: Adoption, sighting: Sighting | None) -> bool:
        """Whether loopd has the swap that a person named, and it can be this one."""
        swaps = sighting.swaps if sighting else ()
        named = next((each for each in swaps if each.swap_hash == adopting.swap_hash), None)
        ours = (self._request.direction, self._request.amount_sat)
        if named is None or (named.direction, named.amount_sat) != ours:
            self._note(f"not adopted, though {adopting.by} asked: loopd has no such swap like it")
            return False
        self._swap.swap_hash = named.swap_hash
        self._fire(SwapEvent.ADOPTED, f"`{named.swap_hash}` by {adopting.by}")
        return True

    def _decided(self) -> bool:
        """A person's word, on what the look that was just taken shows."""
        swap, orders = self._swap, self._orders
        if orders.giving_up:
            word = orders.giving_up
            self._fire(SwapEvent.GIVEN_UP, f"by {word.by} {word.note}".rstrip())
            return True
        if not orders.again:
            return False
        word, orders.again = orders.again, None
        if because := self.why_not_again():
            self._note(f"not begun again, though {word.by} asked: {because}")
            return False
        swap.note(f"to be begun again, by {word.by} {word.note}".rstrip(), workflow.now())
        self._fire(SwapEvent.AGAIN, "")
        return True

    async def _pause_between_looks(self) -> None:
        orders, swap = self._orders, self._swap
        early = swap.state is SwapState.ORPHAN_WATCH or not swap.absent(self._request)
        try:
            await workflow.wait_condition(
                lambda: bool(orders.again or orders.adopting or orders.giving_up),
                timeout=_LOOK_EVERY if early else _LOOK_EVERY_LATER,
                timeout_summary="before another look",
            )
        except TimeoutError:
            return

    async def _hear(self, told: LoopSwap) -> None:
        move = self._swap.heard(told, workflow.now())
        if told.final and (sighting := await self._look()):
            # From outside, once: whatever went wrong, a second swap of this key is told of.
            self._swap.others = [
                swap.swap_hash for swap in sighting.swaps if swap.swap_hash != told.swap_hash
            ]
        if move:
            self._fire(*move)
        self._show()

    async def _abandon(self, order: Abandonment, swap_hash: PaymentHash) -> None:
        self._orders.abandoning = None
        published = self._swap.state is not SwapState.INITIATED
        if published and not order.even_if_published:
            self._note(f"not abandoned, though {order.by} asked: it is {self._swap.state} by now")
            return
        try:
            answer = await try_on(
                ids.swap_queue(self._request.node),
                ABANDON_SWAP,
                AbandonSwap(
                    node=self._request.node,
                    swap_hash=swap_hash,
                    even_if_published=order.even_if_published,
                ),
                at_most=_ONE_CALL,
                start_within=_START_WITHIN,
                summary="abandon",
            )
        except ActivityError as error:
            self._note(f"nobody knows whether it was abandoned: {error.cause or error}")
            return
        word = "abandoned" if answer.taken else f"not abandoned: {answer.because}"
        self._note(f"{word}, by {order.by} {order.note}".rstrip())

    def _note(self, words: str) -> None:
        self._swap.note(words, workflow.now())
        self._show()
