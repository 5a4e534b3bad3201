"""A ladder under everything that a node, a peer, a person and the chain can do to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import ClosePhase
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from fulgurite.identity import ChannelPoint, NodePubkey, Txid
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.climbing import next_move
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.progress import Ladder
from fulgurite.stuck.receipts import Picture, Stake
from fulgurite.stuck.states import LADDER, LadderEvent, LadderState
from tests.properties.clock import EPOCH

# A machine that does much else is no reason to fail.

POINTS = tuple(ChannelPoint(f"{number:064x}:0") for number in (1, 2))
EXPIRY = 180
FIRST_HEIGHT = 100
LADDER_SECONDS = 3_600

policies = st.sampled_from(
    [
        LadderPolicy(force_close_by=ForceCloseBy.NOBODY),
        LadderPolicy(force_close_by=ForceCloseBy.PERSON, reconnect_seconds=600),
        LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10),
        LadderPolicy(force_close_by=ForceCloseBy.TIME, after_seconds=LADDER_SECONDS),
    ]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("blocks"), st.integers(1, 30)),
        st.tuples(st.just("minutes"), st.integers(1, 50)),
        st.tuples(st.just("peer"), st.integers(0, 1)),
        st.tuples(st.just("chain"), st.integers(0, 1)),
        st.tuples(st.just("unsynced"), st.just(0)),
        st.tuples(st.just("approve"), st.just(0)),
        st.tuples(st.just("reject"), st.just(0)),
        st.tuples(st.just("resolve"), st.integers(0, 1)),
        st.tuples(st.just("closed by the peer"), st.integers(0, 1)),
        st.tuples(st.just("reorg"), st.just(0)),
    ),
    max_size=40,
)


@dataclass
class Node:
    """What LND would say, by rules of its own: nothing of the ladder's is used."""

    policy: LadderPolicy
    now: datetime = EPOCH
    height: int = FIRST_HEIGHT
    synced: bool = True
    online: list[bool] = field(default_factory=lambda: [False, False])
    states: dict[ChannelPoint, CloseState] = field(default_factory=dict)
    verdict: PaymentStatus | None = None
    orders: list[tuple[int, frozenset[ChannelPoint]]] = field(default_factory=list)

    def picture(self) -> Picture:
        hangs = self.verdict is None
        return Picture(
            tip=Tip(height=self.height, block_hash=Txid("ab" * 32), synced=self.synced),
            asked=not hangs,
            payment=PaymentUpdate(status=self.verdict) if self.verdict else None,
            stakes=tuple(
                stake(point, online=online)
                for point, online in zip(POINTS, self.online, strict=True)
                if hangs and point not in self.states
            ),
            closing={point: PHASES[state] for point, state in self.states.items()},
            policy=self.policy,
        )

    def obey(self, ladder: Ladder) -> None:
        """Closes what the ladder orders, unless the verdict was first."""
        assert self.verdict is None or ladder.verdict is None, "nothing hangs any more"
        self.orders.append((self.height, frozenset(ladder.ordered)))
        for point in ladder.ordered:
            gone = self.verdict is not None
            state = CloseState.CALLED_OFF if gone else CloseState.WAITING_CLOSE
            if not gone:
                self.states.setdefault(point, state)
            ladder.heard(view(point, self.states.get(point, state)), self.now)

    def tell(self, ladder: Ladder) -> None:
        for point, state in self.states.items():
            if point in ladder.stakes:
                ladder.heard(view(point, state), self.now)


PHASES = {
    CloseState.WAITING_CLOSE: ClosePhase.WAITING_CLOSE,
    CloseState.FORCE_CLOSING: ClosePhase.FORCE_CLOSING,
    CloseState.CLOSED: ClosePhase.CLOSED,
}
ONWARD = {
    CloseState.WAITING_CLOSE: CloseState.FORCE_CLOSING,
    CloseState.FORCE_CLOSING: CloseState.CLOSED,
}


def view(point: ChannelPoint, state: CloseState) -> CloseView:
    return CloseView(state=state, node="alice", channel_point=point, kind=CloseKind.FORCE)


def stake(point: ChannelPoint, *, online: bool) -> Stake:
    return Stake(
        channel_point=point,
        peer=NodePubkey("02" + "ab" * 32),
        peer_online=online,
        hung_sat=1_000,
        expiry_height=EXPIRY,
        capacity_sat=100_000,
        local_sat=50_000,
        commit_fee_sat=300,
        csv_blocks=144,
    )


def live(node: Node, step: str, number: int, ladder: Ladder) -> None:
    """One thing that happens in the world."""
    match step:
        case "blocks":
            node.height, node.synced = node.height + number, True
        case "minutes":
            node.now += timedelta(minutes=number)
        case "peer":
            node.online[number] = not node.online[number]
        case "unsynced":
            node.synced = False
        case "approve" | "reject":
            decide(
                ladder, Approval(approver="ada") if step == "approve" else Rejection(approver="ada")
            )
        case "resolve":
            node.verdict = PaymentStatus.SUCCEEDED if number else PaymentStatus.FAILED
        case "closed by the peer" if node.verdict is None:
            node.states.setdefault(POINTS[number], CloseState.WAITING_CLOSE)
        case "chain":
            node.states = {p: ONWARD.get(state, state) for p, state in node.states.items()}
        case "reorg":
            node.states = {
                point: CloseState.WAITING_CLOSE if state is CloseState.FORCE_CLOSING else state
                for point, state in node.states.items()
            }


def decide(ladder: Ladder, decision: Approval | Rejection) -> None:
    """As the workflow lets a person."""
    rungs = {LadderState.RECONNECTING, LadderState.AWAITING_APPROVAL, LadderState.WAITING}
    approves = isinstance(decision, Approval)
    if ladder.state in rungs if approves else ladder.may_be_rejected():
        ladder.decide(decision)


@given(policies, steps)
def test_a_force_close_is_ordered_only_by_a_person_or_by_the_policy(
    policy: LadderPolicy, course: list[tuple[str, int]]
) -> None:
    node = Node(policy)
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    for step, number in [("blocks", 1), *course]:
        live(node, step, number, ladder)
        ladder.saw(node.picture(), node.now)
        node.tell(ladder)
        while ladder.state not in LADDER.terminal and (move := next_move(ladder, node.now)):
            event, words = move
            approved, forbidden = isinstance(ladder.decision, Approval), ladder.forbidden
            ladder.fire(event, node.now, words)
            if event is LadderEvent.APPROVED:
                assert approved
            if event is LadderEvent.DUE:
                assert not forbidden, "a person said no"
                assert ladder.ordered, "an order for nothing"
                assert_due(node, ladder)
            if ladder.state is LadderState.CLOSING:
                node.obey(ladder)
        assert_consistent(node, ladder)


def assert_due(node: Node, ladder: Ladder) -> None:
    """Invariant 9, told anew."""
    assert node.synced
    assert node.verdict is None
    match node.policy.force_close_by:
        case ForceCloseBy.EXPIRY:
            assert EXPIRY - node.height <= 10
        case ForceCloseBy.TIME:
            assert node.now >= EPOCH + timedelta(seconds=LADDER_SECONDS)
            away = {p for p, online in zip(POINTS, node.online, strict=True) if not online}
            assert set(ladder.ordered) <= away
        case other:
            raise AssertionError(f"{other} orders nothing by itself")
    assert all(height < node.height for height, _ in node.orders), "twice at one height"


def assert_consistent(node: Node, ladder: Ladder) -> None:
    if ladder.state is LadderState.RESOLVED_OFF_CHAIN:
        assert ladder.outcome() is None
        assert node.verdict is not None
    if ladder.state is LadderState.RESOLVED_ON_CHAIN:
        outcome = ladder.outcome()
        assert outcome is not None
        assert outcome.complete
        assert ladder.verdict is not None
    assert ladder.state is not LadderState.REFUSED


@given(policies, steps)
def test_a_ladder_that_nobody_disturbs_any_more_ends_with_the_verdict(
    policy: LadderPolicy, course: list[tuple[str, int]]
) -> None:
    """Whatever happened: once LND has its verdict and the sweeps are in, the ladder is over."""
    node = Node(policy)
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    calm = [("resolve", 0), ("chain", 0), ("blocks", 1), ("chain", 0), ("blocks", 1)]
    for step, number in [("blocks", 1), *course, *calm, *calm]:
        live(node, step, number, ladder)
        ladder.saw(node.picture(), node.now)
        node.tell(ladder)
        while ladder.state not in LADDER.terminal and (move := next_move(ladder, node.now)):
            ladder.fire(move[0], node.now, move[1])
            if ladder.state is LadderState.CLOSING:
                node.obey(ladder)
    assert ladder.state in {LadderState.RESOLVED_OFF_CHAIN, LadderState.RESOLVED_ON_CHAIN}
    assert ladder.verdict is not None


def settled(ladder: Ladder, node: Node) -> list[LadderEvent]:
    """What follows from what LND says now."""
    ladder.saw(node.picture(), node.now)
    fired = []
    while move := next_move(ladder, node.now):
        ladder.fire(move[0], node.now, move[1])
        fired.append(move[0])
    return fired


def called_off(ladder: Ladder) -> None:
    for point in ladder.ordered:
        ladder.heard(view(point, CloseState.CALLED_OFF), EPOCH)


def test_a_yes_orders_one_close() -> None:
    """What hangs again after the order was called off is another question."""
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.NOBODY, reconnect_seconds=0))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    settled(ladder, node)
    ladder.decide(Approval(approver="ada"))

    assert settled(ladder, node) == [LadderEvent.APPROVED]
    called_off(ladder)
    assert LadderEvent.APPROVED not in settled(ladder, node)
    assert ladder.state is LadderState.WAITING


def test_an_order_that_came_to_nothing_is_not_given_again_before_the_next_block() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10))
    node.height = EXPIRY - 5
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)

    assert settled(ladder, node)[-1] is LadderEvent.DUE
    called_off(ladder)
    assert LadderEvent.DUE not in settled(ladder, node)
    node.height += 1
    assert settled(ladder, node) == [LadderEvent.DUE]


def test_a_height_that_the_node_is_not_sure_of_orders_nothing() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10))
    node.height, node.synced = EXPIRY - 5, False
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)

    assert LadderEvent.DUE not in settled(ladder, node)
    node.synced = True
    assert settled(ladder, node) == [LadderEvent.DUE]


def test_time_closes_the_channels_whose_peer_is_away_and_no_other() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.TIME, after_seconds=LADDER_SECONDS))
    node.now += timedelta(seconds=LADDER_SECONDS)
    node.online = [True, False]
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)

    assert LadderEvent.DUE not in settled(ladder, node), "it has only just gone"
    node.now += timedelta(seconds=ladder.policy.reconnect_seconds)
    assert LadderEvent.DUE in settled(ladder, node)
    assert ladder.ordered == [POINTS[1]]


def test_a_peer_that_was_back_for_a_moment_has_its_time_again() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.TIME, after_seconds=LADDER_SECONDS))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    settled(ladder, node)
    node.now += timedelta(seconds=LADDER_SECONDS - 1)
    node.online = [True, True]
    settled(ladder, node)
    node.now += timedelta(seconds=1)
    node.online = [False, False]

    assert LadderEvent.DUE not in settled(ladder, node)


def test_a_no_stands_against_the_policy_until_a_person_takes_it_back() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    settled(ladder, node)
    ladder.decide(Rejection(approver="ada"))
    settled(ladder, node)
    node.height = EXPIRY - 5
    assert settled(ladder, node) == []
    ladder.decide(Approval(approver="ada"))
    assert settled(ladder, node) == [LadderEvent.APPROVED]


def test_near_expiry_closes_the_channel_whose_own_expiry_is_near_and_no_other() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10))
    node.height = EXPIRY - 5
    picture = node.picture()
    far = picture.stakes[1].model_copy(update={"expiry_height": EXPIRY + 800})
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    ladder.saw(picture.model_copy(update={"stakes": (picture.stakes[0], far)}), node.now)
    while move := next_move(ladder, node.now):
        ladder.fire(move[0], node.now, move[1])

    assert ladder.state is LadderState.CLOSING
    assert ladder.ordered == [POINTS[0]]


def test_a_yes_is_for_what_was_shown() -> None:
    """What hangs elsewhere by the time that it is carried out was not in the question."""
    node = Node(LadderPolicy(reconnect_seconds=0))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    first, second = (stake(point, online=False) for point in POINTS)
    shown = node.picture().model_copy(update={"stakes": (first,), "closing": {}})
    ladder.saw(shown, node.now)
    while move := next_move(ladder, node.now):
        ladder.fire(move[0], node.now, move[1])
    ladder.decide(Approval(approver="ada"))
    ladder.saw(shown.model_copy(update={"stakes": (first, second)}), node.now)
    move = next_move(ladder, node.now)
    assert move is not None
    ladder.fire(move[0], node.now, move[1])

    assert ladder.ordered == [POINTS[0]]


def test_a_payment_that_lnd_has_forgotten_ends_its_ladder() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.NOBODY))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    settled(ladder, node)
    forgotten = node.picture().model_copy(update={"stakes": (), "asked": True, "payment": None})
    ladder.saw(forgotten, node.now)

    assert next_move(ladder, node.now) == (
        LadderEvent.REFUSED,
        "this node does not know the payment",
    )


@given(steps)
def test_a_ladder_sleeps_until_a_block_that_is_to_come(course: list[tuple[str, int]]) -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=10))
    ladder = Ladder(began_at=EPOCH, entered_at=EPOCH)
    for step, number in [("blocks", 1), *course]:
        live(node, step, number, ladder)
        ladder.saw(node.picture(), node.now)
        assert node.height < ladder.wake_height(followed=True) <= node.height + 6
        assert ladder.wake_height(followed=False) == node.height + 1
