"""A lease under everything that a market, an account, a person and the chain can do to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fulgurite.leases.deciding import must_reserve, next_move, next_order
from fulgurite.leases.market import OVER, BidState
from fulgurite.leases.marks import mark_of
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import IN_THE_MARKET, LEASE, LeaseState, Refusal
from fulgurite.payments.requests import Approval
from tests.properties.clock import EPOCH
from tests.properties.model_pool import KEY, UNIT_SAT, World, settle

# A machine that does much else is no reason to fail.
many = settings(max_examples=150)

_IDLE_STEPS = 200

requests = st.builds(
    LeaseRequest.model_validate,
    st.fixed_dictionaries(
        {
            "key": st.just("order"),
            "node": st.just("alice"),
            "amount_sat": st.sampled_from([UNIT_SAT, 3 * UNIT_SAT, 5 * UNIT_SAT]),
            "min_channel_sat": st.sampled_from([None, UNIT_SAT]),
            "duration_blocks": st.sampled_from([144, 2_016]),
            "max_rate_ppb": st.sampled_from([1, 1_000, 200_000]),
            "max_batch_fee_sat_per_vbyte": st.just(2),
            "max_cost_sat": st.sampled_from([None, 1_000]),
            "deadline_seconds": st.sampled_from([3_600, 86_400]),
            "budgets": st.sampled_from([(), ("leases",)]),
            "approval_above_sat": st.sampled_from([None, 1_000]),
            "account": st.sampled_from(
                [
                    {},
                    {"fee_sat_per_vbyte": 2},
                    {"open_with_sat": 1_000_000, "fee_sat_per_vbyte": 2},
                    {"key": KEY},
                ]
            ),
        }
    ),
)
# Too little, too little for some, enough for all.
accounts = st.sampled_from([0, 1_000, 1_000_000, 1_000_000])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("blocks"), st.integers(1, 200)),
        st.tuples(st.just("minutes"), st.integers(1, 200)),
        st.tuples(st.just("prepare"), st.just(0)),
        st.tuples(st.just("drop"), st.just(0)),
        st.tuples(st.just("match"), st.integers(1, 5)),
        st.tuples(st.just("close"), st.integers(0, 4)),
        st.tuples(st.just("poold fails it"), st.just(0)),
        st.tuples(st.just("late twin"), st.just(0)),
        st.tuples(st.just("refuse"), st.sampled_from(list(Refusal))),
        st.tuples(st.just("approve"), st.just(0)),
        st.tuples(st.just("reject"), st.just(0)),
        st.tuples(st.just("cancel"), st.just(0)),
    ),
    max_size=30,
)


@many
@given(requests, accounts, st.booleans(), steps)
def test_every_course_bids_once_and_ends_as_the_world_has_it(
    request: LeaseRequest, account_sat: int, room: bool, course: list[tuple[str, object]]
) -> None:
    world = World(request, account_sat, room)
    lease = LeaseProgress(requested_at=world.now, entered_at=world.now)
    settle(world, lease)
    for what, number in course:
        if lease.state in LEASE.terminal:
            break
        world.disturb(what, number, lease)
        settle(world, lease)
    # Then the auctioneer drops what it has not finished, and nothing happens any more but time.
    world.disturb("drop", None, lease)
    for _ in range(_IDLE_STEPS):
        if lease.state in LEASE.terminal:
            break
        world.disturb("blocks", 36, lease)
        settle(world, lease)

    assert lease.state in LEASE.terminal
    assert world.submitted <= 1
    assert world.opened <= 1
    won_sat = sum(channel.amount_sat for channel in world.channels)
    receipt = lease.receipt(request, world.now)
    assert (receipt.leased_sat, len(receipt.channels)) == (won_sat, len(world.channels))
    assert receipt.cost.total_sat == sum(channel.cost_sat for channel in world.channels)
    assert bool(won_sat) == (lease.state in {LeaseState.TERM_ENDED, LeaseState.CLOSED_EARLY})
    # Nothing is left behind that could still be matched.
    assert all(bid.state in OVER for bid in world.bids)
    if lease.state is LeaseState.TERM_ENDED:
        assert any(
            channel.expiry_height and channel.expiry_height <= world.height
            for channel in lease.channels.values()
        )
    assert won_sat <= request.amount_sat
    if world.submitted or world.opened:
        assert lease.reserved or not request.budgets
    if world.submitted:
        assert lease.quote is not None
        cost_sat = lease.quote.cost_sat
        assert request.max_cost_sat is None or cost_sat <= request.max_cost_sat
        threshold = request.approval_above_sat
        approved = isinstance(lease.decision, Approval)
        assert threshold is None or cost_sat <= threshold or approved


@many
@given(requests, accounts, steps)
def test_what_it_knows_survives_a_new_run(
    request: LeaseRequest, account_sat: int, course: list[tuple[str, object]]
) -> None:
    """Carried whole through JSON at every step, it goes the same way."""
    worlds = [World(request, account_sat), World(request, account_sat)]
    leases = [LeaseProgress(requested_at=EPOCH, entered_at=EPOCH) for _ in worlds]
    for what, number in [("minutes", 0), *course]:
        for at, world in enumerate(worlds):
            if leases[at].state not in LEASE.terminal:
                world.disturb(what, number, leases[at])
                settle(world, leases[at])
        leases[1] = LeaseProgress.model_validate_json(leases[1].model_dump_json())
        assert leases[0] == leases[1]


@many
@given(st.text("abcXYZ.:@-_0123456789", min_size=1, max_size=20))
def test_a_mark_is_a_lease_own_and_a_point_of_the_curve(key: str) -> None:
    """As btcec and coincurve would have it: x³ + 7 is a square."""
    mark = mark_of("alice", key)
    prime = 2**256 - 2**32 - 977
    square = (pow(int.from_bytes(mark.raw()[1:]), 3, prime) + 7) % prime
    root = pow(square, (prime + 1) // 4, prime)
    assert root * root % prime == square
    assert mark != mark_of("bob", key)
    assert mark != mark_of("alice", f"{key}x")


def test_a_bid_is_never_out_before_there_is_one() -> None:
    """The states before the bid are left by no event that only a market can send."""
    for edge in LEASE.edges:
        if edge.target in IN_THE_MARKET and edge.source not in IN_THE_MARKET:
            assert edge.event == "READY"


def begun(**changes: object) -> tuple[World, LeaseProgress]:
    """A lease that has come to where it waits."""
    usual = {
        "key": "order",
        "node": "alice",
        "amount_sat": UNIT_SAT,
        "max_rate_ppb": 1_000,
        "max_batch_fee_sat_per_vbyte": 2,
    }
    world = World(LeaseRequest.model_validate(usual | changes), 1_000_000)
    lease = LeaseProgress(requested_at=EPOCH, entered_at=EPOCH)
    return world, lease


def test_an_account_that_is_gone_is_not_opened_again() -> None:
    world, lease = begun(account={"open_with_sat": 200_000, "fee_sat_per_vbyte": 2})
    world.accounts.clear()
    settle(world, lease)
    assert (world.opened, lease.state) == (1, LeaseState.ACCOUNT_OPENING)
    world.accounts.clear()
    settle(world, lease)
    assert (world.opened, lease.refusal) == (1, Refusal.NO_ACCOUNT)


def test_poolds_failed_counts_after_some_blocks() -> None:
    world, lease = begun()
    settle(world, lease)
    world.disturb("poold fails it", None, lease)
    states = []
    for blocks in (0, 2, 1):
        world.disturb("blocks", blocks, lease)
        settle(world, lease)
        states.append(lease.state)
    assert states == [LeaseState.BIDDING, LeaseState.BIDDING, LeaseState.FAILED]


def test_nothing_moves_before_every_budget_has_granted_it() -> None:
    world, lease = begun(budgets=("leases",))
    lease.saw(world.picture())
    quoting = next_order(lease, world.request, world.now)
    assert quoting is not None
    world.carry_out(quoting, lease)
    quoted = next_move(lease, world.request, world.now)
    assert quoted is not None
    lease.fire(quoted[0], world.now)
    assert lease.state is LeaseState.ACCOUNT_OPENING
    lease.saw(world.picture())
    assert must_reserve(lease, world.request)
    assert next_move(lease, world.request, world.now) is None


def test_a_bid_is_taken_back_at_its_deadline() -> None:
    world, lease = begun(deadline_seconds=3_600)
    settle(world, lease)
    world.disturb("minutes", 60, lease)
    settle(world, lease)
    assert [bid.state for bid in world.bids] == [BidState.CANCELED]
    assert lease.state is LeaseState.EXPIRED


def test_the_younger_of_two_bids_is_taken_back() -> None:
    world, lease = begun()
    settle(world, lease)
    world.disturb("late twin", None, lease)
    settle(world, lease)
    assert [bid.state for bid in world.bids] == [BidState.SUBMITTED, BidState.CANCELED]


def test_what_is_above_a_limit_or_a_threshold_waits_or_is_refused() -> None:
    world, lease = begun(max_cost_sat=10)
    settle(world, lease)
    assert (lease.state, lease.refusal) == (LeaseState.REFUSED, Refusal.ABOVE_COST_LIMIT)
    world, lease = begun(approval_above_sat=10)
    settle(world, lease)
    assert (lease.state, world.submitted) == (LeaseState.AWAITING_APPROVAL, 0)
