"""Pool's accounts and bids through poold, and the channels that they win through LND.

poold has no key for what is asked of it: called twice, it makes two. So whoever makes something
looks before, and after every answer that is none, and knows its own again: an account by the
height of its expiry, which the lease has chosen, and a bid by its mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.errors import application_error
from activities.heartbeats import WHILE_SENDING_SECONDS, heartbeating
from activities.snapshots import Snapshot, Snapshots
from fulgurite.errors import (
    BidOverError,
    FulguriteError,
    InsufficientFundsError,
    InvalidRequestError,
    NoMarketError,
    UnexpectedAnswerError,
)
from fulgurite.identity import NodeName, NodePubkey
from fulgurite.leases.calls import (
    LOOK_AT_LEASE,
    OPEN_ACCOUNT,
    QUOTE_LEASE,
    RENEW_ACCOUNT,
    SUBMIT_BID,
    WITHDRAW_BID,
    AccountWord,
    LookAtLease,
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
from fulgurite.leases.market import Account, Bid, LeasedChannel
from fulgurite.leases.pricing import Quote
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import Refusal

# After an answer that was lost, poold lists what it made within a moment.
_LISTED_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
# A call whose caller is gone can still be under way in poold: no second one before this.
_QUIET: Final = timedelta(seconds=10)

Made = TypeVar("Made")


class Poold(Protocol):
    """What is asked of a node's poold; see `nodes.pool.trader`."""

    async def connected(self) -> bool: ...
    async def market(self, duration_blocks: int) -> bool | None: ...
    async def quote(self, request: LeaseRequest) -> Quote: ...
    async def accounts(self) -> tuple[Account, ...]: ...
    async def can_fund(self, value_sat: int) -> None: ...
    async def open_account(self, value_sat: int, expiry_height: int, fee: int) -> Account: ...
    async def renew_account(self, key: NodePubkey, expiry_height: int, fee: int) -> Account: ...
    async def bids(self, mark: NodePubkey) -> tuple[Bid, ...]: ...
    async def submit(self, request: LeaseRequest, mark: NodePubkey, account: NodePubkey) -> str: ...
    async def cancel(self, nonce: str) -> None: ...
    async def leases(self, nonces: Iterable[str]) -> tuple[LeasedChannel, ...]: ...


class LeaseActivities:
    """Leases for nodes whose pool and observe credentials this worker holds."""

    def __init__(
        self,
        pool: Callable[[NodeName], Poold],
        approval_above_sat: Callable[[NodeName], int | None],
        snapshots: Snapshots,
    ) -> None:
        self._pool = pool
        self._approval_above_sat = approval_above_sat
        self._snapshots = snapshots

    @activity.defn(name=QUOTE_LEASE.name)
    async def quote(self, ask: QuoteLease) -> Quoted:
        """The most that it can cost, or why it cannot be. Raises NodeErrors, to be retried."""
        request = ask.request
        try:
            async with heartbeating():
                pool = self._pool(request.node)
                is_open = await pool.market(request.duration_blocks)
                if is_open is None:
                    because = f"Pool has no market for leases of {request.duration_blocks:,} blocks"
                    return Quoted(refusal=Refusal.NO_MARKET, because=because)
                quote = await pool.quote(request)
        except InvalidRequestError as error:
            return Quoted(refusal=refusal_of(error), because=_line(error))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        return Quoted(
            quote=quote.model_copy(update={"market_open": is_open}),
            approval_above_sat=self._approval_above_sat(request.node),
        )

    @activity.defn(name=LOOK_AT_LEASE.name)
    async def look(self, ask: LookAtLease) -> Picture:
        """What poold and LND have of it now. Raises NodeErrors, to be retried for ever."""
        try:
            async with heartbeating():
                return await self._look(ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _look(self, ask: LookAtLease) -> Picture:
        if not ask.ask_poold:
            snapshot = await self._snapshots.of(ask.node, ask.tip)
            return Picture(tip=snapshot.tip, channels=await _placed(ask.known, snapshot))
        pool = self._pool(ask.node)
        # poold before LND: a channel that poold tells of is in LND's lists by then.
        bids = await pool.bids(ask.mark)
        channels = await pool.leases(bid.nonce for bid in bids)
        accounts, connected = await pool.accounts(), await pool.connected()
        snapshot = await self._snapshots.of(ask.node, ask.tip)
        return Picture(
            tip=snapshot.tip,
            accounts=accounts,
            bids=bids,
            channels=await _placed(channels, snapshot),
            connected=connected,
        )

    @activity.defn(name=OPEN_ACCOUNT.name)
    async def open_account(self, ask: OpenAccount) -> AccountWord:
        """Has poold fund one, once. Raises NodeErrors, to be retried: it looks first."""
        pool = self._pool(ask.node)

        async def find() -> Account | None:
            listed = await pool.accounts()
            return next((a for a in listed if a.expiry_height == ask.expiry_height), None)

        async def fund() -> Account:
            await pool.can_fund(ask.value_sat)
            return await pool.open_account(ask.value_sat, ask.expiry_height, ask.fee_sat_per_vbyte)

        made, refusal, because = await self._make_once(find, fund, until=ask.until)
        return AccountWord(account=made, refusal=refusal, because=because)

    @activity.defn(name=RENEW_ACCOUNT.name)
    async def renew_account(self, ask: RenewAccount) -> AccountWord:
        """Has poold move an expiry, once. Raises NodeErrors, to be retried: it looks first."""
        pool = self._pool(ask.node)

        async def find() -> Account | None:
            listed = await pool.accounts()
            mine = next((account for account in listed if account.key == ask.account), None)
            return mine if mine and mine.expiry_height >= ask.expiry_height else None

        async def renew() -> Account:
            return await pool.renew_account(ask.account, ask.expiry_height, ask.fee_sat_per_vbyte)

        made, refusal, because = await self._make_once(find, renew)
        return AccountWord(account=made, refusal=refusal, because=because)

    @activity.defn(name=SUBMIT_BID.name)
    async def submit(self, ask: SubmitBid) -> Submitted:
        """Has poold make the bid, once. Raises NodeErrors, to be retried: it looks first."""
        pool = self._pool(ask.request.node)

        async def find() -> Bid | None:
            return next(iter(await pool.bids(ask.mark)), None)

        async def bid() -> Bid | None:
            await pool.submit(ask.request, ask.mark, ask.account)
            return await find()

        made, refusal, because = await self._make_once(find, bid, until=ask.until)
        return Submitted(bid=made, refusal=refusal, because=because)

    @activity.defn(name=WITHDRAW_BID.name)
    async def withdraw(self, ask: WithdrawBid) -> Withdrawn:
        """Has poold take it back. What became of it is for the next look to tell."""
        try:
            async with heartbeating():
                await self._pool(ask.node).cancel(ask.nonce)
        except (BidOverError, UnexpectedAnswerError, InvalidRequestError) as error:
            # The auctioneer lets no bid go that a batch has just now.
            return Withdrawn(done=False, because=_line(error))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        return Withdrawn(done=True)

    async def _make_once(
        self,
        find: Callable[[], Awaitable[Made | None]],
        make: Callable[[], Awaitable[Made | None]],
        *,
        until: datetime | None = None,
    ) -> tuple[Made | None, Refusal, str]:
        """What `find` finds, or else what `make` makes; with a refusal it was not made.

        Neither: it was too late. Whatever `make` raises, `find` has the last word.
        """
        try:
            async with heartbeating(WHILE_SENDING_SECONDS):
                if found := await self._found(find, patient=activity.info().attempt > 1):
                    return found, Refusal.NONE, ""
                if until is not None and datetime.now(UTC) >= until:
                    return None, Refusal.NONE, "its time is over"
                try:
                    return await make(), Refusal.NONE, ""
                except FulguriteError as error:
                    return await self._after_trouble(error, find)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _after_trouble(
        self, trouble: FulguriteError, find: Callable[[], Awaitable[Made | None]]
    ) -> tuple[Made | None, Refusal, str]:
        refused = isinstance(trouble, InvalidRequestError)
        if found := await self._found(find, patient=not refused):
            # Made, and only its answer was lost; or stored although it was refused.
            return found, refusal_of(trouble) if refused else Refusal.NONE, _line(trouble)
        if refused:
            return None, refusal_of(trouble), _line(trouble)
        raise ApplicationError(
            str(trouble), type=type(trouble).__name__, next_retry_delay=_QUIET
        ) from trouble

    async def _found(
        self, find: Callable[[], Awaitable[Made | None]], *, patient: bool
    ) -> Made | None:
        """`patient`: what may have been made a moment ago is given time to be listed."""
        found = await find()
        for pause in _LISTED_SECONDS if patient else ():
            if found is not None:
                break
            await asyncio.sleep(pause)
            found = await find()
        return found


def refusal_of(error: FulguriteError) -> Refusal:
    """Why it cannot be, of an error that proves that it was not done."""
    match error:
        case NoMarketError():
            return Refusal.NO_MARKET
        case InsufficientFundsError():
            return Refusal.INSUFFICIENT_FUNDS
        case _:
            return Refusal.NOT_TAKEN


async def _placed(
    channels: Iterable[LeasedChannel], snapshot: Snapshot
) -> tuple[LeasedChannel, ...]:
    """With LND's word on each: in which list it is, and since which block."""
    placed = []
    for channel in channels:
        point = channel.channel_point
        update: dict[str, object] = {"phase": (await snapshot.look(point)).phase}
        if is_open := snapshot.channels.get(point):
            height = is_open.channel_id.number >> 40
            update["open_height"] = height
            update["expiry_height"] = height + channel.duration_blocks
        placed.append(channel.model_copy(update=update))
    return tuple(placed)


def _line(error: FulguriteError) -> str:
    return str(error)[:400].replace("\n", " ")
