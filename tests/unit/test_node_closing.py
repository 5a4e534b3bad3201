"""What is asked of LND to close a channel, and to hurry it."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.channels.calls import Bump, Bumped
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.errors import ChannelClosingError, UnexpectedAnswerError
from fulgurite.identity import ChannelPoint, Outpoint
from nodes.lnd.closing import LndClosing
from protos.lnrpc import lightning_pb2
from protos.walletrpc import walletkit_pb2
from tests.unit.scripted_lnd import Lnd, an_lnd, closing_of, refusal

POINT = ChannelPoint("f0" * 32 + ":1")
OUTPUT = Outpoint("c1" * 32 + ":4")

Update = lightning_pb2.CloseStatusUpdate
PUBLISHED = Update(close_pending=lightning_pb2.PendingUpdate(txid=b"\x01" * 32))


@pytest.fixture
def lnd() -> Lnd:
    return an_lnd()


@pytest.fixture
def closing(lnd: Lnd) -> LndClosing:
    return closing_of(lnd)


# Closing.


@pytest.mark.parametrize(
    ("terms", "asked"),
    [
        ({"kind": CloseKind.FORCE}, {"force": True}),
        ({"kind": CloseKind.COOPERATIVE}, {}),
        (
            {"kind": CloseKind.COOPERATIVE, "sat_per_vbyte": 7, "delivery_address": "bcrt1q"},
            {"sat_per_vbyte": 7, "delivery_address": "bcrt1q"},
        ),
        ({"kind": CloseKind.COOPERATIVE, "target_conf_blocks": 6}, {"target_conf": 6}),
    ],
)
async def test_a_close_is_asked_for_as_it_was_ordered(
    lnd: Lnd, closing: LndClosing, terms: dict[str, Any], asked: dict[str, Any]
) -> None:
    lnd.answers["CloseChannel"] = [PUBLISHED, refusal("nobody reads on")]

    await closing.close(CloseRequest(node="alice", channel_point=POINT, **terms))

    assert lnd.asked("CloseChannel") == [
        lightning_pb2.CloseChannelRequest(
            channel_point=lightning_pb2.ChannelPoint(
                funding_txid_str=POINT.txid, output_index=POINT.output_index
            ),
            **asked,
        )
    ]
    assert lnd.credentials["CloseChannel"] == (("macaroon", "c1"),)
    assert lnd.canceled == 1, "LND goes on without us"


async def test_a_close_that_is_under_way_is_no_second_one(lnd: Lnd, closing: LndClosing) -> None:
    lnd.answers["CloseChannel"] = [
        refusal("channel is already in the process of being force closed")
    ]
    force = CloseRequest(node="alice", channel_point=POINT, kind=CloseKind.FORCE)

    with pytest.raises(ChannelClosingError):
        await closing.close(force)
    lnd.answers["CloseChannel"] = []
    with pytest.raises(UnexpectedAnswerError):
        await closing.close(force)


# Hurrying.


def bump(budget_sat: int, *, output: Outpoint | None = OUTPUT, deadline: int = 620) -> Bump:
    return Bump(
        node="alice",
        channel_point=POINT,
        outpoint=output,
        budget_sat=budget_sat,
        deadline_height=deadline,
    )


def held(rate: int = 0, worth: int = 10_000) -> walletkit_pb2.PendingSweepsResponse:
    place = lightning_pb2.OutPoint(txid_str=OUTPUT.txid, output_index=OUTPUT.output_index)
    other = lightning_pb2.OutPoint(txid_str=OUTPUT.txid, output_index=9)
    return walletkit_pb2.PendingSweepsResponse(
        pending_sweeps=[
            walletkit_pb2.PendingSweep(outpoint=other, amount_sat=1),
            walletkit_pb2.PendingSweep(outpoint=place, amount_sat=worth, sat_per_vbyte=rate),
        ]
    )


@pytest.mark.parametrize(("rate", "begins_at"), [(0, 1), (33, 33)])
async def test_a_sweep_climbs_from_where_it_is(
    lnd: Lnd, closing: LndClosing, rate: int, begins_at: int
) -> None:
    """And never at once: asked twice at once, LND would pay more each time."""
    lnd.answers["PendingSweeps"] = held(rate)

    assert await closing.bump(bump(10_000)) == Bumped(taken=True)

    assert lnd.asked("BumpFee") == [
        walletkit_pb2.BumpFeeRequest(
            outpoint=lightning_pb2.OutPoint(txid_str=OUTPUT.txid, output_index=OUTPUT.output_index),
            sat_per_vbyte=begins_at,
            budget=10_000,
            deadline_delta=20,
        )
    ]


def has(sweep: walletkit_pb2.PendingSweep, budget_sat: int, deadline: int) -> None:
    sweep.budget, sweep.deadline_height = budget_sat, deadline


@pytest.mark.parametrize("deadline", [619, 620, 621])
async def test_a_sweep_that_has_its_limit_is_left_to_climb(
    lnd: Lnd, closing: LndClosing, deadline: int
) -> None:
    """Until LND forgets it: asked in vain, its climb would begin anew at every block."""
    lnd.answers["PendingSweeps"] = known = held(33)
    has(known.pending_sweeps[1], 10_000, deadline)

    assert await closing.bump(bump(10_000)) == Bumped(taken=True)
    assert lnd.asked("BumpFee") == []

    lnd.answers["PendingSweeps"] = known = held()
    has(known.pending_sweeps[1], 5_000, 1_608)
    assert await closing.bump(bump(10_000)) == Bumped(taken=True)
    assert len(lnd.asked("BumpFee")) == 1


@pytest.mark.parametrize(("budget", "deadline"), [(9_999, 620), (10_000, 618), (10_000, 622)])
async def test_a_sweep_that_has_another_limit_is_given_this_one(
    lnd: Lnd, closing: LndClosing, budget: int, deadline: int
) -> None:
    lnd.answers["PendingSweeps"] = known = held()
    has(known.pending_sweeps[0], 10_000, 620)
    has(known.pending_sweeps[1], budget, deadline)

    assert (await closing.bump(bump(10_000))).taken
    assert len(lnd.asked("BumpFee")) == 1


async def test_no_output_is_hurried_for_more_than_it_is_worth(
    lnd: Lnd, closing: LndClosing
) -> None:
    lnd.answers["PendingSweeps"] = held(worth=9_999)

    answer = await closing.bump(bump(10_000))

    assert (answer.taken, lnd.asked("BumpFee")) == (False, [])
    assert "9999" in answer.because


async def test_what_lnd_does_not_sweep_cannot_be_hurried(lnd: Lnd, closing: LndClosing) -> None:
    lnd.answers["PendingSweeps"] = walletkit_pb2.PendingSweepsResponse()

    assert not (await closing.bump(bump(10_000))).taken
    assert lnd.asked("BumpFee") == []


LOCAL, REMOTE, STRANGE = "1a" * 32, "2b" * 32, "3c" * 32
ANCHOR, TAPROOT_ANCHOR = walletkit_pb2.COMMITMENT_ANCHOR, walletkit_pb2.TAPROOT_ANCHOR_SWEEP_SPEND


def waiting(**more: Any) -> lightning_pb2.PendingChannelsResponse:
    pending = lightning_pb2.PendingChannelsResponse
    return pending(
        waiting_close_channels=[
            pending.WaitingCloseChannel(
                channel=pending.PendingChannel(channel_point=f"{STRANGE}:0"), close_height=1
            ),
            pending.WaitingCloseChannel(
                channel=pending.PendingChannel(channel_point=POINT),
                commitments=pending.Commitments(local_txid=LOCAL, remote_txid=REMOTE),
                **more,
            ),
        ]
    )


def anchors(
    *limits: tuple[str, int, int], kind: walletkit_pb2.WitnessType.ValueType = ANCHOR
) -> walletkit_pb2.PendingSweepsResponse:
    return walletkit_pb2.PendingSweepsResponse(
        pending_sweeps=[
            walletkit_pb2.PendingSweep(
                outpoint=lightning_pb2.OutPoint(txid_str=txid),
                witness_type=kind,
                amount_sat=330,
                budget=budget,
                deadline_height=deadline,
            )
            for txid, budget, deadline in limits
        ]
    )


@pytest.mark.parametrize(("deadline", "blocks"), [(620, 20), (600, 1), (500, 1)])
async def test_a_closing_transaction_is_hurried_by_its_anchor(
    lnd: Lnd, closing: LndClosing, deadline: int, blocks: int
) -> None:
    lnd.answers["PendingSweeps"] = held()
    lnd.answers["PendingChannels"] = waiting()

    assert (await closing.bump(bump(5_000, output=None, deadline=deadline))).taken

    [asked] = lnd.asked("BumpForceCloseFee")
    assert asked == walletkit_pb2.BumpForceCloseFeeRequest(
        chan_point=lightning_pb2.ChannelPoint(
            funding_txid_str=POINT.txid, output_index=POINT.output_index
        ),
        starting_feerate=1,
        budget=5_000,
        deadline_delta=blocks,
    )
    assert lnd.credentials["PendingChannels"] == (("macaroon", "0b"),)


@pytest.mark.parametrize("kind", [ANCHOR, TAPROOT_ANCHOR])
async def test_a_closing_transaction_that_has_its_limit_is_left_to_climb(
    lnd: Lnd, closing: LndClosing, kind: walletkit_pb2.WitnessType.ValueType
) -> None:
    """Until LND forgets it. Of another channel's anchor nothing is to be read."""
    ask, strange = bump(5_000, output=None), (STRANGE, 330, 1_608)
    lnd.answers["PendingChannels"] = waiting()
    has_it = anchors((LOCAL, 5_000, 620), (REMOTE, 5_000, 621), strange, kind=kind)
    lnd.answers["PendingSweeps"] = has_it

    assert await closing.bump(ask) == Bumped(taken=True)
    assert lnd.asked("BumpForceCloseFee") == []

    lnd.answers["PendingSweeps"] = anchors((LOCAL, 330, 1_608), (REMOTE, 330, 1_608), kind=kind)
    assert await closing.bump(ask) == Bumped(taken=True)
    assert len(lnd.asked("BumpForceCloseFee")) == 1


@pytest.mark.parametrize(
    "sweeps",
    [
        anchors((STRANGE, 5_000, 620)),
        anchors((LOCAL, 5_000, 620), kind=walletkit_pb2.COMMITMENT_TIME_LOCK),
        anchors((LOCAL, 5_000, 620), (REMOTE, 330, 1_608)),
        anchors((LOCAL, 5_000, 618)),
    ],
    ids=["strange", "no anchor", "one of two", "another deadline"],
)
async def test_a_closing_transaction_without_its_limit_is_given_it(
    lnd: Lnd, closing: LndClosing, sweeps: walletkit_pb2.PendingSweepsResponse
) -> None:
    lnd.answers["PendingChannels"] = waiting()
    lnd.answers["PendingSweeps"] = sweeps

    assert (await closing.bump(bump(5_000, output=None))).taken
    assert len(lnd.asked("BumpForceCloseFee")) == 1


async def test_the_anchor_of_what_was_published_is_known_by_that_alone(
    lnd: Lnd, closing: LndClosing
) -> None:
    lnd.answers["PendingChannels"] = waiting(closing_txid=STRANGE)
    lnd.answers["PendingSweeps"] = anchors((STRANGE, 5_000, 620))

    assert (await closing.bump(bump(5_000, output=None))).taken
    assert lnd.asked("BumpForceCloseFee") == []


@pytest.mark.parametrize(
    ("listed", "because"),
    [
        (waiting(close_height=599), "599"),
        (lightning_pb2.PendingChannelsResponse(), "does not list"),
    ],
)
async def test_what_is_confirmed_needs_no_hurry(
    lnd: Lnd,
    closing: LndClosing,
    listed: lightning_pb2.PendingChannelsResponse,
    because: str,
) -> None:
    lnd.answers["PendingChannels"] = listed
    lnd.answers["PendingSweeps"] = anchors((LOCAL, 5_000, 620))

    answer = await closing.bump(bump(5_000, output=None))

    assert (answer.taken, lnd.asked("BumpForceCloseFee")) == (False, [])
    assert because in answer.because
