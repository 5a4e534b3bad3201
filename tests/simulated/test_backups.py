"""Static channel backups: readable to the node that wrote them, and to nobody else."""

from __future__ import annotations

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .chain_time import CLOSE_CONFIRMATIONS
from .driving import refused
from .following import following

Snapshot = lightning_pb2.ChanBackupSnapshot


async def export(node: LightningNode) -> Snapshot:
    async with node.lightning() as lightning:
        return await lightning.ExportAllChannelBackups(lightning_pb2.ChanBackupExportRequest())


async def verify(node: LightningNode, snapshot: Snapshot) -> list[str]:
    async with node.lightning() as lightning:
        return list((await lightning.VerifyChanBackup(snapshot)).chan_points)


def multi(packed: bytes) -> Snapshot:
    return Snapshot(multi_chan_backup=lightning_pb2.MultiChanBackup(multi_chan_backup=packed))


async def test_a_backup_names_every_channel_that_is_not_closed(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    points = [c.channel_point for c in await alice.channels()]
    whole = await export(alice)
    packed = whole.multi_chan_backup.multi_chan_backup
    assert sorted(await verify(alice, multi(packed))) == sorted(points)
    assert len(whole.single_chan_backups.chan_backups) == len(points)
    [first, *_] = whole.single_chan_backups.chan_backups
    single = Snapshot(single_chan_backups=lightning_pb2.ChannelBackups(chan_backups=[first]))
    assert await verify(alice, single) == points[:1]
    # The same set is not the same bytes: lnd salts each export.
    assert (await export(alice)).multi_chan_backup.multi_chan_backup != packed

    point = network.open_channel("alice", "bob")
    await alice.close_channel(points[0], force=True)
    again = (await export(alice)).multi_chan_backup.multi_chan_backup
    assert sorted(await verify(alice, multi(again))) == sorted([*points, point])
    await network.mine(CLOSE_CONFIRMATIONS)
    last = (await export(alice)).multi_chan_backup.multi_chan_backup
    assert sorted(await verify(alice, multi(last))) == sorted([points[1], point])


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"short", "payload size too small"),
        (bytes(200), "chacha20poly1305: message authentication failed"),
    ],
)
async def test_garbage_is_refused(alice: LightningNode, packed: bytes, text: str) -> None:
    with refused(grpc.StatusCode.UNKNOWN, f"invalid multi channel backup: {text}"):
        await verify(alice, multi(packed))


async def test_what_is_changed_or_of_another_node_is_refused(
    alice: LightningNode, bob: LightningNode
) -> None:
    packed = (await export(alice)).multi_chan_backup.multi_chan_backup
    with refused(grpc.StatusCode.UNKNOWN, "message authentication failed"):
        await verify(bob, multi(packed))
    with refused(grpc.StatusCode.UNKNOWN, "message authentication failed"):
        await verify(alice, multi(packed[:-1] + bytes([packed[-1] ^ 1])))
    with refused(grpc.StatusCode.UNKNOWN, "must be specified"):
        await verify(alice, Snapshot())
    with refused(grpc.StatusCode.UNKNOWN, "but not both"):
        await verify(alice, await export(alice))


async def test_a_backup_outlives_a_restart(network: SimulatedNetwork, alice: LightningNode) -> None:
    packed = (await export(alice)).multi_chan_backup.multi_chan_backup
    await network.stop_node("alice")
    await network.start_node("alice")
    assert len(await verify(alice, multi(packed))) == 2


async def test_a_change_is_told_with_a_backup(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    async with (
        alice.lightning() as lightning,
        following(
            lightning.SubscribeChannelBackups(lightning_pb2.ChannelBackupSubscription())
        ) as told,
    ):
        await alice.info()
        point = network.open_channel("alice", "bob")
        while not told.messages:
            point = network.open_channel("alice", "bob")
            await alice.info()
        snapshot = told.messages[-1]
    packed = snapshot.multi_chan_backup.multi_chan_backup
    assert point in await verify(alice, multi(packed))
