"""Where a payment hangs. It only looks: what is done is done by others."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio import activity

from activities.errors import application_error
from activities.heartbeats import heartbeating
from activities.payments import update_of
from activities.snapshots import Snapshot, Snapshots
from fulgurite.channels.channel import Channel, Htlc
from fulgurite.errors import (
    FulguriteError,
    NodeUnavailableError,
    PaymentNotFoundError,
    UnexpectedAnswerError,
)
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.sealing import SealingKey
from fulgurite.stuck.calls import LOOK_AT_STUCK, LookAtStuck
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.receipts import Picture, Stake
from nodes.registry import Nodes

_ANSWER_SECONDS: Final = 10.0


class StuckActivities:
    """Looks at payments of nodes whose pay and observe credentials this worker holds."""

    def __init__(self, nodes: Nodes, key: SealingKey, snapshots: Snapshots) -> None:
        self._nodes = nodes
        self._key = key
        self._snapshots = snapshots

    @activity.defn(name=LOOK_AT_STUCK.name)
    async def look(self, ask: LookAtStuck) -> Picture:
        """LND's present word on the payment, and on the channels it hangs on.

        Raises NodeErrors, to be retried for ever.
        """
        try:
            async with heartbeating():
                return await self._look(ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _look(self, ask: LookAtStuck) -> Picture:
        request = ask.request
        snapshot = await self._snapshots.of(request.node)
        stakes = tuple(_stakes(snapshot, request.payment_hash))
        known = [point for point in ask.known if point not in snapshot.channels]
        # What is on the chain, who follows the payment hears of. What hangs nowhere is over.
        asked = ask.ask_payment or not (stakes or known)
        return Picture(
            tip=snapshot.tip,
            asked=asked,
            payment=await self._payment(request.node, request.payment_hash) if asked else None,
            stakes=stakes,
            closing={point: (await snapshot.look(point)).phase for point in known},
            policy=request.policy or self._of_node(request.node),
        )

    def _of_node(self, node: NodeName) -> LadderPolicy:
        return self._nodes.connection(node).config.stuck

    async def _payment(self, node: NodeName, payment_hash: PaymentHash) -> PaymentUpdate | None:
        """LND's word; None: it does not know the hash."""
        try:
            async with (
                self._nodes.payments(node).track(payment_hash) as updates,
                asyncio.timeout(_ANSWER_SECONDS),
            ):
                async for payment in updates:
                    return update_of(payment, self._key)
        except PaymentNotFoundError:
            return None
        except TimeoutError:
            raise NodeUnavailableError(f"{node}: no word on the payment in time") from None
        raise UnexpectedAnswerError(f"{node}: a payment's stream ended without a word")


def _stakes(snapshot: Snapshot, payment_hash: PaymentHash) -> list[Stake]:
    """The open channels on which HTLCs hang that this node sent. A forward is no payment."""
    found = []
    for channel in snapshot.channels.values():
        ours = [
            htlc for htlc in channel.htlcs if not htlc.incoming and htlc.forwarding_channel is None
        ]
        hanging = [htlc for htlc in ours if htlc.payment_hash == payment_hash]
        if hanging:
            others = {htlc.payment_hash for htlc in ours} - {payment_hash}
            found.append(_stake(channel, hanging, len(others)))
    return found


def _stake(channel: Channel, hanging: list[Htlc], others: int) -> Stake:
    return Stake(
        channel_point=channel.channel_point,
        peer=channel.peer,
        peer_alias=channel.peer_alias,
        peer_online=channel.active,
        hung_sat=sum(htlc.amount_sat for htlc in hanging),
        expiry_height=min(htlc.expiry_height for htlc in hanging),
        capacity_sat=channel.capacity_sat,
        local_sat=channel.local_sat,
        commit_fee_sat=channel.commit_fee_sat if channel.initiator else 0,
        anchors_sat=channel.anchors_sat if channel.initiator else 0,
        csv_blocks=channel.csv_blocks,
        others=others,
    )
