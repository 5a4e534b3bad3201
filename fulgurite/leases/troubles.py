"""What of a lease wants a person. None of it stops the lease, which may yet go well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from fulgurite.leases.market import AccountState
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import IN_THE_MARKET, LeaseState, LeaseTrouble

# poold loses its auctioneer now and then, and is back within a minute.
_AWAY_FOR: Final = timedelta(minutes=10)
_ASKS_THE_AUCTIONEER: Final = frozenset({LeaseState.ACCOUNT_OPENING, *IN_THE_MARKET})

_WORDS: Final = {
    LeaseTrouble.AWAITING_APPROVAL: "a person is asked",
    LeaseTrouble.ACCOUNT_EXPIRES: "its account ends soon, and nothing renews it: nothing is "
    "matched then. `pool accounts renew`",
    LeaseTrouble.NOT_CONNECTED: "poold has no auctioneer: nothing is matched. Read poold's log",
}


def notice(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> list[LeaseTrouble]:
    """What has come up since this was asked last; it is in the timeline then."""
    if lease.connected or lease.state not in _ASKS_THE_AUCTIONEER:
        lease.away_since = None
    elif lease.away_since is None:
        lease.away_since = at
    before, lease.troubles = lease.troubles, tuple(_present(lease, request, at))
    fresh = [each for each in lease.troubles if each not in before]
    for each in fresh:
        lease.note(_WORDS[each], at)
    return fresh


def _present(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Iterator[LeaseTrouble]:
    if lease.state is LeaseState.AWAITING_APPROVAL:
        yield LeaseTrouble.AWAITING_APPROVAL
    if lease.state is LeaseState.BIDDING and _ends_unrenewed(lease, request):
        yield LeaseTrouble.ACCOUNT_EXPIRES
    if lease.away_since is not None and at >= lease.away_since + _AWAY_FOR:
        yield LeaseTrouble.NOT_CONNECTED


def _ends_unrenewed(lease: LeaseProgress, request: LeaseRequest) -> bool:
    """Where the terms allow it and poold has not just said no, it is being renewed."""
    account, terms, tip = lease.account, request.account, lease.tip
    if account is None or tip is None:
        return False
    if account.state not in {AccountState.OPEN, AccountState.EXPIRED}:
        return False
    if account.expiry_height >= tip.height + terms.renew_below_blocks:
        return False
    return terms.fee_sat_per_vbyte is None or tip.height < lease.no_renewal_before
