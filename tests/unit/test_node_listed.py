"""What LND's lists say of a closing is told in words that are true of the chain."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.channels.closing import CloseOutput, ClosePhase, CloseType, OutputKind, OutputOutcome
from fulgurite.identity import ChannelPoint, Outpoint, Txid
from nodes.lnd.channels import LndChannels
from protos.lnrpc import lightning_pb2
from tests.unit.lnd_lists import (
    ANCHOR,
    BALANCE,
    CLOSING,
    COMMIT_FEE_SAT,
    HTLC_SAT,
    LOCAL_SAT,
    PEER,
    POINT,
    PRESIGNED,
    TIP,
    Chain,
    Lnd,
    channel_of,
    channels_of,
    closed_of,
    closing_of,
    forced,
    htlc,
    lists,
    resolution,
    summary,
    sweep,
    waiting,
)
from tests.unit.test_node_sweeps import COIN, transaction


@pytest.fixture
def lnd() -> Lnd:
    return Lnd()


@pytest.fixture
def channels(lnd: Lnd) -> LndChannels:
    return channels_of(lnd)


# Published, and not final.

FORCE = "ChanStatusBorked|ChanStatusCommitBroadcasted|ChanStatusLocalCloseInitiator"
COOPERATIVE = "ChanStatusCoopBroadcasted|ChanStatusLocalCloseInitiator"


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (FORCE, CloseType.LOCAL_FORCE),
        (COOPERATIVE, CloseType.COOPERATIVE),
        ("ChanStatusCoopBroadcasted|ChanStatusRemoteCloseInitiator", CloseType.COOPERATIVE),
        ("ChanStatusCommitBroadcasted", None),
        # Which of the two will be confirmed, nobody knows.
        (f"{FORCE}|ChanStatusCoopBroadcasted", None),
        ("ChanStatusDefault", None),
    ],
)
async def test_how_it_closes_is_read_from_its_flags(
    lnd: Lnd, channels: LndChannels, flags: str, kind: CloseType | None
) -> None:
    lists(lnd, waiting_close_channels=[waiting(flags)])

    closing = await closing_of(channels)

    assert (closing.phase, closing.close_type) == (ClosePhase.WAITING_CLOSE, kind)
    assert (closing.channel_point, closing.peer, closing.tip) == (POINT, PEER, TIP)
    assert (closing.closing_txid, closing.limbo_sat) == (CLOSING, LOCAL_SAT)


async def test_a_confirmation_comes_and_goes(lnd: Lnd, channels: LndChannels) -> None:
    heights = []
    for height in (0, 548, 0, 550):
        lists(lnd, waiting_close_channels=[waiting(FORCE, close_height=height)])
        heights.append((await closing_of(channels)).close_height)

    assert heights == [None, 548, None, 550]


@pytest.mark.parametrize(
    ("fields", "fee"),
    [
        ({}, COMMIT_FEE_SAT + 660),
        ({"closing_txid": "d2" * 32}, COMMIT_FEE_SAT + 10 + 660),
        ({"closing_txid": "dd" * 32}, 0),
        ({"closing_txid": ""}, 0),
        ({"channel": channel_of(initiator=lightning_pb2.INITIATOR_REMOTE)}, 0),
        ({"channel": channel_of(commitment_type=lightning_pb2.STATIC_REMOTE_KEY)}, COMMIT_FEE_SAT),
    ],
)
async def test_the_opener_pays_for_the_commitment_and_both_anchors(
    lnd: Lnd, channels: LndChannels, fields: dict[str, Any], fee: int
) -> None:
    lists(lnd, waiting_close_channels=[waiting(**fields)])

    assert (await closing_of(channels)).commit_fee_sat == fee


async def test_a_cooperative_closes_fee_is_what_the_transaction_leaves_out(
    lnd: Lnd, channels: LndChannels
) -> None:
    paid = transaction(
        "c1", 1_189_714, [POINT], [(810_002, False), (1_189_714, True)], confirmed=False
    )
    lists(lnd, waiting_close_channels=[waiting(COOPERATIVE)], transactions=[paid])

    assert (await closing_of(channels)).commit_fee_sat == 284


# Final, with outputs that wait.


async def test_every_output_waits_where_the_sweeper_says(lnd: Lnd, channels: LndChannels) -> None:
    lists(lnd, pending_force_closing_channels=[forced(htlc())], sweeps=[ANCHOR, BALANCE])

    closing = await closing_of(channels)

    assert (closing.phase, closing.close_type) == (ClosePhase.FORCE_CLOSING, CloseType.LOCAL_FORCE)
    assert closing.limbo_sat == LOCAL_SAT + HTLC_SAT + 330
    assert closing.commit_fee_sat == COMMIT_FEE_SAT + 660
    assert closing.outputs == (
        CloseOutput(
            kind=OutputKind.COMMITMENT,
            outpoint=Outpoint(f"{CLOSING}:4"),
            amount_sat=LOCAL_SAT,
            maturity_height=602,
        ),
        CloseOutput(
            kind=OutputKind.OUTGOING_HTLC,
            outpoint=PRESIGNED,
            amount_sat=HTLC_SAT,
            stage=1,
            maturity_height=710,
        ),
        CloseOutput(kind=OutputKind.ANCHOR, outpoint=Outpoint(f"{CLOSING}:0"), amount_sat=330),
    )


FIRST = sweep("HTLC_OFFERED_TIMEOUT_SECOND_LEVEL_INPUT_CONFIRMED", 2, HTLC_SAT)
TIMEOUT = transaction(
    "a2", -270, [f"{CLOSING}:2", f"{COIN}:0"], [(HTLC_SAT, False), (908_577, True)]
)
SECOND = sweep("HTLC_OFFERED_TIMEOUT_SECOND_LEVEL", 0, HTLC_SAT, "a2" * 32)
ELSEWHERE = sweep("HTLC_OFFERED_TIMEOUT_SECOND_LEVEL", 0, HTLC_SAT, "a9" * 32)


async def test_an_htlc_is_where_its_present_stage_is(lnd: Lnd, channels: LndChannels) -> None:
    """That is what can be hurried; another channel's of the same amount is another's."""
    lists(
        lnd,
        pending_force_closing_channels=[forced(htlc(), maturity_height=0, limbo_balance=HTLC_SAT)],
        sweeps=[ELSEWHERE, FIRST],
    )
    [first] = (await closing_of(channels)).outputs
    assert (first.outpoint, first.stage) == (f"{CLOSING}:2", 1)

    lists(
        lnd,
        pending_force_closing_channels=[
            forced(htlc(stage=2, maturity_height=714), maturity_height=0, limbo_balance=HTLC_SAT)
        ],
        sweeps=[ELSEWHERE, SECOND],
        transactions=[TIMEOUT],
    )
    closing = await closing_of(channels)
    second, done = closing.outputs
    assert (second.outpoint, second.stage) == (f"{'a2' * 32}:0", 2)
    assert (second.outcome, second.maturity_height) == (OutputOutcome.PENDING, 714)
    assert (done.outpoint, done.outcome) == (f"{CLOSING}:2", OutputOutcome.FIRST_STAGE)
    assert (closing.recovered_sat, closing.sweep_fees_sat) == (-270, 270)


async def test_an_incoming_htlc_is_ours_until_its_expiry(lnd: Lnd, channels: LndChannels) -> None:
    """Once LND has the preimage, the height that it tells is none."""
    claim = sweep("HTLC_ACCEPTED_SUCCESS_SECOND_LEVEL_INPUT_CONFIRMED", 2, HTLC_SAT, deadline=630)
    listed = htlc(incoming=True, maturity_height=4)
    for sweeps, height in (([claim], 630), ([], 4)):
        lists(lnd, pending_force_closing_channels=[forced(listed)], sweeps=sweeps)
        htlcs = [
            each
            for each in (await closing_of(channels)).outputs
            if each.kind is OutputKind.INCOMING_HTLC
        ]
        assert [each.maturity_height for each in htlcs] == [height]
        assert not any(each.forgotten for each in htlcs)


COMMIT = transaction("a1", 908_847, [f"{CLOSING}:4"], [(908_847, True)])


async def test_what_is_swept_stays_in_the_picture(lnd: Lnd, channels: LndChannels) -> None:
    lists(lnd, pending_force_closing_channels=[forced(htlc())], sweeps=[ANCHOR, BALANCE])
    await channels.pending()
    lists(
        lnd,
        pending_force_closing_channels=[
            forced(htlc(), limbo_balance=HTLC_SAT + 330, recovered_balance=LOCAL_SAT)
        ],
        sweeps=[ANCHOR],
        transactions=[COMMIT],
    )

    closing = await closing_of(channels)

    assert (closing.recovered_sat, closing.sweep_fees_sat) == (908_847, 135)
    assert closing.commit_fee_sat == COMMIT_FEE_SAT + 660, "seen before, and not forgotten"
    assert closing.outputs[-1] == CloseOutput(
        kind=OutputKind.COMMITMENT,
        outpoint=Outpoint(f"{CLOSING}:4"),
        amount_sat=LOCAL_SAT,
        outcome=OutputOutcome.CLAIMED,
        sweep_txid=Txid("a1" * 32),
    )


async def test_a_balance_that_was_swept_before_anybody_looked_is_found(
    lnd: Lnd, channels: LndChannels
) -> None:
    """Two channels' by one transaction, with an anchor of one of them swept besides."""
    other = Txid("c2" * 32)
    anchor = transaction("a4", -4_201, [f"{CLOSING}:0", f"{COIN}:1"], [(5, True)])
    both = transaction("b1", 897_169, [f"{CLOSING}:4", f"{other}:2"], [(897_169, True)])
    listed = [
        forced(
            htlc(),
            channel=channel_of(channel_point=point, local_balance=balance),
            closing_txid=txid,
            limbo_balance=HTLC_SAT + 330,
        )
        for point, txid, balance in (
            (POINT, CLOSING, 448_692),
            (ChannelPoint("f1" * 32 + ":0"), other, 448_690),
        )
    ]
    lists(lnd, pending_force_closing_channels=listed, transactions=[anchor, both])

    one, two = (await channels.pending()).closing

    assert two.recovered_sat == 448_690 - 106
    assert two.recovered_sat + one.recovered_sat == 897_169
    assert [each.outcome for each in two.outputs if each.kind is OutputKind.COMMITMENT] == [
        OutputOutcome.CLAIMED
    ]


async def test_an_htlc_on_the_peers_commitment_is_not_taken_for_the_balance(
    lnd: Lnd, channels: LndChannels
) -> None:
    """It was swept before anybody looked, and the balance waits still."""
    timed_out = transaction("a1", 299_735, [f"{CLOSING}:2"], [(299_735, True)])
    mine = sweep("COMMITMENT_TO_REMOTE_CONFIRMED", 4, LOCAL_SAT)
    listed = [forced()]
    lists(lnd, pending_force_closing_channels=listed, sweeps=[mine], transactions=[timed_out])

    closing = await closing_of(channels)

    assert [(each.outpoint, each.outcome) for each in closing.outputs] == [
        (f"{CLOSING}:4", OutputOutcome.PENDING)
    ]
    assert closing.recovered_sat == 0, "of what nobody knows, nothing is guessed"


@pytest.mark.parametrize(
    ("height", "sweeps", "forgotten"),
    [
        (610, (), True),
        (610, (BALANCE,), False),
        # At its height, 602, LND may be at it.
        (602, (), False),
    ],
)
async def test_an_output_that_lnd_has_forgotten_is_told(
    lnd: Lnd, channels: LndChannels, *, height: int, sweeps: Any, forgotten: bool
) -> None:
    """After a deep reorg it tries too early, and never again until it is restarted."""
    lists(lnd, pending_force_closing_channels=[forced()], sweeps=[ANCHOR, BALANCE])
    await channels.pending()

    channels._chain = Chain(height)  # type: ignore[assignment]
    lists(lnd, pending_force_closing_channels=[forced()], sweeps=sweeps)

    [balance] = [
        each for each in (await closing_of(channels)).outputs if each.kind is OutputKind.COMMITMENT
    ]
    assert (balance.outcome, balance.forgotten) == (OutputOutcome.PENDING, forgotten)


async def test_a_commitment_of_the_peers_is_known_by_how_it_is_swept(
    lnd: Lnd, channels: LndChannels
) -> None:
    mine = sweep("COMMITMENT_TO_REMOTE_CONFIRMED", 4, LOCAL_SAT)
    lists(lnd, pending_force_closing_channels=[forced()], sweeps=[mine])

    assert (await closing_of(channels)).close_type is CloseType.REMOTE_FORCE


async def test_what_no_version_knows_is_passed_over(lnd: Lnd, channels: LndChannels) -> None:
    new = sweep("COMMITMENT_ANCHOR", 0, 330)
    new.witness_type = 999
    justice = sweep("COMMITMENT_REVOKE", 1, 5)
    coin = sweep("WITNESS_KEY_HASH", 2, 5)
    lists(lnd, pending_force_closing_channels=[forced()], sweeps=[new, justice, coin])

    assert (await closing_of(channels)).outputs == ()


# Over.


async def test_a_close_that_is_over_tells_what_became_of_all(
    lnd: Lnd, channels: LndChannels
) -> None:
    second = transaction("a3", 299_896, [f"{'a2' * 32}:0"], [(299_896, True)])
    lists(lnd, transactions=[second, TIMEOUT, COMMIT])
    lnd.answers["ClosedChannels"] = summary(
        resolution("OUTGOING_HTLC", "FIRST_STAGE", f"{CLOSING}:2", HTLC_SAT, "5e" * 32),
        resolution("COMMIT", "CLAIMED", f"{CLOSING}:4", LOCAL_SAT, "a1" * 32),
        resolution("OUTGOING_HTLC", "TIMEOUT", f"{'a2' * 32}:0", HTLC_SAT, "a3" * 32),
        resolution("COMMIT", "OUTCOME_UNKNOWN", f"{CLOSING}:9", 1, "a3" * 32),
    )

    closed = await closed_of(channels)

    assert (closed.phase, closed.close_type) == (ClosePhase.CLOSED, CloseType.LOCAL_FORCE)
    assert (closed.close_height, closed.limbo_sat) == (548, 0)
    assert closed.recovered_sat == 908_847 - 270 + 299_896
    assert closed.sweep_fees_sat == 135 + 270 + 135
    assert [(each.kind, each.outcome, each.sweep_txid) for each in closed.outputs] == [
        # LND names one that was never published.
        (OutputKind.OUTGOING_HTLC, OutputOutcome.FIRST_STAGE, "a2" * 32),
        (OutputKind.COMMITMENT, OutputOutcome.CLAIMED, "a1" * 32),
        (OutputKind.OUTGOING_HTLC, OutputOutcome.TIMEOUT, "a3" * 32),
    ]


async def test_a_preimage_on_chain_takes_nothing_from_the_close(
    lnd: Lnd, channels: LndChannels
) -> None:
    lists(lnd, transactions=[COMMIT])
    lnd.answers["ClosedChannels"] = summary(
        resolution("COMMIT", "CLAIMED", f"{CLOSING}:4", LOCAL_SAT, "a1" * 32),
        resolution("OUTGOING_HTLC", "CLAIMED", PRESIGNED, HTLC_SAT, "99" * 32),
    )

    closed = await closed_of(channels)

    assert (closed.recovered_sat, closed.sweep_fees_sat) == (908_847, 135)
    assert closed.outputs[1].sweep_txid == "99" * 32, "the peer's"


async def test_an_anchor_that_nobody_sweeps_is_left_behind(lnd: Lnd, channels: LndChannels) -> None:
    lists(lnd, pending_force_closing_channels=[forced()], sweeps=[ANCHOR])
    await channels.pending()
    lnd.answers["ClosedChannels"] = summary()

    [anchor] = (await closed_of(channels)).outputs
    assert (anchor.kind, anchor.outcome) == (OutputKind.ANCHOR, OutputOutcome.ABANDONED)

    lnd.answers["ClosedChannels"] = summary(
        resolution("ANCHOR", "CLAIMED", f"{CLOSING}:0", 330, "a4" * 32)
    )
    [anchor] = (await closed_of(channels)).outputs
    assert anchor.outcome is OutputOutcome.CLAIMED


async def test_a_cooperative_close_brings_the_balance_wherever_it_went(
    lnd: Lnd, channels: LndChannels
) -> None:
    lnd.answers["ClosedChannels"] = summary(
        close_type=lightning_pb2.ChannelCloseSummary.COOPERATIVE_CLOSE
    )

    closed = await closed_of(channels)

    assert (closed.close_type, closed.outputs) == (CloseType.COOPERATIVE, ())
    assert (closed.recovered_sat, closed.settled_sat) == (LOCAL_SAT, LOCAL_SAT)


async def test_a_way_of_closing_of_a_later_lnd_hides_no_other_channel(
    lnd: Lnd, channels: LndChannels
) -> None:
    lnd.answers["ClosedChannels"] = summary(close_type=77, closing_tx_hash="")

    closed = await closed_of(channels)

    assert (closed.phase, closed.close_type) == (ClosePhase.CLOSED, None)
    assert closed.closing_txid is None
