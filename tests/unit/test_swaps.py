"""What a swap may cost, how an amount is split, what a person is told: without any world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fulgurite.identity import ChannelId, PaymentHash
from fulgurite.swaps.calls import Offer
from fulgurite.swaps.limits import (
    Bounds,
    Cap,
    Cost,
    Direction,
    Limit,
    Quote,
    SwapLimits,
    Terms,
    bound,
    exceeded,
)
from fulgurite.swaps.progress import Swap, judged
from fulgurite.swaps.reasons import ADVICE, SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.risk import at_risk
from fulgurite.swaps.splitting import UnsplittableError, split
from fulgurite.swaps.states import BEFORE, SWAP, UNDER_WAY, SwapEvent, SwapState
from fulgurite.swaps.told import LoopState, LoopSwap, Sighting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SAT = st.integers(0, 10_000_000)
CAPS = st.one_of(
    st.none(),
    st.builds(Cap, sat=st.integers(0, 100_000)),
    st.builds(Cap, ppm=st.integers(0, 1_000_000)),
    st.builds(Cap, sat=st.integers(0, 100_000), ppm=st.integers(0, 1_000_000)),
)


def _request(direction: Direction = Direction.OUT, **more: object) -> SwapRequest:
    fields = {
        "key": "k",
        "node": "alice",
        "direction": direction,
        "amount_sat": 250_000,
        "limits": {"total": {"sat": 20_000}},
        "orphan_watch_seconds": 60,
    }
    return SwapRequest.model_validate(fields | more)


def _swap(state: SwapState = SwapState.QUOTING) -> Swap:
    return Swap(label_prefix="swap/k#", began_at=NOW, entered_at=NOW, state=state)


def _told(state: LoopState, label: str = "swap/k#1", **more: object) -> LoopSwap:
    fields = {
        "swap_hash": PaymentHash("ab" * 32),
        "direction": Direction.OUT,
        "label": label,
        "amount_sat": 250_000,
        "state": state,
        "initiated_at": NOW,
        "updated_at": NOW,
    }
    return LoopSwap.model_validate(fields | more)


@given(
    direction=st.sampled_from(Direction),
    amount=st.integers(1_000, 10_000_000),
    total=CAPS.filter(bool),
    parts=st.tuples(CAPS, CAPS, CAPS, CAPS, CAPS),
    quote=st.builds(Quote, swap_fee_sat=SAT, prepay_sat=SAT, miner_fee_sat=SAT),
)
def test_what_loopd_may_spend_is_within_every_limit_or_nothing_is_begun(
    direction: Direction,
    amount: int,
    total: Cap,
    parts: tuple[Cap | None, ...],
    quote: Quote,
) -> None:
    names = ("swap_fee", "prepay", "miner_fee", "routing", "prepay_routing")
    limits = SwapLimits(total=total, **dict(zip(names, parts, strict=True)))
    bounds, over = bound(direction, amount, limits, quote)
    if over:
        return
    assert bounds.worst_case_sat <= total.of(amount)
    # However it ends: a Loop Out that fails keeps no fee, but loses what was paid in advance; a
    # Loop In that fails pays the chain twice.
    if direction is Direction.OUT:
        ends = (bounds.max_swap_fee_sat, bounds.max_prepay_sat)
    else:
        ends = (bounds.max_swap_fee_sat, bounds.max_miner_fee_sat)
    chain_sat = bounds.max_miner_fee_sat
    routing_sat = bounds.max_routing_sat + bounds.max_prepay_routing_sat
    assert all(end + chain_sat + routing_sat <= total.of(amount) for end in ends)
    assert quote.swap_fee_sat <= bounds.max_swap_fee_sat
    assert quote.miner_fee_sat <= bounds.max_miner_fee_sat
    handed = (
        bounds.max_swap_fee_sat,
        bounds.max_prepay_sat,
        bounds.max_miner_fee_sat,
        bounds.max_routing_sat,
        bounds.max_prepay_routing_sat,
    )
    for cap, sat in zip(parts, handed, strict=True):
        assert cap is None or sat <= cap.of(amount)
    # And what is spent within the bounds is no excess, to the satoshi.
    cost = Cost(
        server_sat=bounds.max_swap_fee_sat,
        on_chain_sat=chain_sat,
        off_chain_sat=routing_sat,
    )
    assert exceeded(bounds, cost) == ()
    dearer = cost.model_copy(update={"on_chain_sat": cost.on_chain_sat + 1})
    assert Limit.MINER_FEE in {each.limit for each in exceeded(bounds, dearer)}


@given(
    amount=st.integers(1, 100_000_000),
    least=st.integers(0, 100_000),
    more=st.integers(0, 10_000_000),
    max_swap=st.none() | st.integers(1, 1_000_000),
    channels=st.integers(0, 5),
)
def test_pieces_add_up_and_each_is_one_that_the_server_takes(
    amount: int, least: int, more: int, max_swap: int | None, channels: int
) -> None:
    terms = Terms(min_sat=least, max_sat=least + more)
    roads = [ChannelId.of_number(number + 1) for number in range(channels)]
    most = min(terms.max_sat, max_swap or terms.max_sat)
    try:
        pieces = split(amount, terms, max_swap_sat=max_swap, channels=roads, first_number=3)
    except UnsplittableError:
        return
    assert sum(piece.amount_sat for piece in pieces) == amount
    assert all(terms.min_sat <= piece.amount_sat <= most for piece in pieces)
    assert [piece.number for piece in pieces] == list(range(3, 3 + len(pieces)))
    by_road = [sum(p.amount_sat for p in pieces if p.channel == road) for road in roads]
    assert not roads or max(by_road) - min(by_road) <= 1


@pytest.mark.parametrize(
    ("terms", "max_swap"),
    [
        (Terms(min_sat=50_000, max_sat=600_000), 1),
        (Terms(min_sat=1, max_sat=600_000), 1),
        (Terms(min_sat=0, max_sat=0), None),
        (Terms(min_sat=2, max_sat=1), None),
    ],
)
def test_an_amount_that_would_be_countless_swaps_is_refused_before_they_are_counted(
    terms: Terms, max_swap: int | None
) -> None:
    """A workflow that counted them would be held up, or run out of memory, again and again."""
    with pytest.raises(UnsplittableError):
        split(10**15, terms, max_swap_sat=max_swap)


@pytest.mark.parametrize(
    ("direction", "quote", "reason"),
    [
        # 1,337 paid in advance are lost whole, though the fee is 500.
        (
            Direction.OUT,
            Quote(swap_fee_sat=500, prepay_sat=1_337, miner_fee_sat=0),
            SwapReason.TOTAL_LIMIT,
        ),
        # Taken back, it has paid the chain twice.
        (Direction.IN, Quote(swap_fee_sat=0, miner_fee_sat=601), SwapReason.MINER_FEE_LIMIT),
    ],
)
def test_a_swap_that_could_lose_more_than_its_total_when_it_fails_is_not_begun(
    direction: Direction, quote: Quote, reason: SwapReason
) -> None:
    request = _request(direction, limits={"total": {"sat": 1_200}})
    offer = Offer(terms=Terms(min_sat=1, max_sat=1_000_000), quote=quote)

    assert judged(request, offer).reason is reason


def test_a_swap_out_that_failed_counts_what_was_paid_in_advance() -> None:
    """loopd's figures leave it out, whether the server gave it back or not."""
    swap = _swap(SwapState.FAILED)
    swap.loop = _told(LoopState.FAILED, cost=Cost(off_chain_sat=1))
    swap.bounds = Bounds(
        max_swap_fee_sat=500, max_prepay_sat=1_337, max_miner_fee_sat=9, max_prepay_routing_sat=3
    )
    receipt = swap.receipt(_request(), NOW)

    assert receipt.cost.total_sat + receipt.unseen_sat == 1_337 + 3
    assert receipt.warnings == ("PREPAYMENT_UNSEEN",)
    # Found again, nobody knows what it was allowed: all that the request was counts.
    swap.bounds = None
    assert swap.unseen_sat(_request()) == 20_000 - 1
    assert swap.unseen_sat(_request(Direction.IN)) == 0


def test_a_swap_that_is_found_again_is_held_against_its_total() -> None:
    swap = _swap(SwapState.SUCCEEDED)
    swap.loop = _told(LoopState.SUCCESS, cost=Cost(on_chain_sat=20_000))
    assert swap.receipt(_request(), NOW).warnings == ()
    swap.loop = _told(LoopState.SUCCESS, cost=Cost(on_chain_sat=20_001))
    receipt = swap.receipt(_request(), NOW)

    assert receipt.warnings == ("LIMIT_EXCEEDED",)
    assert [each.limit for each in receipt.exceeded] == [Limit.TOTAL]


def test_a_quote_that_is_missing_or_a_fee_nobody_could_estimate_fails_closed() -> None:
    terms = Terms(min_sat=1, max_sat=1_000_000)
    unknown = Quote(swap_fee_sat=1, miner_fee_sat=-1)
    assert judged(_request(), Offer()).reason is SwapReason.SERVER_REFUSED
    assert judged(_request(), Offer(terms=terms)).reason is SwapReason.SERVER_REFUSED
    plan = judged(_request(), Offer(terms=terms, quote=unknown))
    assert (plan.reason, plan.bounds) == (SwapReason.WALLET_BALANCE, None)


def test_a_quote_above_a_limit_is_none_that_is_taken() -> None:
    terms = Terms(min_sat=1, max_sat=1_000_000)
    quote = Quote(swap_fee_sat=1_250, prepay_sat=1_000, miner_fee_sat=150)
    request = _request(limits={"total": {"sat": 20_000}, "swap_fee": {"sat": 1_249}})
    plan = judged(request, Offer(terms=terms, quote=quote))
    assert (plan.reason, plan.bounds) == (SwapReason.SWAP_FEE_LIMIT, None)
    assert plan.advice
    assert _swap().quoted(plan.offer, request, NOW)[0] is SwapReason.SWAP_FEE_LIMIT


def test_limits_of_a_swap_out_are_none_of_a_swap_in() -> None:
    with pytest.raises(ValidationError, match="prepayment"):
        _request(Direction.IN, limits={"total": {"sat": 1}, "prepay": {"sat": 1}})
    with pytest.raises(ValidationError, match="swap out"):
        _request(Direction.IN, channels=["1x2x3"])
    with pytest.raises(ValidationError, match="swap in"):
        _request(external_htlc=True)
    with pytest.raises(ValidationError, match='"sat"'):
        Cap()


def test_only_what_loopd_stored_and_lists_for_long_enough_lets_another_try_begin() -> None:
    request, swap = _request(), _swap(SwapState.UNCERTAIN)
    swap.sighted(Sighting(), NOW)
    assert not swap.absent(request)
    swap.sighted(Sighting(unlisted=1), NOW + timedelta(seconds=50))
    swap.sighted(Sighting(), NOW + timedelta(seconds=70))
    assert not swap.absent(request), "an orphan was seen meanwhile: the time begins anew"
    swap.sighted(Sighting(), NOW + timedelta(seconds=130))
    assert swap.absent(request)
    swap.sighted(None, NOW + timedelta(seconds=140))
    assert not swap.absent(request), "loopd is away: nothing is known"


def test_no_look_is_evidence_while_a_worker_that_is_held_up_can_ask_loopd_yet() -> None:
    request, swap = _request(), _swap(SwapState.UNCERTAIN)
    swap.asked_until = NOW + timedelta(seconds=240)
    swap.sighted(Sighting(), NOW)
    swap.sighted(Sighting(), NOW + timedelta(seconds=290))
    assert not swap.absent(request)
    swap.sighted(Sighting(), NOW + timedelta(seconds=300))
    assert swap.absent(request)


def test_the_swap_that_is_under_way_is_found_before_one_that_failed() -> None:
    failed = _told(LoopState.FAILED, reason=SwapReason.OFFCHAIN)
    running = _told(LoopState.INITIATED, label="swap/k#2", swap_hash=PaymentHash("cd" * 32))
    others = _told(LoopState.INITIATED, label="swap/kk#1", swap_hash=PaymentHash("ef" * 32))
    swap = _swap(SwapState.UNCERTAIN)

    assert swap.sighted(Sighting(swaps=(others, failed, running)), NOW) == running
    assert swap.sighted(Sighting(swaps=(others,)), NOW) is None


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_failure_that_is_not_loopds_last_word_ends_nothing(state: SwapState) -> None:
    swap = _swap(state)
    for reason in (SwapReason.TEMPORARY, SwapReason.INCORRECT_AMOUNT):
        told = _told(LoopState.FAILED, reason=reason)
        assert not told.final
        move = swap.heard(told, NOW)
        assert move is None or move[0] is SwapEvent.STALLED
    assert SWAP.fire(SwapState.STALLED, SwapEvent.SUCCEEDED) is SwapState.SUCCEEDED


def test_a_state_that_comes_before_the_present_moves_nothing_back() -> None:
    swap = _swap(SwapState.PREIMAGE_REVEALED)
    assert swap.heard(_told(LoopState.INITIATED), NOW) is None
    assert swap.state is SwapState.PREIMAGE_REVEALED


def test_money_is_at_risk_from_the_question_on_and_only_until_the_end() -> None:
    request = _request()
    for state in SwapState:
        risk = at_risk(state, request, None, Cost())
        may_move = state in {
            SwapState.INITIATING,
            SwapState.ORPHAN_WATCH,
            SwapState.UNCERTAIN,
            SwapState.GIVEN_UP,
            SwapState.ABANDONED,
            *UNDER_WAY,
        } - {SwapState.INVOICE_SETTLED}
        assert bool(risk.could_lose_sat) is may_move, state
    assert not any(at_risk(state, request, None, Cost()).in_flight_sat for state in BEFORE)


def test_every_reason_says_what_to_do() -> None:
    assert set(ADVICE) == set(SwapReason)
    assert all(ADVICE[reason] for reason in SwapReason if reason is not SwapReason.NONE)
