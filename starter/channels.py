"""A node's channels, as its watch and its closings tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import ClassVar, Final

from pydantic import Field
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)

from fulgurite import ids
from fulgurite.chain.tip import ChainView, Tip
from fulgurite.channels.channel import Channel
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.watch import Sight, WatchView
from fulgurite.errors import FulguriteError
from fulgurite.identity import ChannelPoint, NodeName
from fulgurite.model import Model
from starter.channel import ChannelClose
from starter.errors import NotRetainedError, WorkerUnavailableError, told
from starter.finding import Finder
from starter.handle import Answer, Handle
from workflows.chain import ChainWorkflow
from workflows.channel_watch import ChannelWatchWorkflow

# The workflow waits for a worker to get to it, and then for LND.
_PATIENCE: Final = timedelta(seconds=35)


class NodeChannels(Model):
    """The channels of a node, with what is closing."""

    node: NodeName
    tip: Tip | None = Field(description="where the chain is; null: nobody follows its blocks")
    open: tuple[Channel, ...]
    opening: tuple[ChannelPoint, ...]
    closing: tuple[CloseView, ...]


class ChannelWatch(Handle[None, WatchView]):
    """The watch of a node's channels, which does not end: `view`, `watch` and `channels`."""

    _NOUN: ClassVar = "channel watch"

    def __init__(self, client: Client, node: NodeName) -> None:
        super().__init__(
            client.get_workflow_handle_for(ChannelWatchWorkflow.run, ids.channel_watch_id(node)),
            ChannelWatchWorkflow.view,
        )
        self.node = node

    async def channels(self) -> Sight:
        """LND's present word. Raises WorkerUnavailableError, and NodeErrors of LND's."""
        try:
            return await self._asking(
                self._handle.execute_update(ChannelWatchWorkflow.channels, rpc_timeout=_PATIENCE)
            )
        except WorkflowUpdateFailedError as failed:
            raise told(failed.cause) or FulguriteError(str(failed.cause)) from failed
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            raise WorkerUnavailableError(
                f"no worker with an observe credential of {self.node} answered within "
                f"{_PATIENCE.seconds} s: start `fulgurite-worker`, and ask again"
            ) from late

    async def _asking(self, answer: Awaitable[Answer]) -> Answer:
        try:
            return await super()._asking(answer)
        except NotRetainedError as error:
            raise NotRetainedError(
                f"nobody watches the channels of {self.node}: check the name, and start a "
                "`fulgurite-worker` that holds its observe credential"
            ) from error

    def _standing(self, view: WatchView) -> str:
        return view.state

    def _is_last(self, view: WatchView) -> bool:  # noqa: ARG002 - whatever it says
        return False


async def node_channels(client: Client, finder: Finder, node: NodeName) -> NodeChannels:
    """What `FulguriteClient.channels` gives."""
    sight, tip = await asyncio.gather(
        ChannelWatch(client, node).channels(), chain_tip(client, node)
    )
    return NodeChannels(
        node=node,
        tip=tip,
        open=sight.channels,
        opening=sight.opening,
        closing=await _closings(client, finder, node),
    )


async def chain_tip(client: Client, node: NodeName) -> Tip | None:
    """The last that the node told while it was in step with the chain."""
    chain: _Chain = _Chain(
        client.get_workflow_handle_for(ChainWorkflow.run, ids.chain_id(node)), ChainWorkflow.view
    )
    with suppress(NotRetainedError):
        return (await chain.view()).trusted
    return None


async def _closings(client: Client, finder: Finder, node: NodeName) -> tuple[CloseView, ...]:
    """How those stand that have an output to come."""
    handles = [
        ChannelClose(client, summary.workflow_id, attached=True)
        async for summary in finder.list_closes(node=node, under_way=True, limit=None)
    ]
    return tuple(await asyncio.gather(*(handle.view() for handle in handles)))


class _Chain(Handle[None, ChainView]):
    _NOUN: ClassVar = "chain time"

    def _standing(self, view: ChainView) -> str:
        return view.state

    def _is_last(self, view: ChainView) -> bool:  # noqa: ARG002 - it does not end
        return False
