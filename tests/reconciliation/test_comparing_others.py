"""Swaps, rebalances and leases: which pairs agree, and what one that does not is called."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fulgurite.events.catalogue import EventType, event
from fulgurite.identity import ChannelPoint, NodePubkey, PaymentHash
from fulgurite.leases.market import Account, AccountState, Bid, BidState, LeasedChannel
from fulgurite.leases.receipts import LeaseCost, LeaseReceipt
from fulgurite.leases.states import LEASE, LeaseState
from fulgurite.money import Msat
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import FeeCap
from fulgurite.rebalances.states import RebalanceState, StopReason
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.differences import Difference, DifferenceKind
from fulgurite.reconciliation.leases import SOON_BLOCKS, AtPool, compare_lease, expires_soon
from fulgurite.reconciliation.rebalances import Moved, compare_rebalance
from fulgurite.reconciliation.saying import Said
from fulgurite.reconciliation.swaps import compare_swap, expects_swap, key_of
from fulgurite.swaps.limits import Cost, Direction
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.states import SWAP, UNDER_WAY, SwapState
from fulgurite.swaps.told import LoopState, LoopSwap

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HASH, ANOTHER = PaymentHash("ab" * 32), PaymentHash("cd" * 32)
KEY = NodePubkey("02" + "11" * 32)
K, E = DifferenceKind, Execution
BY_FORCE = (E.TERMINATED, E.TIMED_OUT, E.CANCELED, E.FAILED)


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("swap/order-7#1", "order-7"),
        ("swap/a.b:c@d_e-f#12", "a.b:c@d_e-f"),
        ("", None),
        ("order-7", None),
        ("swap/order-7", None),
        ("swap/it's#1", None),
        ("swap/order-7#1 ", None),
        ("my swap/order-7#1", None),
    ],
)
def test_a_label_is_ours_only_as_we_write_it(label: str, key: str | None) -> None:
    assert key_of(label) == key


def at_loopd(state: LoopState = LoopState.SUCCESS, **more: Any) -> LoopSwap:
    fields: dict[str, Any] = {
        "swap_hash": HASH,
        "direction": Direction.OUT,
        "label": "swap/order-7#1",
        "amount_sat": 250_000,
        "state": state,
        "cost": Cost(server_sat=100),
        "initiated_at": NOW,
        "updated_at": NOW,
    }
    return LoopSwap.model_validate(fields | more)


def ended(status: SwapState = SwapState.SUCCEEDED, **more: Any) -> Said[SwapReceipt]:
    fields: dict[str, Any] = {
        "status": status,
        "key": "order-7",
        "node": "alice",
        "direction": Direction.OUT,
        "amount_sat": 250_000,
        "swap_hash": HASH,
        "cost": Cost(server_sat=100),
        "requested_at": NOW,
        "completed_at": NOW,
    }
    return Said(E.COMPLETED, status, SwapReceipt.model_validate(fields | more))


def test_a_swap_that_nobody_follows_is_no_difference_only_of_loopd() -> None:
    for state in LoopState:
        assert compare_swap(None, at_loopd(state)) is K.UNFOLLOWED_SWAP
        for execution in BY_FORCE:
            said = Said[SwapReceipt](execution, SwapState.INITIATED)
            assert compare_swap(said, at_loopd(state)) is K.UNFOLLOWED_SWAP


def test_a_swap_under_way_differs_once_loopd_is_done_or_a_person_is_asked() -> None:
    asked = {SwapState.PAUSED, SwapState.AWAITING_APPROVAL}
    for ours in set(SwapState) - SWAP.terminal:
        said = Said[SwapReceipt](E.RUNNING, ours)
        for state in LoopState:
            done = K.STALE_SWAP if at_loopd(state).final else None
            expected = K.STATE_DIFFERS if ours in asked else done
            assert compare_swap(said, at_loopd(state)) is expected
        assert expects_swap(said) is (ours in UNDER_WAY)
    # It knows, and tells its budgets.
    assert compare_swap(Said(E.RUNNING, SwapState.SUCCEEDED), at_loopd()) is None


def test_an_ended_swap_agrees_with_one_verdict_alone() -> None:
    abandoned = at_loopd(LoopState.FAILED, reason=SwapReason.ABANDONED)
    words = {
        SwapState.SUCCEEDED: at_loopd(),
        SwapState.FAILED: at_loopd(LoopState.FAILED, reason=SwapReason.TIMEOUT),
        SwapState.ABANDONED: abandoned,
    }
    stalled = at_loopd(LoopState.FAILED, reason=SwapReason.TEMPORARY)
    for ours in SWAP.terminal:
        for agreeing, theirs in words.items():
            expected = None if ours is agreeing else K.STATE_DIFFERS
            assert compare_swap(ended(ours), theirs) is expected
        for open_one in (stalled, at_loopd(LoopState.INITIATED)):
            assert compare_swap(ended(ours), open_one) is K.STATE_DIFFERS


def test_another_swap_amount_or_cost_differs() -> None:
    assert compare_swap(ended(swap_hash=ANOTHER), at_loopd()) is K.STATE_DIFFERS
    assert compare_swap(ended(swap_hash=None), at_loopd()) is K.STATE_DIFFERS
    assert compare_swap(ended(amount_sat=250_001), at_loopd()) is K.AMOUNT_DIFFERS
    assert compare_swap(ended(cost=Cost(server_sat=101)), at_loopd()) is K.COST_DIFFERS


def test_what_the_receipt_says_itself_is_no_difference() -> None:
    twice = ended(swap_hash=ANOTHER, others=(HASH,))
    assert compare_swap(twice, at_loopd(LoopState.INITIATED)) is None
    reused = ended(SwapState.REFUSED, swap_hash=None, reason=SwapReason.KEY_REUSED)
    assert compare_swap(reused, at_loopd()) is None
    assert compare_swap(reused, at_loopd(LoopState.INITIATED)) is K.STATE_DIFFERS


def moved(**more: Any) -> Said[RebalanceReceipt]:
    fields: dict[str, Any] = {
        "status": RebalanceState.MOVED,
        "reason": StopReason.REACHED,
        "key": "ring",
        "node": "alice",
        "goal_msat": Msat(2_000),
        "moved_msat": Msat(2_000),
        "fee_msat": Msat(7),
        "fee_ppm": 3_500,
        "cap": FeeCap(sat=1, ppm=10_000),
        "parts": 2,
        "attempts": 3,
        "requested_at": NOW,
        "completed_at": NOW,
    }
    return Said(E.COMPLETED, RebalanceState.MOVED, RebalanceReceipt.model_validate(fields | more))


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (None, K.UNFOLLOWED_REBALANCE),
        *((Said(each, RebalanceState.SENDING), K.UNFOLLOWED_REBALANCE) for each in BY_FORCE),
        (Said(E.RUNNING, RebalanceState.SENDING), None),
        (moved(), None),
        (moved(parts=1), K.AMOUNT_DIFFERS),
        (moved(moved_msat=Msat(1_999)), K.AMOUNT_DIFFERS),
        (moved(fee_msat=Msat(8)), K.COST_DIFFERS),
    ],
)
def test_what_lnd_has_paid_to_itself_is_what_the_receipt_says(
    ours: Said[RebalanceReceipt] | None, expected: DifferenceKind | None
) -> None:
    assert compare_rebalance(ours, Moved(2, Msat(2_000), Msat(7), NOW)) is expected


def test_a_fee_that_lnd_has_deleted_contradicts_nobody() -> None:
    forgotten = Moved(2, Msat(2_000), None, NOW)
    assert compare_rebalance(moved(fee_msat=Msat(9)), forgotten) is None
    assert compare_rebalance(moved(parts=3), forgotten) is K.AMOUNT_DIFFERS
    assert "deleted" in str(forgotten)


def bid(state: BidState) -> Bid:
    return Bid(
        nonce="aa",
        account=KEY,
        state=state,
        amount_sat=500_000,
        unfilled_sat=0,
        rate_ppb=1_000,
        duration_blocks=144,
    )


WON = LeasedChannel(
    channel_point=ChannelPoint(f"{'ef' * 32}:0"),
    amount_sat=500_000,
    duration_blocks=144,
    rate_ppb=1_000,
    premium_sat=72,
    execution_fee_sat=501,
    chain_fee_sat=300,
    peer=KEY,
    nonce="aa",
)


def leased(**more: Any) -> Said[LeaseReceipt]:
    fields: dict[str, Any] = {
        "status": LeaseState.TERM_ENDED,
        "key": "order-1",
        "node": "alice",
        "amount_sat": 500_000,
        "leased_sat": 500_000,
        "channels": (WON,),
        "cost": LeaseCost.of([WON]),
        "requested_at": NOW,
        "completed_at": NOW,
    }
    return Said(E.COMPLETED, LeaseState.TERM_ENDED, LeaseReceipt.model_validate(fields | more))


EXECUTED = AtPool([bid(BidState.EXECUTED)], [WON])
LIVE = AtPool([bid(BidState.SUBMITTED)])
OVER = AtPool([bid(BidState.CANCELED)])


def test_a_lease_that_was_ended_by_force_differs_while_there_is_something_to_follow() -> None:
    for execution in BY_FORCE:
        said = Said[LeaseReceipt](execution, LeaseState.BIDDING)
        assert compare_lease(said, LIVE) is K.UNFOLLOWED_LEASE
        assert compare_lease(said, EXECUTED) is K.UNFOLLOWED_LEASE
        assert compare_lease(said, OVER) is None
        assert compare_lease(said, AtPool()) is None


def test_poold_must_know_what_it_has_matched() -> None:
    unknown = {
        state
        for state in set(LeaseState) - LEASE.terminal
        if compare_lease(Said(E.RUNNING, state), AtPool()) is K.UNKNOWN_TO_NODE
    }
    assert unknown == {LeaseState.MATCHED, LeaseState.CHANNEL_OPENING, LeaseState.LEASED}


def test_an_ended_lease_has_no_live_bid_and_poolds_own_figures() -> None:
    assert compare_lease(leased(), EXECUTED) is None
    assert compare_lease(leased(), AtPool([*LIVE.bids, *EXECUTED.bids], [WON])) is K.STATE_DIFFERS
    assert compare_lease(leased(), OVER) is K.AMOUNT_DIFFERS
    assert compare_lease(leased(cost=LeaseCost()), EXECUTED) is K.COST_DIFFERS


def test_only_an_account_with_money_ends_soon() -> None:
    def soon(state: AccountState, left: int) -> bool:
        account = Account(
            key=KEY, state=state, value_sat=1, available_sat=1, expiry_height=1_000 + left
        )
        return expires_soon(account, 1_000)

    assert soon(AccountState.OPEN, SOON_BLOCKS)
    assert not soon(AccountState.OPEN, SOON_BLOCKS + 1)
    assert soon(AccountState.EXPIRED, -5)
    assert not soon(AccountState.CLOSED, -5)
    assert not soon(AccountState.PENDING_CLOSED, 5)


def test_a_difference_without_a_hash_is_one_event_too() -> None:
    def difference(resource: str, kind: DifferenceKind) -> Difference:
        return Difference(kind=kind, node="alice", resource=resource, ours="", theirs="", action="")

    told = event(
        EventType.RECONCILIATION_DIFFERENCE,
        difference("rebalance/Ring.7:a@b", K.COST_DIFFERS),
        subject=difference("rebalance/Ring.7:a@b", K.COST_DIFFERS).subject,
        resource="rebalance/Ring.7:a@b",
        node="alice",
        timestamp=NOW,
    )
    others = (
        difference("rebalance/ring.7:a@b", K.COST_DIFFERS),
        difference("rebalance/Ring.7:a@b", K.AMOUNT_DIFFERS),
    )
    assert told.id.endswith("-cost_differs")
    assert all(other.subject not in told.id for other in others)


def test_the_same_of_another_node_or_resource_is_another_event() -> None:
    """A payment of one node is an invoice of another, and a key can be asked for at two nodes."""

    def subject(node: str, resource: str, payment_hash: PaymentHash | None = None) -> str:
        return Difference(
            kind=K.STATE_DIFFERS,
            node=node,
            payment_hash=payment_hash,
            resource=resource,
            ours="",
            theirs="",
            action="",
        ).subject

    several = [
        subject("alice", "lease/order-1"),
        subject("carol", "lease/order-1"),
        subject("alice", f"payment/{HASH}", HASH),
        subject("carol", f"payment/{HASH}", HASH),
        subject("carol", f"invoice/{HASH}", HASH),
        subject("carol", "swap/order-1", HASH),
        subject("carol", "swap/order-1", ANOTHER),
    ]
    assert len(set(several)) == len(several)
    assert subject("alice", "lease/order-1") == several[0]
