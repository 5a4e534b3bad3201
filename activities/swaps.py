"""Swaps by loopd: what one would cost, beginning it once, and following it.

Looking is safe to repeat. Beginning is not: loopd makes two swaps of two calls, and can keep
one of a call that failed. So that activity is run once, whatever becomes of it, and says what
it knows; its workflow decides what follows from not knowing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from temporalio import activity

from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.snapshots import Snapshots
from fulgurite.errors import (
    FulguriteError,
    NodeError,
    SwapNotFoundError,
    SwapRefusedError,
)
from fulgurite.identity import ChannelPoint, NodeName, PaymentHash
from fulgurite.swaps.calls import (
    ABANDON_SWAP,
    FOLLOW_SWAP,
    INITIATE_SWAP,
    LOOK_FOR_SWAP,
    QUOTE_SWAP,
    Abandoned,
    AbandonSwap,
    Followed,
    FollowSwap,
    Initiate,
    Initiated,
    LookForSwap,
    Offer,
    Outcome,
    QuoteSwap,
)
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.told import LoopState, LoopSwap, Sighting
from nodes.loop.swaps import LoopSwaps

# What loopd's stream does not tell, a look does.
_POLL_SECONDS: Final = 5.0
# A swap that was begun is listed a moment later, whoever began it.
_LISTED_SECONDS: Final = (0.1, 0.3, 1.0, 2.0)


class SwapActivities:
    """Swaps by the loopds of nodes whose loop and observe credentials this worker holds."""

    def __init__(self, loop: Callable[[NodeName], LoopSwaps], snapshots: Snapshots) -> None:
        self._loop = loop
        self._snapshots = snapshots

    @activity.defn(name=QUOTE_SWAP.name)
    async def quote(self, ask: QuoteSwap) -> Offer:
        """What loopd has under our label, and what the swap would cost. Raises NodeErrors."""
        try:
            async with heartbeating():
                return await self._quote(ask)
        except SwapRefusedError as error:
            return Offer(reason=SwapReason(error.reason), because=_words(error))
        except FulguriteError as error:
            raise application_error(error) from error

    async def _quote(self, ask: QuoteSwap) -> Offer:
        request = ask.request
        loop = self._loop(request.node)
        sighting = await _sighted(loop, request, ask.label_prefix)
        if listed := sighting.swaps:
            return _existing(listed[-1], request)
        if because := sighting.why_not_begin:
            return Offer(reason=SwapReason.UNLISTED, because=because)
        points: tuple[ChannelPoint, ...] = ()
        if request.channels:
            channels = (await self._snapshots.of(request.node)).channels.values()
            known = {channel.channel_id: channel.channel_point for channel in channels}
            if unknown := [each for each in request.channels if each not in known]:
                return Offer(
                    reason=SwapReason.UNKNOWN_CHANNEL, because=f"not open: {', '.join(unknown)}"
                )
            points = tuple(known[each] for each in request.channels)
        terms = await loop.terms(request.direction)
        if not terms.min_sat <= request.amount_sat <= terms.max_sat:
            low = request.amount_sat < terms.min_sat
            return Offer(
                terms=terms,
                reason=SwapReason.AMOUNT_TOO_LOW if low else SwapReason.AMOUNT_TOO_HIGH,
                because=f"the server swaps {terms.min_sat:,} to {terms.max_sat:,} sat",
            )
        return Offer(
            terms=terms,
            quote=await loop.quote(request),
            points=points,
            approval_above_sat=loop.connection.config.approval_above_sat,
        )

    @activity.defn(name=INITIATE_SWAP.name)
    async def initiate(self, ask: Initiate) -> Initiated:
        """Has loopd begin a swap, unless it has one of ours already, whichever try began it.

        To be run once: it never raises for what loopd says, and who finds it dead must take it
        that loopd was asked. The call is not cut off, whatever becomes of this activity, for as
        long as this process lives.
        """
        async with heartbeating():
            beginning = asyncio.ensure_future(self._initiate(ask))
            try:
                return await asyncio.shield(beginning)
            except asyncio.CancelledError:
                return await beginning

    async def _initiate(self, ask: Initiate) -> Initiated:
        request, loop = ask.request, self._loop(ask.request.node)
        try:
            sighting = await _sighted(loop, request, ask.label_prefix)
        except FulguriteError as error:
            return Initiated(outcome=Outcome.NOT_ASKED, because=_words(error))
        if listed := sighting.swaps:
            existing = listed[-1]
            return Initiated(outcome=Outcome.BEGUN, swap=existing, swap_hash=existing.swap_hash)
        # Held up for so long, its workflow may have begun another one since.
        late = "too late" if datetime.now(UTC) > ask.not_after else ""
        if because := sighting.why_not_begin or late:
            return Initiated(outcome=Outcome.NOT_ASKED, because=because)
        try:
            swap_hash = await loop.begin(request, ask.label, ask.bounds)
        except SwapRefusedError as error:
            reason = SwapReason(error.reason)
            return Initiated(outcome=Outcome.REFUSED, reason=reason, because=_words(error))
        except FulguriteError as error:
            return Initiated(outcome=Outcome.LOST, because=_words(error))
        swap = await self._listed(loop, swap_hash)
        return Initiated(outcome=Outcome.BEGUN, swap=swap, swap_hash=swap_hash)

    async def _listed(self, loop: LoopSwaps, swap_hash: PaymentHash) -> LoopSwap | None:
        for pause in _LISTED_SECONDS:
            with suppress(SwapNotFoundError, NodeError):
                return await loop.find(swap_hash)
            await asyncio.sleep(pause)
        return None

    @activity.defn(name=LOOK_FOR_SWAP.name)
    async def look(self, ask: LookForSwap) -> Sighting:
        """All that loopd has under a workflow's labels. Raises NodeErrors."""
        try:
            async with heartbeating():
                loop = self._loop(ask.node)
                sighting = await loop.sighting(ask.direction, ask.label_prefix)
                if ask.swap_hash is None:
                    return sighting
                with suppress(SwapNotFoundError):
                    named = await loop.find(ask.swap_hash)
                    if all(named.swap_hash != swap.swap_hash for swap in sighting.swaps):
                        return sighting.model_copy(update={"swaps": (*sighting.swaps, named)})
                return sighting
        except FulguriteError as error:
            raise application_error(error) from error

    @activity.defn(name=FOLLOW_SWAP.name)
    async def follow(self, ask: FollowSwap) -> Followed:
        """Waits for loopd's next word on a swap. Raises NodeErrors, to be retried for ever."""
        try:
            async with heartbeating():
                return await until_shutdown(self._follow(ask))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _follow(self, ask: FollowSwap) -> Followed:
        loop = self._loop(ask.node)
        moved = asyncio.Event()
        listening = asyncio.create_task(_listen(loop, ask.swap_hash, moved))
        try:
            while True:
                moved.clear()
                swap = await _found(loop, ask.swap_hash)
                if swap != ask.seen or datetime.now(UTC) >= ask.until:
                    return Followed(swap=swap)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await moved.wait()
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    @activity.defn(name=ABANDON_SWAP.name)
    async def abandon(self, ask: AbandonSwap) -> Abandoned:
        """Has loopd stop caring for a swap. Once more is no harm. Raises NodeErrors.

        An HTLC that was published since the order was given is seen here, and only here.
        """
        try:
            async with heartbeating():
                loop = self._loop(ask.node)
                swap = await loop.find(ask.swap_hash)
                if swap.state is not LoopState.INITIATED and not ask.even_if_published:
                    return Abandoned(taken=False, because=f"it is {swap.state}, not INITIATED")
                await loop.abandon(ask.swap_hash)
        except (SwapRefusedError, SwapNotFoundError) as error:
            return Abandoned(taken=False, because=_words(error))
        except FulguriteError as error:
            raise application_error(error) from error
        return Abandoned(taken=True)


async def _listen(loop: LoopSwaps, swap_hash: PaymentHash, moved: asyncio.Event) -> None:
    """Says when loopd's stream tells of the swap. Where it is lost, the looks are all there is."""
    with suppress(FulguriteError):
        async with loop.monitor() as swaps:
            async for swap in swaps:
                if swap.swap_hash == swap_hash:
                    moved.set()


async def _sighted(loop: LoopSwaps, request: SwapRequest, label_prefix: str) -> Sighting:
    """What loopd has, once it lists one of ours or all that it has stored; else its last word."""
    for pause in _LISTED_SECONDS:
        sighting = await loop.sighting(request.direction, label_prefix)
        if sighting.swaps or not sighting.unlisted:
            return sighting
        await asyncio.sleep(pause)
    return await loop.sighting(request.direction, label_prefix)


async def _found(loop: LoopSwaps, swap_hash: PaymentHash) -> LoopSwap | None:
    try:
        return await loop.find(swap_hash)
    except SwapNotFoundError:
        return None


def _existing(swap: LoopSwap, request: SwapRequest) -> Offer:
    """What loopd has under the key. Of another amount, it was another request's."""
    if swap.amount_sat == request.amount_sat:
        return Offer(existing=swap)
    return Offer(
        existing=swap,
        reason=SwapReason.KEY_REUSED,
        because=f"loopd has a swap of {swap.amount_sat:,} sat under this key",
    )


def _words(error: FulguriteError) -> str:
    return str(error)[:400].replace("\n", " ")
