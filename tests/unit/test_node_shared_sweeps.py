"""One sweep of several channels' outputs, which nobody here has watched: after a crash."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import ChannelPoint, Txid
from nodes.lnd.channels import LndChannels
from protos.lnrpc import lightning_pb2
from tests.unit.lnd_lists import (
    CLOSING,
    HTLC_SAT,
    LOCAL_SAT,
    POINT,
    TIP,
    Lnd,
    channel_of,
    channels_of,
    forced,
    htlc,
    lists,
    resolution,
    summary,
)
from tests.unit.test_node_sweeps import transaction

OTHER = Txid("c2" * 32)
OTHER_POINT = ChannelPoint("f1" * 32 + ":0")
BALANCE_OF_OTHER = 448_690
# The HTLC of one channel, and the balance of the other.
BOTH = transaction(
    "b1",
    HTLC_SAT + BALANCE_OF_OTHER - 300,
    [f"{CLOSING}:2", f"{OTHER}:4"],
    [(HTLC_SAT + BALANCE_OF_OTHER - 300, True)],
)
COMMIT = transaction("a1", LOCAL_SAT - 135, [f"{CLOSING}:4"], [(LOCAL_SAT - 135, True)])
ONE = summary(
    resolution("COMMIT", "CLAIMED", f"{CLOSING}:4", LOCAL_SAT, "a1" * 32),
    resolution("OUTGOING_HTLC", "TIMEOUT", f"{CLOSING}:2", HTLC_SAT, "b1" * 32),
).channels[0]
TWO = summary(
    resolution("COMMIT", "CLAIMED", f"{OTHER}:4", BALANCE_OF_OTHER, "b1" * 32),
    channel_point=OTHER_POINT,
    closing_tx_hash=OTHER,
).channels[0]


@pytest.fixture
def lnd() -> Lnd:
    return Lnd()


@pytest.fixture
def channels(lnd: Lnd) -> LndChannels:
    return channels_of(lnd)


@pytest.mark.parametrize("listed", [[ONE, TWO], [TWO, ONE]], ids=["in order", "reversed"])
async def test_two_that_are_over_explain_each_other(
    lnd: Lnd, channels: LndChannels, listed: list[Any]
) -> None:
    lists(lnd, transactions=[BOTH, COMMIT])
    lnd.answers["ClosedChannels"] = lightning_pb2.ClosedChannelsResponse(channels=listed)

    recovered = {each.channel_point: each.recovered_sat for each in await channels.closed(TIP)}

    assert recovered == {
        POINT: LOCAL_SAT - 135 + HTLC_SAT - 150,
        OTHER_POINT: BALANCE_OF_OTHER - 150,
    }


async def test_one_that_is_still_closing_explains_one_that_is_over(
    lnd: Lnd, channels: LndChannels
) -> None:
    """Both lists are read anew: since the last look at those that close, it was swept."""
    closing = forced(
        htlc(),
        channel=channel_of(channel_point=OTHER_POINT, local_balance=BALANCE_OF_OTHER),
        closing_txid=OTHER,
        limbo_balance=HTLC_SAT + 330,
    )
    lists(lnd, pending_force_closing_channels=[closing], transactions=[BOTH, COMMIT])
    lnd.answers["ClosedChannels"] = lightning_pb2.ClosedChannelsResponse(channels=[ONE])

    [closed] = await channels.closed(TIP)

    assert closed.recovered_sat == LOCAL_SAT - 135 + HTLC_SAT - 150
    assert closed.sweep_fees_sat == 135 + 150


async def test_an_htlc_on_its_way_hides_no_balance(lnd: Lnd, channels: LndChannels) -> None:
    """Its first stage has an output of the closing transaction for itself, as a sweep has."""
    first_stage = transaction("d1", -270, [f"{OTHER}:2"], [(HTLC_SAT, False)])
    closing = forced(
        htlc(),
        channel=channel_of(channel_point=OTHER_POINT, local_balance=BALANCE_OF_OTHER),
        closing_txid=OTHER,
        limbo_balance=HTLC_SAT + 330,
    )
    lists(
        lnd,
        pending_force_closing_channels=[closing],
        transactions=[BOTH, COMMIT, first_stage],
    )
    lnd.answers["ClosedChannels"] = lightning_pb2.ClosedChannelsResponse(channels=[ONE])

    [closed] = await channels.closed(TIP)

    assert closed.phase is ClosePhase.CLOSED
    assert closed.recovered_sat == LOCAL_SAT - 135 + HTLC_SAT - 150


async def test_what_only_the_other_channel_will_tell_is_waited_for(
    lnd: Lnd, channels: LndChannels
) -> None:
    """Two outputs of one that still closes were swept, each for itself: which was which?"""
    another = transaction("d1", HTLC_SAT - 150, [f"{OTHER}:2"], [(HTLC_SAT - 150, True)])
    closing = forced(
        channel=channel_of(channel_point=OTHER_POINT, local_balance=BALANCE_OF_OTHER),
        closing_txid=OTHER,
        limbo_balance=330,
    )
    lists(lnd, pending_force_closing_channels=[closing], transactions=[BOTH, COMMIT, another])
    lnd.answers["ClosedChannels"] = lightning_pb2.ClosedChannelsResponse(channels=[ONE])
    [waits] = await channels.closed(TIP)
    lists(lnd, transactions=[BOTH, COMMIT, another])
    lnd.answers["ClosedChannels"] = lightning_pb2.ClosedChannelsResponse(channels=[ONE, TWO])
    [closed, _] = await channels.closed(TIP)

    assert waits.phase is ClosePhase.FORCE_CLOSING
    assert (closed.phase, closed.recovered_sat) == (
        ClosePhase.CLOSED,
        LOCAL_SAT - 135 + HTLC_SAT - 150,
    )
