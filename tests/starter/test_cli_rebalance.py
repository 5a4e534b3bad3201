"""What a person at the terminal sees of a rebalance, and what scripts read."""

from __future__ import annotations

import pytest

from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey
from fulgurite.money import Msat
from fulgurite.rebalances.calls import Side
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import FeeCap
from fulgurite.rebalances.states import RebalanceState, StopReason
from starter.cli import rebalance_rendering
from starter.cli.rebalances import _OF_STATE, _ppm_of
from tests.properties.clock import EPOCH

POINT = ChannelPoint("ab" * 32 + ":0")


def side(local_sat: int) -> Side:
    return Side(
        channel_point=POINT,
        channel_id=ChannelId("100x1x0"),
        peer=NodePubkey("02" + "aa" * 32),
        peer_alias="dave",
        active=True,
        capacity_sat=1_000_000,
        local_sat=local_sat,
        remote_sat=1_000_000 - local_sat,
    )


def test_a_receipt_shows_the_channels_before_and_after_and_what_it_cost() -> None:
    told = rebalance_rendering.receipt(
        RebalanceReceipt(
            status=RebalanceState.PARTLY_MOVED,
            reason=StopReason.OVER_CAP,
            because="50,000 sat would cost 300 sat (6,000 ppm), and may cost 50 sat",
            advice="Raise the cap, wait for cheaper days, or swap.",
            key="monday",
            node="alice",
            goal_msat=Msat.from_sat(450_000),
            moved_msat=Msat.from_sat(400_000),
            fee_msat=Msat(123_000),
            fee_ppm=308,
            cap=FeeCap(sat=500, ppm=1_000),
            parts=2,
            attempts=3,
            before=(side(50_000),),
            after=(side(450_000),),
            requested_at=EPOCH,
            completed_at=EPOCH,
        )
    ).plain

    assert "PARTLY_MOVED  400,000 sat of 450,000 sat moved for 123 sat on alice" in told
    assert "█░░░░░░░░░░░░░░░░░░░ → █████████░░░░░░░░░░░" in told
    assert "450,000 of 1,000,000 sat  +400,000  dave" in told
    assert "OVER_CAP 50,000 sat would cost 300 sat (6,000 ppm)" in told
    assert "308 ppm" in told


@pytest.mark.parametrize(
    ("text", "ppm"), [("50%", 500_000), ("50", 500_000), ("12.5%", 125_000), ("0.0001", 1)]
)
def test_a_percentage_is_exact(text: str, ppm: int) -> None:
    assert _ppm_of("--to-local", text) == ppm


@pytest.mark.parametrize("text", ["half", "-1", "1e2", "1.23456", "", "%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        _ppm_of("--to-local", text)


def test_every_end_is_worth_an_exit_code_and_every_state_has_a_meaning() -> None:
    assert set(rebalance_rendering.MEANINGS) == set(RebalanceState)
    assert set(_OF_STATE) < set(RebalanceState)
