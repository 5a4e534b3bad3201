"""The activity that follows a node's blocks."""

from __future__ import annotations

from temporalio import activity

from activities.blocks import Blocks
from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from fulgurite.chain.tip import FOLLOW_CHAIN, FollowChain, Tip
from fulgurite.errors import FulguriteError


class ChainActivities:
    """Follows nodes whose observe credential this worker holds."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @activity.defn(name=FOLLOW_CHAIN.name)
    async def follow(self, ask: FollowChain) -> Tip:
        """The next tip; at `ask.until` the present one.

        Raises NodeErrors, to be retried for ever: operators see why nobody is woken.
        """
        try:
            async with heartbeating():
                return await until_shutdown(self._blocks.next(ask))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
