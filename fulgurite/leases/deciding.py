"""What a lease does next: one function a state, from what is known to the event or the order.

Everything that may cost money is decided here. Nothing here asks anybody: what is known comes
from the last look at poold and LND.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import NodePubkey
from fulgurite.leases.accounts import Wait, choose, expiry_of_new
from fulgurite.leases.calls import (
    LeaseOrder,
    OpenAccount,
    QuoteLease,
    RenewAccount,
    SubmitBid,
    WithdrawBid,
)
from fulgurite.leases.market import OVER, AccountState, BidState
from fulgurite.leases.marks import mark_of
from fulgurite.leases.progress import LeaseProgress, is_gone
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import IN_THE_MARKET, LeaseEvent, LeaseState, Refusal
from fulgurite.payments.requests import Approval, Rejection

Move = tuple[LeaseEvent, str]

# An account that has had too little so often has too little.
_SHORTS: Final = 3
# poold marks a bid FAILED where the auctioneer's answer was lost, and would still take part in
# a batch with it. That it does not is known after so many blocks.
_FAILED_FOR_CERTAIN_BLOCKS: Final = 3


def next_move(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    """What follows from all that is known; None: there is something to do, or to wait for."""
    decide = _STATES.get(lease.state)
    return decide(lease, request, at) if decide else None


def must_reserve(lease: LeaseProgress, request: LeaseRequest) -> bool:
    """Whether it stands before its first step that moves money, and no budget was asked."""
    asked = lease.reserved or lease.refusal is not Refusal.NONE
    return lease.state is LeaseState.ACCOUNT_OPENING and bool(request.budgets) and not asked


def next_order(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> LeaseOrder | None:
    """What is to be asked of poold now; None: wait."""
    match lease.state:
        case LeaseState.QUOTING:
            return QuoteLease(request=request) if lease.quote is None else None
        case LeaseState.ACCOUNT_OPENING:
            return _order_of_account(lease, request)
        case state if state in IN_THE_MARKET:
            return _order_of_bid(lease, request, at)
        case _:
            return None


def _quoting(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    if lease.bids:
        return LeaseEvent.READY, "poold has a bid of this lease already: it is followed"
    if move := _called_off(lease, request, at) or _refused(lease):
        return move
    if lease.quote is None:
        return None
    cost_sat = lease.quote.cost_sat
    if request.max_cost_sat is not None and cost_sat > request.max_cost_sat:
        lease.refusal = Refusal.ABOVE_COST_LIMIT
        return LeaseEvent.REFUSED, f"it can cost {cost_sat:,} sat, and may {request.max_cost_sat:,}"
    thresholds = [request.approval_above_sat, lease.approval_above_sat]
    threshold = min((each for each in thresholds if each is not None), default=None)
    if threshold is not None and cost_sat > threshold:
        return LeaseEvent.NEEDS_APPROVAL, f"up to {cost_sat:,} sat, above {threshold:,}"
    return LeaseEvent.QUOTED, f"up to {cost_sat:,} sat"


def _awaiting_approval(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    match lease.decision:
        case Approval(approver=who, note=note):
            return LeaseEvent.APPROVED, f"by {who} {note}".rstrip()
        case Rejection(approver=who, reason=why):
            return LeaseEvent.REJECTED, f"by {who} {why}".rstrip()
    if at >= lease.entered_at + timedelta(seconds=request.approval_expires_seconds):
        return LeaseEvent.LAPSED, "nobody answered in time"
    return _called_off(lease, request, at)


def _account_opening(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    if move := _called_off(lease, request, at) or _refused(lease):
        return move
    if request.budgets and not lease.reserved:
        return None  # first they are asked
    choice = choose(lease, request)
    if choice.refusal is not Refusal.NONE:
        lease.refusal, lease.because = choice.refusal, choice.because
        return LeaseEvent.REFUSED, choice.because
    if choice.account is None or choice.wait is not Wait.NOTHING:
        return None
    lease.account = choice.account
    words = f"account {choice.account.key[:12]}… has {choice.account.available_sat:,} sat"
    return LeaseEvent.READY, words


def _bidding(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    if lease.channels:
        return LeaseEvent.FUNDED, _won(lease)
    if any(bid.state in _MATCHED for bid in lease.bids):
        return LeaseEvent.MATCHED, "a batch has it"
    if not lease.bids:
        short = lease.refusal is Refusal.INSUFFICIENT_FUNDS and lease.shorts < _SHORTS
        if short and request.account.key is None:
            return LeaseEvent.SHORT, lease.because
        return _refused(lease) or _called_off(lease, request, at)
    return _without_success(lease, request, at) if lease.bid_is_over else None


def _without_success(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    """The bid is over, and has won nothing."""
    states = {bid.state for bid in lease.bids}
    if BidState.FAILED in states and lease.refusal is Refusal.NONE:
        assert lease.tip is not None
        assert lease.failed_at_height is not None  # the look that saw it has noted both
        if lease.tip.height < lease.failed_at_height + _FAILED_FOR_CERTAIN_BLOCKS:
            return None
        return LeaseEvent.FAILED, "poold says that it FAILED, and no batch has had it since"
    if BidState.FAILED in states:
        return LeaseEvent.REFUSED, lease.because
    if lease.cancel_requested:
        return LeaseEvent.CANCELED, "taken back, and nothing was won"
    if at >= lease.deadline(request) or BidState.EXPIRED in states:
        return LeaseEvent.LAPSED, "its time is over, and nothing was won"
    return LeaseEvent.CANCELED, "somebody took it back at poold"


def _matched(lease: LeaseProgress, _: LeaseRequest, __: datetime) -> Move | None:
    if lease.channels:
        return LeaseEvent.FUNDED, _won(lease)
    if not any(bid.state in _MATCHED for bid in lease.bids):
        return LeaseEvent.UNMATCHED, "the batch came to nothing"
    return None


def _channel_opening(lease: LeaseProgress, _: LeaseRequest, __: datetime) -> Move | None:
    channels = list(lease.channels.values())
    if not lease.bid_is_over or any(c.phase is ClosePhase.UNKNOWN for c in channels):
        return None
    if all(is_gone(channel) for channel in channels):
        return LeaseEvent.CLOSED_EARLY, "its channels were closed before they were used"
    return LeaseEvent.OPENED, f"{lease.leased_sat:,} sat inbound, until {_last_height(lease):,}"


def _leased(lease: LeaseProgress, _: LeaseRequest, __: datetime) -> Move | None:
    assert lease.tip is not None
    channels, early = list(lease.channels.values()), set(lease.closed_early)
    if all(channel.channel_point in early for channel in channels):
        return LeaseEvent.CLOSED_EARLY, "closed before the term was over"
    under_way = [
        channel
        for channel in channels
        if channel.channel_point not in early
        and (channel.expiry_height is None or lease.tip.height < channel.expiry_height)
    ]
    return None if under_way else (LeaseEvent.TERM_ENDED, f"height {_last_height(lease):,}")


_MATCHED: Final = frozenset({BidState.CLEARED, BidState.PARTIALLY_FILLED, BidState.EXECUTED})

_STATES: Final[
    Mapping[LeaseState, Callable[[LeaseProgress, LeaseRequest, datetime], Move | None]]
] = {
    LeaseState.QUOTING: _quoting,
    LeaseState.AWAITING_APPROVAL: _awaiting_approval,
    LeaseState.ACCOUNT_OPENING: _account_opening,
    LeaseState.BIDDING: _bidding,
    LeaseState.MATCHED: _matched,
    LeaseState.CHANNEL_OPENING: _channel_opening,
    LeaseState.LEASED: _leased,
}


# What is asked of poold.


def _order_of_account(lease: LeaseProgress, request: LeaseRequest) -> LeaseOrder | None:
    """Called where nothing moves: an account is to be had, or to be waited for."""
    terms, choice = request.account, choose(lease, request)
    if terms.fee_sat_per_vbyte is None:
        return None
    if choice.wait is Wait.RENEW:
        assert choice.account is not None
        return _renewal(lease, request, choice.account.key)
    if choice.wait is not Wait.OPEN:
        return None
    assert terms.open_with_sat is not None
    assert lease.tip is not None
    # Chosen once: the account of an answer that was lost is known by it.
    lease.open_to = lease.open_to or expiry_of_new(request, lease.tip.height)
    return OpenAccount(
        node=request.node,
        value_sat=terms.open_with_sat,
        expiry_height=lease.open_to,
        fee_sat_per_vbyte=terms.fee_sat_per_vbyte,
        until=lease.deadline(request),
    )


def _order_of_bid(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> LeaseOrder | None:
    if not lease.bids:
        assert lease.account is not None  # READY has found it
        assert lease.reserved or not request.budgets
        return SubmitBid(
            request=request,
            mark=mark_of(request.node, request.key),
            account=lease.account.key,
            until=lease.deadline(request),
        )
    open_bids = [bid for bid in lease.bids if bid.state not in OVER]
    is_off = lease.cancel_requested or at >= lease.deadline(request)
    # Of two that one lost answer has left behind, the older one stands.
    for bid in open_bids if is_off else open_bids[1:]:
        return WithdrawBid(node=request.node, nonce=bid.nonce)
    return _renewal_due(lease, request) if open_bids else None


def _renewal_due(lease: LeaseProgress, request: LeaseRequest) -> LeaseOrder | None:
    """The auctioneer matches nothing of an account that is about to expire."""
    account, terms = lease.account, request.account
    if account is None or lease.tip is None or terms.fee_sat_per_vbyte is None:
        return None
    if account.state not in {AccountState.OPEN, AccountState.EXPIRED}:
        return None
    height = lease.tip.height
    if account.expiry_height >= height + terms.renew_below_blocks:
        return None
    if height < lease.no_renewal_before:
        return None
    return _renewal(lease, request, account.key)


def _renewal(lease: LeaseProgress, request: LeaseRequest, key: NodePubkey) -> RenewAccount:
    terms = request.account
    assert lease.tip is not None
    assert terms.fee_sat_per_vbyte is not None
    lease.renew_to = lease.renew_to or lease.tip.height + terms.expiry_blocks
    return RenewAccount(
        node=request.node,
        account=key,
        expiry_height=lease.renew_to,
        fee_sat_per_vbyte=terms.fee_sat_per_vbyte,
    )


# What the states share.


def _called_off(lease: LeaseProgress, request: LeaseRequest, at: datetime) -> Move | None:
    """Only where no bid is out."""
    if lease.cancel_requested:
        return LeaseEvent.CANCELED, "called off before there was a bid"
    if at >= lease.deadline(request):
        return LeaseEvent.LAPSED, "its time is over, and there was no bid"
    return None


def _refused(lease: LeaseProgress) -> Move | None:
    return None if lease.refusal is Refusal.NONE else (LeaseEvent.REFUSED, lease.because)


def _won(lease: LeaseProgress) -> str:
    count = len(lease.channels)
    return f"{lease.leased_sat:,} sat in {count} channel{'s' * (count != 1)}"


def _last_height(lease: LeaseProgress) -> int:
    return max((c.expiry_height or 0 for c in lease.channels.values()), default=0)
