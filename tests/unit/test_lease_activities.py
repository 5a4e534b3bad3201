"""poold makes what it is asked for each time that it is asked: so it is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import activities.leases
from activities.leases import LeaseActivities
from activities.snapshots import Snapshots
from fulgurite.errors import (
    FulguriteError,
    InsufficientFundsError,
    LeaseRefusedError,
    NodeUnavailableError,
    NoMarketError,
    UnexpectedAnswerError,
)
from fulgurite.identity import NodePubkey
from fulgurite.leases.calls import (
    AccountWord,
    OpenAccount,
    RenewAccount,
    SubmitBid,
    Submitted,
    WithdrawBid,
    Withdrawn,
)
from fulgurite.leases.market import Account, AccountState, Bid, BidState, LeasedChannel
from fulgurite.leases.marks import mark_of
from fulgurite.leases.pricing import Quote
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import Refusal
from tests.properties import clock
from tests.unit.channel_node import ChannelNode

KEY = NodePubkey("02" + "ab" * 32)
REQUEST = LeaseRequest(
    key="order",
    node="alice",
    amount_sat=100_000,
    max_rate_ppb=1_000,
    max_batch_fee_sat_per_vbyte=2,
)
BID = SubmitBid(
    request=REQUEST,
    mark=mark_of("alice", "order"),
    account=KEY,
    until=clock.EPOCH + timedelta(hours=1),
)
OPEN = OpenAccount(
    node="alice", value_sat=200_000, expiry_height=777, fee_sat_per_vbyte=2, until=BID.until
)
NO_ANSWER = NodeUnavailableError("no answer")


class Poold:
    """It stores what it is asked for, and says so or not, at once or later."""

    def __init__(self) -> None:
        self.orders: list[Bid] = []
        self.open: list[Account] = []
        self.asked = 0
        self.stores = True
        self.says: FulguriteError | None = None
        self.late_seconds = 0.0
        self.state = BidState.SUBMITTED

    async def connected(self) -> bool:
        return True

    async def market(self, duration_blocks: int) -> bool | None:
        raise NotImplementedError(duration_blocks)

    async def quote(self, request: LeaseRequest) -> Quote:
        raise NotImplementedError(request)

    async def leases(self, nonces: Iterable[str]) -> tuple[LeasedChannel, ...]:
        raise NotImplementedError(nonces)

    async def accounts(self) -> tuple[Account, ...]:
        return tuple(self.open)

    async def can_fund(self, value_sat: int) -> None:
        if value_sat > 1_000_000:
            raise InsufficientFundsError("too little")

    async def open_account(self, value_sat: int, expiry_height: int, fee: int) -> Account:
        del fee
        account = Account(
            key=KEY,
            state=AccountState.PENDING_OPEN,
            value_sat=value_sat,
            available_sat=value_sat,
            expiry_height=expiry_height,
        )
        await self._store(lambda: self.open.append(account))
        return account

    async def renew_account(self, key: NodePubkey, expiry_height: int, fee: int) -> Account:
        del key, fee
        renewed = self.open[0].model_copy(update={"expiry_height": expiry_height})

        def store() -> None:
            self.open[0] = renewed

        await self._store(store)
        return renewed

    async def bids(self, mark: NodePubkey) -> tuple[Bid, ...]:
        assert mark == BID.mark
        return tuple(self.orders)

    async def submit(self, request: LeaseRequest, mark: NodePubkey, account: NodePubkey) -> str:
        assert (request, mark, account) == (REQUEST, BID.mark, KEY)
        bid = Bid(
            nonce=f"{self.asked:064x}",
            account=account,
            state=self.state,
            amount_sat=request.amount_sat,
            unfilled_sat=request.amount_sat,
            rate_ppb=request.max_rate_ppb,
            duration_blocks=request.duration_blocks,
        )
        await self._store(lambda: self.orders.append(bid))
        return bid.nonce

    async def cancel(self, nonce: str) -> None:
        assert nonce == "00"
        self.asked += 1
        if self.says:
            raise self.says

    async def _store(self, store: Callable[[], None]) -> None:
        self.asked += 1
        if self.stores and not self.late_seconds:
            store()
        elif self.stores:
            asyncio.get_running_loop().call_later(self.late_seconds, store)
        if self.says:
            raise self.says


class Desk:
    """The activities of one worker, on one poold."""

    def __init__(self) -> None:
        self.poold = Poold()
        node = ChannelNode()
        self.activities = LeaseActivities(
            lambda _: self.poold, lambda _: None, Snapshots(lambda _: node)
        )

    async def bid(self, *, attempt: int = 1) -> Submitted:
        return await self._here(attempt).run(self.activities.submit, BID)

    async def open(self, ask: OpenAccount = OPEN, *, attempt: int = 1) -> AccountWord:
        return await self._here(attempt).run(self.activities.open_account, ask)

    async def renew(self, *, attempt: int = 1) -> AccountWord:
        ask = RenewAccount(node="alice", account=KEY, expiry_height=900, fee_sat_per_vbyte=2)
        return await self._here(attempt).run(self.activities.renew_account, ask)

    async def withdraw(self) -> Withdrawn:
        ask = WithdrawBid(node="alice", nonce="00")
        return await self._here(1).run(self.activities.withdraw, ask)

    @staticmethod
    def _here(attempt: int) -> ActivityEnvironment:
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=attempt)
        return environment


@pytest.fixture(autouse=True)
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities.leases, "datetime", clock.VirtualDatetime)


def play(story: Callable[[Desk], Coroutine[None, None, None]]) -> Desk:
    desk = Desk()
    clock.run(story(desk))
    return desk


def test_a_bid_that_is_there_is_not_made_again() -> None:
    async def story(desk: Desk) -> None:
        made = await desk.bid()
        again = await desk.bid(attempt=2)
        assert made.bid == again.bid

    assert play(story).poold.asked == 1


@pytest.mark.parametrize("late_seconds", [0.0, 3.0])
def test_a_bid_whose_answer_was_lost_is_found_when_poold_lists_it(late_seconds: float) -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says, desk.poold.late_seconds = NO_ANSWER, late_seconds
        found = await desk.bid()
        assert found.bid is not None
        assert (found.refusal, found.because) == (Refusal.NONE, "no answer")

    assert play(story).poold.asked == 1


def test_the_next_try_waits_until_the_last_call_is_over_for_certain() -> None:
    """What a caller who is gone has left on its way comes while the next one looks."""

    async def story(desk: Desk) -> None:
        desk.poold.says, desk.poold.late_seconds = NO_ANSWER, 5.0
        with pytest.raises(ApplicationError) as failed:
            await desk.bid()
        assert failed.value.next_retry_delay == timedelta(seconds=10)
        assert not failed.value.non_retryable
        assert not desk.poold.orders
        assert (await desk.bid(attempt=2)).bid is not None

    assert play(story).poold.asked == 1


def test_a_call_that_never_arrived_is_made_again() -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says, desk.poold.stores = NO_ANSWER, False
        with pytest.raises(ApplicationError):
            await desk.bid()
        desk.poold.says, desk.poold.stores = None, True
        assert (await desk.bid(attempt=2)).bid is not None

    assert play(story).poold.asked == 2


def test_what_the_auctioneer_refuses_is_told_with_what_poold_has_stored() -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says = LeaseRefusedError("not you")
        desk.poold.state = BidState.FAILED
        refused = await desk.bid()
        assert refused.bid is not None
        assert refused.bid.state is BidState.FAILED
        assert (refused.refusal, refused.because) == (Refusal.NOT_TAKEN, "not you")

    play(story)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (NoMarketError("none"), Refusal.NO_MARKET),
        (InsufficientFundsError("poor"), Refusal.INSUFFICIENT_FUNDS),
        (LeaseRefusedError("no"), Refusal.NOT_TAKEN),
    ],
)
def test_what_poold_refuses_was_not_made(error: FulguriteError, refusal: Refusal) -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says, desk.poold.stores = error, False
        answer = await desk.bid()
        assert (answer.bid, answer.refusal) == (None, refusal)

    assert play(story).poold.asked == 1


def test_nothing_is_made_after_its_time() -> None:
    async def story(desk: Desk) -> None:
        await asyncio.sleep(3_600)
        assert (await desk.bid()).bid is None
        assert (await desk.open()).account is None

    assert play(story).poold.asked == 0


def test_an_account_is_known_by_its_height_and_opened_once() -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says = NO_ANSWER
        found = await desk.open()
        again = await desk.open(attempt=2)
        assert found.account is not None
        assert again.account == found.account
        other = await desk.open(OPEN.model_copy(update={"expiry_height": 778}))
        assert other.account != found.account

    assert play(story).poold.asked == 2


def test_an_account_that_cannot_be_funded_is_not_asked_for() -> None:
    async def story(desk: Desk) -> None:
        answer = await desk.open(OPEN.model_copy(update={"value_sat": 2_000_000}))
        assert (answer.account, answer.refusal) == (None, Refusal.INSUFFICIENT_FUNDS)

    assert play(story).poold.asked == 0


def test_an_account_is_renewed_once() -> None:
    async def story(desk: Desk) -> None:
        await desk.open()
        desk.poold.says = NO_ANSWER
        renewed = await desk.renew()
        again = await desk.renew(attempt=2)
        assert renewed.account is not None
        assert renewed.account.expiry_height == 900
        assert again.account == renewed.account

    assert play(story).poold.asked == 2


def test_a_bid_that_a_batch_holds_is_not_taken_back_and_that_is_an_answer() -> None:
    async def story(desk: Desk) -> None:
        desk.poold.says = UnexpectedAnswerError("in a batch")
        assert await desk.withdraw() == Withdrawn(done=False, because="in a batch")
        desk.poold.says = None
        assert await desk.withdraw() == Withdrawn(done=True)
        desk.poold.says = NO_ANSWER
        with pytest.raises(ApplicationError):
            await desk.withdraw()

    play(story)
