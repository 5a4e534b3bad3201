"""What poold, its auctioneer, LND and a person would say to a lease: a world for its courses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fulgurite.budgets.orders import Refusal as BudgetRefusal
from fulgurite.budgets.orders import RefusalReason
from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import ChannelPoint, NodePubkey, Txid
from fulgurite.leases.calls import (
    AccountWord,
    LeaseOrder,
    OpenAccount,
    Picture,
    Quoted,
    QuoteLease,
    RenewAccount,
    SubmitBid,
    Submitted,
    WithdrawBid,
    Withdrawn,
)
from fulgurite.leases.deciding import must_reserve, next_move, next_order
from fulgurite.leases.market import OVER, Account, AccountState, Bid, BidState, LeasedChannel
from fulgurite.leases.pricing import ExecutionFee, worst_case
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LEASE, LeaseState, Refusal
from fulgurite.payments.requests import Approval, Rejection
from tests.properties.clock import EPOCH

FIRST_HEIGHT = 100
KEY = NodePubkey(f"02{'ab' * 32}")
UNIT_SAT = 100_000


@dataclass
class World:
    """What poold and LND would say, by rules of their own: nothing of the lease's is used."""

    request: LeaseRequest
    account_sat: int = 0
    room: bool = True
    now: datetime = EPOCH
    height: int = FIRST_HEIGHT
    accounts: list[Account] = field(default_factory=list)
    bids: list[Bid] = field(default_factory=list)
    channels: list[LeasedChannel] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    opened: int = 0
    submitted: int = 0

    def __post_init__(self) -> None:
        if self.account_sat:
            account = Account(
                key=KEY,
                state=AccountState.OPEN,
                value_sat=self.account_sat,
                available_sat=self.account_sat,
                expiry_height=FIRST_HEIGHT + 200,
            )
            self.accounts.append(account)

    def budgets(self) -> BudgetRefusal | None:
        if self.room:
            return None
        return BudgetRefusal(budget="leases", reason=RefusalReason.NO_ROOM, words="no room")

    def picture(self) -> Picture:
        return Picture(
            tip=Tip(height=self.height, block_hash=Txid(f"{self.height:064x}")),
            accounts=tuple(self.accounts),
            bids=tuple(self.bids),
            channels=tuple(self._seen(channel) for channel in self.channels),
        )

    def _seen(self, channel: LeasedChannel) -> LeasedChannel:
        """LND tells the height of an open channel only."""
        if channel.phase is ClosePhase.OPEN:
            return channel
        return channel.model_copy(update={"open_height": None, "expiry_height": None})

    def carry_out(self, order: LeaseOrder, lease: LeaseProgress) -> None:
        match order:
            case QuoteLease(request=request):
                fee = ExecutionFee(base_sat=1, rate_ppm=1_000)
                lease.quoted(Quoted(quote=worst_case(request, fee, 165)))
            case OpenAccount():
                self._open(order, lease)
            case RenewAccount(expiry_height=height):
                self.accounts = [
                    a.model_copy(update={"expiry_height": height, "state": AccountState.OPEN})
                    for a in self.accounts
                ]
                lease.heard_of_account(AccountWord(account=self.accounts[0]), self.now)
            case SubmitBid():
                self._submit(order, lease)
            case WithdrawBid(nonce=nonce):
                self._withdraw(nonce, lease)

    def _open(self, order: OpenAccount, lease: LeaseProgress) -> None:
        self.opened += 1
        account = Account(
            key=NodePubkey(f"03{self.opened:064x}"),
            state=AccountState.PENDING_OPEN,
            value_sat=order.value_sat,
            available_sat=order.value_sat,
            expiry_height=order.expiry_height,
        )
        self.accounts.append(account)
        lease.heard_of_account(AccountWord(account=account), self.now)

    def _submit(self, order: SubmitBid, lease: LeaseProgress) -> None:
        if self.now >= order.until:
            lease.submitted(Submitted(because="too late"), self.now)
        elif self.refusals and (refusal := self.refusals.pop()) is not Refusal.NONE:
            lease.submitted(Submitted(refusal=refusal, because="no"), self.now)
        else:
            self.submitted += 1
            self.bids.append(self.bid(order.account))
            lease.submitted(Submitted(bid=self.bids[0]), self.now)

    def bid(self, account: NodePubkey) -> Bid:
        return Bid(
            nonce=f"{len(self.bids) + 1:064x}",
            account=account,
            state=BidState.SUBMITTED,
            amount_sat=self.request.amount_sat,
            unfilled_sat=self.request.amount_sat,
            rate_ppb=self.request.max_rate_ppb,
            duration_blocks=self.request.duration_blocks,
        )

    def _withdraw(self, nonce: str, lease: LeaseProgress) -> None:
        at = next(i for i, bid in enumerate(self.bids) if bid.nonce == nonce)
        if self.bids[at].state in {BidState.SUBMITTED, BidState.PARTIALLY_FILLED}:
            self._set(at, BidState.CANCELED)
            lease.withdrawn(Withdrawn(done=True), self.now)
        else:
            lease.withdrawn(Withdrawn(done=False, because="in a batch"), self.now)

    def _set(self, at: int, state: BidState, unfilled_sat: int | None = None) -> None:
        update: dict[str, object] = {"state": state}
        if unfilled_sat is not None:
            update["unfilled_sat"] = unfilled_sat
        self.bids[at] = self.bids[at].model_copy(update=update)

    def blocks(self, count: int) -> None:
        self.height += count
        self.accounts = [
            a.model_copy(update={"state": AccountState.OPEN})
            if a.state is AccountState.PENDING_OPEN
            else a
            for a in self.accounts
        ]
        self.channels = [
            c.model_copy(
                update={
                    "phase": ClosePhase.OPEN,
                    "open_height": self.height,
                    "expiry_height": self.height + c.duration_blocks,
                }
            )
            if c.phase is ClosePhase.UNKNOWN
            else c
            for c in self.channels
        ]

    def match(self, units: int) -> None:
        """A batch, for the oldest bid that is in the book."""
        for at, bid in enumerate(self.bids):
            if bid.state in OVER:
                continue
            takes = min(units * UNIT_SAT, bid.unfilled_sat)
            if takes < min(self.request.smallest_sat, bid.unfilled_sat):
                return
            left = bid.unfilled_sat - takes
            self._set(at, BidState.PARTIALLY_FILLED if left else BidState.EXECUTED, left)
            self.channels.append(
                LeasedChannel(
                    channel_point=ChannelPoint(f"{len(self.channels) + 1:064x}:0"),
                    amount_sat=takes,
                    duration_blocks=bid.duration_blocks,
                    rate_ppb=bid.rate_ppb,
                    premium_sat=7,
                    execution_fee_sat=1 + takes // 1_000,
                    chain_fee_sat=165,
                    peer=NodePubkey(f"03{'cd' * 32}"),
                    nonce=bid.nonce,
                )
            )
            return

    def disturb(self, what: str, number: object, lease: LeaseProgress) -> None:
        """A step of a course, where it can happen at all."""
        if isinstance(number, int):
            self._passes(what, number)
        if what == "refuse" and isinstance(number, Refusal):
            self.refusals.append(number)
        if self.bids:
            self._at_the_market(what)
        self._says(what, lease)

    def _passes(self, what: str, number: int) -> None:
        match what:
            case "blocks":
                self.blocks(number)
                self.now += timedelta(minutes=10 * number)
            case "minutes":
                self.now += timedelta(minutes=number)
            case "match":
                self.match(number)
            case "close" if number < len(self.channels):
                closed = {"phase": ClosePhase.WAITING_CLOSE}
                self.channels[number] = self.channels[number].model_copy(update=closed)

    def _at_the_market(self, what: str) -> None:
        state = self.bids[0].state
        is_open = state not in OVER and not self.channels
        match what:
            case "prepare" if is_open:
                self._set(0, BidState.CLEARED)
            case "drop" if state is BidState.CLEARED:
                self._set(0, BidState.SUBMITTED)
            case "poold fails it" if is_open:
                self._set(0, BidState.FAILED)
            case "late twin" if len(self.bids) == 1 and state not in OVER:
                self.bids.append(self.bid(self.bids[0].account))

    def _says(self, what: str, lease: LeaseProgress) -> None:
        match what:
            case "approve" if lease.state is LeaseState.AWAITING_APPROVAL:
                lease.decision = Approval(approver="ada")
            case "reject" if lease.state is LeaseState.AWAITING_APPROVAL:
                lease.decision = Rejection(approver="ada")
            case "cancel":
                lease.cancel_requested = True


def settle(world: World, lease: LeaseProgress) -> None:
    """Looks, moves and asks, until nothing more follows without the world."""
    done: LeaseOrder | None = None
    for _ in range(50):
        lease.saw(world.picture())
        if must_reserve(lease, world.request):
            lease.heard_of_budgets(world.budgets(), world.now)
            continue
        if move := next_move(lease, world.request, world.now):
            lease.fire(move[0], world.now, move[1])
            if lease.state in LEASE.terminal:
                return
            continue
        order = next_order(lease, world.request, world.now)
        if order is None or order == done:
            return
        done = order
        world.carry_out(order, lease)
    raise AssertionError(f"it never comes to rest: {lease.timeline}")
