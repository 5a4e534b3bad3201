"""LND's channels, their changes and their backup are told as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fulgurite.channels.channel import Channel, Htlc
from fulgurite.identity import ChannelId, PaymentHash
from nodes.lnd.channels import LndChannels, _channel, _point
from nodes.lnd.remembering import Memory
from nodes.lnd.sweeper import Offers
from protos.lnrpc import lightning_pb2
from tests.unit.lnd_lists import (
    COMMIT_FEE_SAT,
    HTLC_SAT,
    LOCAL_SAT,
    PEER,
    POINT,
    REMOTE_SAT,
    TIP,
    Lnd,
    Pending,
    channel_of,
    channels_of,
    lists,
    sweep,
)

Update = lightning_pb2.ChannelEventUpdate


@pytest.fixture
def lnd() -> Lnd:
    return Lnd()


@pytest.fixture
def channels(lnd: Lnd) -> LndChannels:
    return channels_of(lnd)


def test_an_open_channel_is_told_with_its_htlcs() -> None:
    listed = lightning_pb2.Channel(
        active=True,
        remote_pubkey=PEER,
        channel_point=POINT,
        chan_id=595935302516736,
        capacity=2_000_000,
        local_balance=LOCAL_SAT,
        remote_balance=REMOTE_SAT,
        commit_fee=COMMIT_FEE_SAT,
        commitment_type=lightning_pb2.ANCHORS,
        initiator=True,
        private=True,
        peer_alias="bob",
        local_constraints=lightning_pb2.ChannelConstraints(csv_delay=144),
        remote_constraints=lightning_pb2.ChannelConstraints(csv_delay=2_016),
        pending_htlcs=[
            lightning_pb2.HTLC(amount=HTLC_SAT, hash_lock=b"\x11" * 32, expiration_height=710),
            lightning_pb2.HTLC(
                incoming=True,
                amount=5,
                hash_lock=b"\x22" * 32,
                expiration_height=720,
                forwarding_channel=595935302516737,
            ),
        ],
    )

    assert _channel(listed) == Channel(
        channel_point=POINT,
        channel_id=ChannelId("542x4x0"),
        peer=PEER,
        peer_alias="bob",
        active=True,
        private=True,
        initiator=True,
        capacity_sat=2_000_000,
        local_sat=LOCAL_SAT,
        remote_sat=REMOTE_SAT,
        commit_fee_sat=COMMIT_FEE_SAT,
        anchors_sat=660,
        csv_blocks=144,
        htlcs=(
            Htlc(
                payment_hash=PaymentHash("11" * 32),
                amount_sat=HTLC_SAT,
                incoming=False,
                expiry_height=710,
            ),
            Htlc(
                payment_hash=PaymentHash("22" * 32),
                amount_sat=5,
                incoming=True,
                expiry_height=720,
                forwarding_channel=ChannelId("542x4x1"),
            ),
        ),
    )


async def test_nothing_more_is_asked_where_nothing_closes(lnd: Lnd, channels: LndChannels) -> None:
    lists(lnd, pending_open_channels=[Pending.PendingOpenChannel(channel=channel_of())])

    pending = await channels.pending()

    assert (pending.opening, pending.closing) == ((POINT,), ())
    assert lnd.asked == ["PendingChannels"]
    assert await channels.closed(TIP) == ()
    assert lnd.asked == ["PendingChannels", "PendingChannels", "ClosedChannels"]


async def test_a_stream_of_changes_leaves_htlcs_out(channels: LndChannels) -> None:
    async def stream() -> AsyncIterator[Update]:
        for kind in (Update.CHANNEL_UPDATE, Update.CLOSED_CHANNEL, Update.INACTIVE_CHANNEL):
            yield Update(type=kind)
        later = Update()
        later.type = 77  # type: ignore[assignment]
        yield later

    assert [word async for word in channels._told(stream())] == [
        *("CLOSED_CHANNEL", "INACTIVE_CHANNEL", "of a later LND")
    ]


async def test_a_backup_names_the_channels_in_it(lnd: Lnd, channels: LndChannels) -> None:
    reversed_ = lightning_pb2.ChannelPoint(
        funding_txid_bytes=bytes.fromhex(POINT.txid)[::-1], output_index=POINT.output_index
    )
    lnd.answers["ExportAllChannelBackups"] = lightning_pb2.ChanBackupSnapshot(
        multi_chan_backup=lightning_pb2.MultiChanBackup(
            chan_points=[reversed_], multi_chan_backup=b"sealed"
        )
    )

    assert await channels.export_backup() == (b"sealed", (POINT,))
    written = lightning_pb2.ChannelPoint(
        funding_txid_str=POINT.txid, output_index=POINT.output_index
    )
    assert _point(written) == _point(reversed_) == POINT


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.lnd.remembering._REMEMBERED", 2)
    memory = Memory()

    for name in ("c1", "c2", "c1", "c3"):
        memory.saw(Offers([sweep("COMMITMENT_ANCHOR", 0, 330, name * 32)]))

    assert list(memory.outputs) == ["c1" * 32, "c3" * 32]
