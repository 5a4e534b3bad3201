"""A node's channel watch: what closes is followed, who is away is told of, a backup is kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from fulgurite import ids
from fulgurite.channels.calls import BEGIN_CLOSE, BeginClose
from fulgurite.channels.listing import LIST_CHANNELS, ListChannels
from fulgurite.channels.progress import CloseProgress
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.watch import (
    BACK_UP_CHANNELS,
    WATCH_CHANNELS,
    BackedUp,
    BackUp,
    BackupFailure,
    ChannelNotice,
    News,
    Sight,
    Watch,
    WatchView,
)
from fulgurite.errors import NodeUnavailableError
from fulgurite.events.catalogue import EventType, event
from fulgurite.identity import ChannelPoint, NodeName
from workflows import metrics, search_attributes
from workflows.announcing import emit
from workflows.calling import call_local, start_on, try_on

# How long one activity watches before operators see how it went; sooner when there is news.
_ROUND = timedelta(minutes=10)
_ROUND_AT_MOST = _ROUND + timedelta(minutes=10)
# A history stays small also where Temporal would let it grow.
_ROUNDS_A_RUN = 500
# Whoever follows a closing can be ended by force, and would be missed by nobody.
_BEGIN_AGAIN = timedelta(hours=1)
# A backup is made anew also when nothing has changed: the folder may have been emptied.
_BACK_UP_AGAIN = timedelta(days=1)
_BACK_UP_AT_MOST = timedelta(minutes=5)
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)
# A person waits for the answer.
_ONE_LOOK = timedelta(seconds=15)


@workflow.defn(name="ChannelWatchWorkflow")
class ChannelWatchWorkflow:
    """Watches for ever. Its id is `channel-watch/<node>`, so that there is one a node."""

    @workflow.init
    def __init__(self, node: NodeName, carried: WatchView | None = None) -> None:
        # Not `start_time`: that is the first workflow task's, which a crash makes later.
        began_at = workflow.info().workflow_start_time
        self._view = carried or WatchView(node=node, began_at=began_at)
        self._backing_up: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, node: NodeName, carried: WatchView | None = None) -> None:
        """`carried` is what an earlier run knew."""
        if carried is None:
            self._show(search_attributes.NODE.value_set(node))
        for _ in range(_ROUNDS_A_RUN):
            await self._watch()
            if workflow.info().is_continue_as_new_suggested():
                break
        if self._backing_up:
            await self._backing_up
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=[node, self._view])

    async def _watch(self) -> None:
        view = self._view
        watching = start_on(
            ids.chain_queue(view.node),
            WATCH_CHANNELS,
            Watch(node=view.node, so_far=view.watched, until=workflow.now() + _ROUND),
            at_most=_ROUND_AT_MOST,
            summary=f"channels of {view.node}",
        )
        try:
            news = await watching
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # A defect of ours, which it may not end by: a channel may be closing.
            workflow.logger.error("watching broke", extra={"because": str(error.cause)})
            await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
            return
        await self._act_on(news)
        self._keep_a_backup()
        workflow.set_current_details(self._view.details())

    async def _act_on(self, news: News) -> None:
        """First what costs money when it comes late, then what others are told."""
        view, now = self._view, workflow.now()
        again = view.begun_at is None or now >= view.begun_at + _BEGIN_AGAIN
        still_closing = news.watched.closing if again else ()
        for point in dict.fromkeys((*news.closing, *still_closing)):
            await self._follow(point)
        for point in news.vanished:
            await self._tell_of_vanished(point)
        for notice in news.inactive:
            await self._tell(EventType.CHANNEL_INACTIVE, notice)
        for notice in news.active:
            await self._tell(EventType.CHANNEL_ACTIVE, notice)
        self._set(
            watched=news.watched,
            rounds=view.rounds + 1,
            closings=view.closings + len(news.closing),
            begun_at=now if again else view.begun_at,
        )

    async def _follow(self, point: ChannelPoint) -> None:
        """Whoever closes it, and also where it is followed already: it has one workflow."""
        request = CloseRequest(node=self._view.node, channel_point=point, kind=CloseKind.FOLLOW)
        await call_local(
            BEGIN_CLOSE,
            BeginClose(request=request),
            summary=f"follow {point[:16]}…",
            for_ever=True,
        )

    async def _tell_of_vanished(self, point: ChannelPoint) -> None:
        """What follows it can see nothing of it for weeks, and tells of what it sees."""
        request = CloseRequest(node=self._view.node, channel_point=point, kind=CloseKind.FOLLOW)
        progress = CloseProgress(requested_at=workflow.now(), request=request)
        progress.note("no longer among the open channels, and in no other list", workflow.now())
        await emit(progress.event_of(EventType.CHANNEL_CLOSING, workflow.now()))

    async def _tell(self, kind: EventType, notice: ChannelNotice) -> None:
        point = notice.channel_point
        since = round(notice.since.timestamp() * 1_000)
        await emit(
            event(
                kind,
                notice,
                # Both ends of a channel can be ours.
                subject=f"{notice.node}-{point.txid}-{point.output_index}-{since}",
                resource=ids.channel_watch_id(notice.node),
                node=notice.node,
                timestamp=workflow.now(),
            )
        )

    # The static channel backup, beside the watching: a slow store holds up nothing else.

    def _keep_a_backup(self) -> None:
        view = self._view
        if self._backing_up or not view.watched.began:
            return
        fresh = view.backed_up_at and workflow.now() < view.backed_up_at + _BACK_UP_AGAIN
        if not fresh or view.backed_up != view.watched.backup_set:
            self._backing_up = asyncio.create_task(self._back_up())

    async def _back_up(self) -> None:
        try:
            answer = await start_on(
                ids.chain_queue(self._view.node),
                BACK_UP_CHANNELS,
                BackUp(node=self._view.node, of=self._view.watched.backup_set),
                at_most=_BACK_UP_AT_MOST,
                summary="static channel backup",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            answer = BackedUp(because=str(error.cause or error)[:400].replace("\n", " "))
        finally:
            self._backing_up = None
        now, failing_since = workflow.now(), self._view.backup_fails_since
        if answer.kept or not answer.wanted:
            self._set(
                backup=answer,
                backed_up=answer.of,
                backed_up_at=now,
                backup_fails_since=None,
            )
            return
        self._set(backup=answer, backup_fails_since=failing_since or now)
        if failing_since is None:
            await self._tell_of_failure(answer)

    async def _tell_of_failure(self, answer: BackedUp) -> None:
        """Once, and not for each try: it is tried again in every round."""
        view = self._view
        assert view.backup_fails_since is not None
        failure = BackupFailure(
            node=view.node,
            channels=len(view.watched.open) + len(view.watched.opening),
            because=answer.because,
            kept_at=view.backed_up_at,
            since=view.backup_fails_since,
        )
        since = round(failure.since.timestamp() * 1_000)
        metrics.count_backup_failure(view.node)
        await emit(
            event(
                EventType.CHANNEL_BACKUP_FAILED,
                failure,
                subject=f"{view.node}-{since}",
                resource=ids.channel_watch_id(view.node),
                node=view.node,
                timestamp=workflow.now(),
            )
        )

    def _set(self, **changes: object) -> None:
        before = self._view.state
        self._view = self._view.model_copy(update=changes)
        if self._view.state is not before:
            self._show()
        workflow.set_current_details(self._view.details())

    def _show(self, *more: SearchAttributeUpdate[str]) -> None:
        state = search_attributes.STATE.value_set(self._view.state)
        workflow.upsert_search_attributes([state, *more])

    @workflow.query
    def view(self) -> WatchView:
        return self._view

    @workflow.update
    async def channels(self) -> Sight:
        """LND's present word, for a person who asks. What is known here stays as it is."""
        node = self._view.node
        try:
            return await try_on(
                ids.chain_queue(node),
                LIST_CHANNELS,
                ListChannels(node=node),
                at_most=_ONE_LOOK,
                start_within=_ONE_LOOK,
                summary="channels, for a person",
            )
        except ActivityError as error:
            raise ApplicationError(
                f"{node} does not say which channels it has: {error.cause or error}",
                type=NodeUnavailableError.__name__,
                non_retryable=True,
            ) from error
