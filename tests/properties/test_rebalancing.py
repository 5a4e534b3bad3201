"""What a rebalance decides, against a node that answers anything: no cap is ever passed."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash
from fulgurite.money import Msat
from fulgurite.payments.states import FailureReason
from fulgurite.rebalances import deciding, learning
from fulgurite.rebalances.calls import (
    Known,
    Prepare,
    Prepared,
    PrepareOutcome,
    Recalled,
    SendOutcome,
    Sent,
    Side,
)
from fulgurite.rebalances.progress import Progress
from fulgurite.rebalances.requests import FeeCap, RebalanceRequest
from fulgurite.rebalances.routes import Hop, HtlcFailure, Route
from fulgurite.rebalances.states import (
    REBALANCE,
    RebalanceEvent,
    RebalanceState,
    StopReason,
)
from tests.properties.clock import EPOCH

OWN = NodePubkey("02" + "aa" * 32)
PEERS = [NodePubkey("03" + f"{number:064x}") for number in range(1, 6)]
POINTS = [ChannelPoint(f"{number:064x}:0") for number in range(5)]
CODES = [
    "TEMPORARY_CHANNEL_FAILURE",
    "FEE_INSUFFICIENT",
    "UNKNOWN_NEXT_PEER",
    "CHANNEL_DISABLED",
    "INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS",
]
HASH = PaymentHash("cd" * 32)


def side(number: int, local_sat: int, capacity_sat: int = 1_000_000) -> Side:
    return Side(
        channel_point=POINTS[number],
        channel_id=ChannelId(f"100x{number}x0"),
        peer=PEERS[number],
        active=True,
        capacity_sat=capacity_sat,
        local_sat=local_sat,
        remote_sat=capacity_sat - local_sat,
    )


def route(
    ask: Prepare, fee_msat: int, *, sat_short: int = 0, last: NodePubkey | None = None
) -> Route:
    """Out by the first channel that may be used, over two nodes, and home."""
    attempt = ask.attempt
    delivered = Msat(attempt.amount_msat - sat_short)
    hops = [
        (attempt.outgoing_channels[0], PEERS[4], delivered),
        (ChannelId("200x1x0"), last or attempt.last_hop, delivered),
        (ChannelId("200x2x0"), OWN, delivered),
    ]
    return Route(
        total_msat=Msat(delivered + fee_msat),
        expiry_height=1_000,
        hops=tuple(
            Hop(
                channel_id=channel, to=to, forward_msat=forward, fee_msat=Msat(0), expiry_height=900
            )
            for channel, to, forward in hops
        ),
    )


def known(amount: Msat, *, settled: bool = False) -> Known:
    return Known(payment_hash=HASH, amount_msat=amount, settled=settled)


class Node:
    """LND, the graph and everybody on the way: whatever `draw` says."""

    def __init__(self, data: st.DataObject, request: RebalanceRequest) -> None:
        self._draw = data.draw
        self.request = request
        self.locals = {point: self._draw(st.integers(0, 1_000_000)) for point in request.channels}

    def sides(self) -> tuple[Side, ...]:
        return tuple(
            side(POINTS.index(point), local).model_copy(
                update={"active": self._draw(st.integers(0, 9)) > 0}
            )
            for point, local in self.locals.items()
        )

    def prepare(self, ask: Prepare) -> Prepared:
        limit = ask.attempt.fee_limit_msat
        match self._draw(
            st.sampled_from(["ready"] * 4 + ["dear", "none", "lies", "spent", "known"])
        ):
            case "ready":
                fee = self._draw(st.integers(0, limit))
                return Prepared(
                    outcome=PrepareOutcome.READY, payment_hash=HASH, route=route(ask, fee)
                )
            case "lies":
                # A route that is not what was asked for, in one way or another.
                lie = self._draw(
                    st.sampled_from(
                        [
                            route(ask, limit + 1),
                            route(ask, 0, sat_short=1_000),
                            route(ask, 0, last=PEERS[4]),
                        ]
                    )
                )
                return Prepared(outcome=PrepareOutcome.READY, payment_hash=HASH, route=lie)
            case "dear":
                return Prepared(
                    outcome=PrepareOutcome.NO_ROUTE,
                    cheapest_fee_msat=Msat(limit + self._draw(st.integers(1, 10**6))),
                )
            case "spent":
                return Prepared(outcome=PrepareOutcome.SPENT, payment_hash=HASH)
            case "known":
                return Prepared(
                    outcome=PrepareOutcome.KNOWN,
                    payment_hash=HASH,
                    known=known(
                        Msat(ask.attempt.amount_msat // self._draw(st.integers(1, 3))),
                        settled=self._draw(st.booleans()),
                    ),
                )
            case _:
                return Prepared(outcome=PrepareOutcome.NO_ROUTE)

    def send(self, progress: Progress) -> Sent:
        under_way = progress.under_way
        assert under_way is not None
        match self._draw(st.sampled_from(["settled", "settled", "failed", "forgotten", "refused"])):
            case "settled":
                limit = under_way.attempt.fee_limit_msat
                fee = under_way.route.fees_msat if under_way.route else limit
                return Sent(
                    outcome=SendOutcome.SUCCEEDED,
                    amount_msat=under_way.attempt.amount_msat,
                    fee_msat=Msat(self._draw(st.integers(0, fee))),
                )
            case "failed":
                failure = HtlcFailure(
                    code=self._draw(st.sampled_from(CODES)),
                    source_index=self._draw(st.integers(0, 3)),
                )
                return Sent(
                    outcome=SendOutcome.FAILED, failure_reason=FailureReason.ERROR, failure=failure
                )
            case "forgotten":
                return Sent(outcome=SendOutcome.FAILED, failure_reason=FailureReason.NO_ROUTE)
            case _:
                return Sent(outcome=SendOutcome.NOT_SENT, because="no")


@st.composite
def requests(draw: st.DrawFn) -> RebalanceRequest:
    amount = draw(st.booleans())
    earns = draw(st.one_of(st.none(), st.integers(0, 3_000)))
    return RebalanceRequest(
        key="k",
        node="alice",
        from_channels=tuple(POINTS[: draw(st.integers(1, 2))]),
        to_channels=tuple(POINTS[2 : 2 + draw(st.integers(1, 2))]),
        amount_msat=Msat(draw(st.integers(1_000, 900_000_000))) if amount else None,
        target_local_ppm=None if amount else draw(st.integers(1, 1_000_000)),
        cap=FeeCap(sat=draw(st.integers(0, 2_000)), ppm=draw(st.integers(0, 5_000))),
        earns_ppm=earns,
        forgoes_ppm=draw(st.integers(0, 1_000)),
        smallest_part_msat=Msat(draw(st.sampled_from([1_000, 10_000_000, 50_000_000]))),
        largest_part_msat=draw(st.sampled_from([None, Msat(60_000_000)])),
        max_attempts=draw(st.integers(1, 12)),
    )


@settings(max_examples=300)
@given(request=requests(), data=st.data())
def test_no_cap_is_passed_and_it_ends(request: RebalanceRequest, data: st.DataObject) -> None:
    node = Node(data, request)
    progress = Progress(requested_at=EPOCH, state=RebalanceState.PLANNING)
    fees = numbers = 0
    for step in range(400):
        progress.saw(request, node.sides())
        goal = progress.goal_msat
        assert goal is not None
        if step and step % 7 == 0:
            # A new run knows as much as the old one.
            progress = Progress.model_validate_json(progress.model_dump_json())
        now = EPOCH + timedelta(seconds=step)
        ask = deciding.next_attempt(progress, request, now)
        if ask is None:
            break
        attempt = ask.attempt
        assert progress.smallest(request) <= attempt.amount_msat <= progress.left_msat
        assert attempt.amount_msat % 1_000 == 0
        # No gap: each number that was taken has an invoice, by which a later run finds it.
        assert attempt.number == numbers + 1
        assert attempt.amount_msat <= (request.largest_part_msat or attempt.amount_msat)
        assert attempt.fee_limit_msat + fees <= request.cap.sat * 1_000
        assert attempt.fee_limit_msat <= attempt.amount_msat * request.cap.ppm // 1_000_000
        if request.earns_ppm is not None:
            earns = attempt.amount_msat * max(0, request.earns_ppm - request.forgoes_ppm)
            assert attempt.fee_limit_msat == 0 or attempt.fee_limit_msat < earns / 1_000_000
        answer = node.prepare(ask)
        learning.prepared(progress, request, ask, answer, now)
        numbers += answer.outcome is not PrepareOutcome.NO_ROUTE
        if progress.under_way is None:
            continue
        sending = progress.under_way
        if sending.route and sending.may_send:
            # What is sent is what was asked for, and within the limit, whatever LND answered.
            assert sending.route.fees_msat <= sending.attempt.fee_limit_msat
            assert sending.route.delivered_msat == sending.attempt.amount_msat
            assert sending.route.hops[-2].to == sending.attempt.last_hop
        assert sending.payment_hash == answer.payment_hash
        progress.state = RebalanceState.SENDING
        before = progress.moved_msat
        said = node.send(progress)
        event, _ = learning.sent(progress, request, said)
        assert progress.under_way is None
        settled = said.outcome is SendOutcome.SUCCEEDED
        assert event is (RebalanceEvent.SETTLED if settled else RebalanceEvent.FAILED)
        assert progress.moved_msat - before == (said.amount_msat if settled else 0)
        fees += said.fee_msat
        progress.state = REBALANCE.fire(progress.state, event)
    else:
        raise AssertionError("it never ends")

    assert progress.fee_msat == fees <= request.cap.sat * 1_000
    assert fees * 1_000_000 <= request.cap.ppm * max(progress.moved_msat, 0)
    assert progress.attempts <= request.max_attempts
    assert progress.moved_msat <= (progress.goal_msat or 0)
    ended = REBALANCE.fire(RebalanceState.PLANNING, progress.ending())
    assert (ended is RebalanceState.MOVED) == (progress.stop is StopReason.REACHED)


@settings(max_examples=100)
@given(paid=st.integers(0, 10**6), limit_ppm=st.integers(1, 1_000))
def test_a_receipt_above_the_limit_stops_it(paid: int, limit_ppm: int) -> None:
    request = RebalanceRequest(
        key="k",
        node="alice",
        from_channels=(POINTS[0],),
        to_channels=(POINTS[2],),
        amount_msat=Msat(100_000_000),
        largest_part_msat=Msat(10_000_000),
        cap=FeeCap(sat=10_000, ppm=limit_ppm),
    )
    progress = Progress(requested_at=EPOCH, state=RebalanceState.PLANNING)
    progress.saw(request, (side(0, 900_000), side(2, 0)))
    ask = deciding.next_attempt(progress, request, EPOCH)
    assert ask is not None
    ready = Prepared(outcome=PrepareOutcome.READY, payment_hash=HASH, route=route(ask, 0))
    learning.prepared(progress, request, ask, ready, EPOCH)
    settled = Sent(
        outcome=SendOutcome.SUCCEEDED,
        amount_msat=ask.attempt.amount_msat,
        fee_msat=Msat(paid),
    )
    learning.sent(progress, request, settled)
    above = paid > ask.attempt.fee_limit_msat
    assert (deciding.next_attempt(progress, request, EPOCH) is None) == above
    assert progress.stop is (StopReason.FEE_ABOVE_CAP if above else None)


def test_the_cap_in_sat_holds_for_all_parts_together() -> None:
    request = RebalanceRequest(
        key="k",
        node="alice",
        from_channels=(POINTS[0],),
        to_channels=(POINTS[2],),
        amount_msat=Msat(100_000_000),
        largest_part_msat=Msat(10_000_000),
        cap=FeeCap(sat=5, ppm=1_000),
    )
    progress = Progress(requested_at=EPOCH, state=RebalanceState.PLANNING)
    progress.saw(request, (side(0, 900_000), side(2, 0)))
    limits = []
    for paid in (4_000, 1_000, 0):
        ask = deciding.next_attempt(progress, request, EPOCH)
        assert ask is not None
        limits.append(ask.attempt.fee_limit_msat)
        ready = Prepared(outcome=PrepareOutcome.READY, payment_hash=HASH, route=route(ask, paid))
        learning.prepared(progress, request, ask, ready, EPOCH)
        settled = Sent(
            outcome=SendOutcome.SUCCEEDED,
            amount_msat=ask.attempt.amount_msat,
            fee_msat=Msat(paid),
        )
        learning.sent(progress, request, settled)
    assert limits == [5_000, 1_000, 0]


def one_part(**fields: object) -> RebalanceRequest:
    return RebalanceRequest.model_validate(
        {
            "key": "k",
            "node": "alice",
            "from_channels": (POINTS[0],),
            "to_channels": (POINTS[2],),
            "amount_msat": Msat(100_000_000),
            "cap": FeeCap(sat=1_000, ppm=1_000),
        }
        | fields
    )


@given(amount_sat=st.integers(1, 90_000), paid_ppm=st.integers(0, 1_000))
def test_what_is_found_again_is_held_against_the_limit_of_its_own_amount(
    amount_sat: int, paid_ppm: int
) -> None:
    """By a walk before anything else, or by the number that was to be the next."""
    amount, request = Msat.from_sat(amount_sat), one_part()
    paid = Sent(
        outcome=SendOutcome.SUCCEEDED,
        amount_msat=amount,
        fee_msat=Msat(amount * paid_ppm // 1_000_000),
    )
    smaller_now = one_part(largest_part_msat=Msat(10_000_000))
    for asked, by_walk in ((request, True), (request, False), (smaller_now, False)):
        progress = Progress(requested_at=EPOCH, state=RebalanceState.PLANNING)
        progress.saw(asked, (side(0, 900_000), side(2, 0)))
        if by_walk:
            learning.recalled(progress, asked, Recalled(number=4, known=known(amount)), EPOCH)
        else:
            ask = deciding.next_attempt(progress, asked, EPOCH)
            assert ask is not None
            found = Prepared(outcome=PrepareOutcome.KNOWN, payment_hash=HASH, known=known(amount))
            learning.prepared(progress, asked, ask, found, EPOCH)
        assert progress.under_way is not None
        assert progress.under_way.attempt.fee_limit_msat == request.cap.of(amount, Msat(0))
        learning.sent(progress, asked, paid)
        assert progress.stop is None
        assert progress.number == (4 if by_walk else 1)


def test_every_state_can_be_reached_and_every_event_is_used() -> None:
    reached, pending = {REBALANCE.start}, [REBALANCE.start]
    while pending:
        here = pending.pop()
        onward = {edge.target for edge in REBALANCE.edges if edge.source is here} - reached
        reached |= onward
        pending += onward
    assert reached == set(RebalanceState) == REBALANCE.states
    assert {edge.event for edge in REBALANCE.edges} == set(RebalanceEvent)


def test_only_lnd_ends_what_is_with_lnd() -> None:
    for edge in REBALANCE.edges:
        if edge.source in {RebalanceState.SENDING, RebalanceState.STUCK}:
            assert edge.target not in REBALANCE.terminal, edge
            assert edge.event in {
                RebalanceEvent.SETTLED,
                RebalanceEvent.FAILED,
                RebalanceEvent.OVERDUE,
            }
