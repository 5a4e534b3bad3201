"""What a person sees of channels and of blocks to come."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from fulgurite.chain.tip import Tip
from fulgurite.channels.channel import Channel, Htlc
from fulgurite.channels.closing import CloseOutput, ClosePhase, Closing, OutputKind, OutputOutcome
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from fulgurite.identity import ChannelPoint, Outpoint, PaymentHash, Txid
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.states import LadderState
from starter.cli import channel_rendering, stuck_rendering
from starter.cli.heights import Ahead, away
from starter.cli.progress import Lines, Moment, Picture
from starter.cli.stuck_rendering import Climb

TIP = 800_000
POINT = ChannelPoint(f"{'ab' * 32}:0")


def channel(local_sat: int, remote_sat: int, *htlcs: Htlc) -> Channel:
    return Channel.model_validate(
        {
            "channel_point": POINT,
            "channel_id": "1x1x1",
            "peer": "02" * 33,
            "active": True,
            "initiator": True,
            "capacity_sat": 1_000,
            "local_sat": local_sat,
            "remote_sat": remote_sat,
            "commit_fee_sat": 0,
            "csv_blocks": 1,
            "htlcs": htlcs,
        }
    )


def test_the_bar_is_as_long_for_every_channel() -> None:
    balances = [(0, 0), (1_000, 0), (0, 1_000), (525, 475), (10, 10), (976, 24)]
    bars = [channel_rendering.bar(channel(*each)).plain for each in balances]
    assert {len(bar) for bar in bars} == {20}
    assert bars[:3] == ["▒" * 20, "█" * 20, "░" * 20]


def test_the_htlc_that_expires_first_is_told_and_one_that_has_expired_is_due() -> None:
    htlcs = [
        Htlc(
            payment_hash=PaymentHash(f"{number:064x}"),
            amount_sat=1_000,
            incoming=bool(number),
            expiry_height=TIP + number * 10 - 1,
        )
        for number in range(2)
    ]
    of_both = channel(500, 498, *htlcs)
    assert channel_rendering.htlcs(of_both, TIP).plain == "2, first due"
    assert channel_rendering.htlcs(of_both, None).plain == "2, first block 799,999"
    later = channel_rendering.htlcs(channel(500, 499, htlcs[1]), TIP)
    assert later.plain == "1, first in 9 blocks (≈ 1.5 h)"
    assert channel_rendering.htlcs(channel(500, 500), TIP).plain == ""


@pytest.mark.parametrize(
    ("height", "words"),
    [
        (TIP + 144, "in 144 blocks (≈ 24.0 h), about "),
        (TIP + 1, "in 1 block (≈ 0.2 h), about "),
        (TIP, "now"),
        (TIP - 1, "1 block ago"),
        (TIP - 12, "12 blocks ago"),
    ],
)
def test_a_height_is_told_in_blocks_hours_and_about_when(height: int, words: str) -> None:
    assert away(height, TIP).startswith(words)


def test_a_pipe_is_told_what_is_ahead_once_and_not_with_every_block() -> None:
    console = Console(file=io.StringIO(), width=200, record=True)
    lines = Lines(console)
    for tip in (TIP, TIP + 1):
        lines.tell(Moment(Text("MATURING"), "", [], [Ahead("the HTLC expires", TIP + 9, tip)]))
    [line] = console.export_text().splitlines()
    assert line.startswith("ahead: block 800,009, in 9 blocks (≈ 1.5 h), about ")
    assert line.endswith("UTC: the HTLC expires")


def test_the_picture_shows_what_is_ahead_as_it_is_seen_from_the_newest_block() -> None:
    picture = Picture()
    for tip in (TIP, TIP + 1):
        picture.tell(Moment(Text("MATURING"), "", [], [Ahead("it expires", TIP + 9, tip)]))
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(picture)
    text = console.export_text()
    assert "in 8 blocks" in text
    assert "in 9 blocks" not in text


def test_what_a_height_means_for_an_output_depends_on_what_it_is() -> None:
    outputs = [
        CloseOutput(
            kind=kind,
            outpoint=Outpoint(f"{'cd' * 32}:{number}"),
            amount_sat=number,
            stage=stage,
            outcome=outcome,
            maturity_height=TIP + height,
        )
        for number, (kind, stage, height, outcome) in enumerate(
            [
                (OutputKind.COMMITMENT, 0, 144, OutputOutcome.PENDING),
                (OutputKind.OUTGOING_HTLC, 1, 40, OutputOutcome.PENDING),
                (OutputKind.INCOMING_HTLC, 1, 30, OutputOutcome.PENDING),
                (OutputKind.OUTGOING_HTLC, 2, 200, OutputOutcome.PENDING),
                (OutputKind.COMMITMENT, 0, 10, OutputOutcome.CLAIMED),
                (OutputKind.COMMITMENT, 0, 0, OutputOutcome.PENDING),
            ]
        )
    ]
    view = CloseView(
        state=CloseState.FORCE_CLOSING,
        node="alice",
        channel_point=POINT,
        kind=CloseKind.FORCE,
        closing=Closing(
            phase=ClosePhase.FORCE_CLOSING,
            tip=Tip(height=TIP, block_hash=Txid("00" * 32)),
            channel_point=POINT,
            outputs=tuple(outputs),
        ),
    )
    assert [each.what for each in channel_rendering.ahead(view)] == [
        "2 sat (incoming HTLC, stage 1) can be taken back by the peer from there on",
        "1 sat (outgoing HTLC, stage 1) can be taken back, unless a preimage comes before",
        "0 sat (our balance) can be swept",
        "3 sat (outgoing HTLC, stage 2) can be swept",
    ]


@pytest.mark.parametrize("state", LadderState)
def test_every_rung_can_be_shown_before_lnd_has_said_anything(state: LadderState) -> None:
    view = LadderView(state=state, node="alice", payment_hash=PaymentHash("ab" * 32))
    for text in (stuck_rendering.view(Climb(view)), stuck_rendering.at_stake(view)):
        assert text.plain.startswith(f"{state}  payment abab")
    assert stuck_rendering.moment(Climb(view)).ahead == []


@pytest.mark.parametrize("state", CloseState)
@pytest.mark.parametrize("kind", CloseKind)
def test_every_closing_can_be_shown_before_lnd_has_said_anything(
    state: CloseState, kind: CloseKind
) -> None:
    view = CloseView(state=state, node="alice", channel_point=POINT, kind=kind)
    assert channel_rendering.view(view).plain.startswith(f"{state}  ")
    assert channel_rendering.moment(view).ahead == []
