"""Which account pays for a lease, and what must be done so that there is one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from fulgurite.leases.market import Account, AccountState
from fulgurite.leases.marks import offset_of
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.requests import MIN_ACCOUNT_BLOCKS, LeaseRequest
from fulgurite.leases.states import Refusal

# poold takes orders of these.
_READY: Final = frozenset(
    {AccountState.OPEN, AccountState.PENDING_UPDATE, AccountState.PENDING_BATCH}
)
_RENEWABLE: Final = frozenset({AccountState.OPEN, AccountState.EXPIRED})
# On their way to the next state by themselves.
_COMING: Final = frozenset(
    {AccountState.PENDING_OPEN, AccountState.PENDING_UPDATE, AccountState.PENDING_BATCH}
)


class Wait(Enum):
    """What stands between a lease and its account."""

    NOTHING = auto()  # it can pay
    BLOCKS = auto()  # it is on its way
    RENEW = auto()  # it expires too soon, or has expired
    OPEN = auto()  # there is none, and one may be opened


@dataclass(frozen=True)
class Choice:
    """An account, or what to do; with a refusal: nothing can be done."""

    account: Account | None = None
    wait: Wait = Wait.NOTHING
    refusal: Refusal = Refusal.NONE
    because: str = ""


def choose(lease: LeaseProgress, request: LeaseRequest) -> Choice:
    """The account that pays.

    One that is there comes before one that is on its way, and that before a new one: so an
    account whose opening was answered by nobody is found again, whoever had it opened.
    """
    assert lease.quote is not None  # nobody looks for an account before
    assert lease.tip is not None
    terms, need_sat, height = request.account, lease.quote.cost_sat, lease.tip.height
    candidates = [
        account
        for account in lease.accounts
        if account.state in _READY | _RENEWABLE | _COMING and terms.key in {None, account.key}
    ]
    rich = [account for account in candidates if account.available_sat >= need_sat]
    lasting = [a for a in rich if a.state in _READY and a.expiry_height > height + _lasts(request)]
    if lasting:
        return Choice(max(lasting, key=lambda account: account.expiry_height))
    if terms.fee_sat_per_vbyte is not None:
        renewable = [a for a in rich if a.state in _RENEWABLE]
        if renewable:
            return Choice(max(renewable, key=lambda a: a.expiry_height), Wait.RENEW)
    coming = [a for a in candidates if a.state in _COMING and a.value_sat >= need_sat]
    if coming:
        return Choice(coming[0], Wait.BLOCKS)
    return _new(lease, request, need_sat) or _refusal(candidates, rich, need_sat)


def _new(lease: LeaseProgress, request: LeaseRequest, need_sat: int) -> Choice | None:
    """One that is opened, unless this lease has had its one."""
    terms = request.account
    if terms.open_with_sat is None or lease.opened:
        return None
    if terms.open_with_sat < need_sat:
        because = f"an account of {terms.open_with_sat:,} sat cannot pay up to {need_sat:,}"
        return Choice(refusal=Refusal.INSUFFICIENT_FUNDS, because=because)
    return Choice(wait=Wait.OPEN)


def expiry_of_new(request: LeaseRequest, height: int) -> int:
    """When an account expires that is opened now: by this height and its amount it is known."""
    own = offset_of(request.node, request.key, MIN_ACCOUNT_BLOCKS)
    return height + request.account.expiry_blocks + own


def _refusal(candidates: list[Account], rich: list[Account], need_sat: int) -> Choice:
    if rich:
        because = "the account that could pay expires too soon, and may not be renewed"
        return Choice(refusal=Refusal.NO_ACCOUNT, because=because)
    if candidates:
        most_sat = max(account.available_sat for account in candidates)
        because = f"it can cost {need_sat:,} sat, and no account has more than {most_sat:,} free"
        return Choice(refusal=Refusal.INSUFFICIENT_FUNDS, because=because)
    return Choice(refusal=Refusal.NO_ACCOUNT, because="poold has no account that would do")


def _lasts(request: LeaseRequest) -> int:
    """How long an account must last to be used as it is."""
    terms = request.account
    return terms.renew_below_blocks if terms.fee_sat_per_vbyte is not None else 0
