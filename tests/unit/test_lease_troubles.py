"""What of a lease wants a person: told once while it lasts, and again when it comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fulgurite.chain.tip import Tip
from fulgurite.leases.calls import AccountWord
from fulgurite.leases.market import Account, AccountState
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.requests import AccountTerms, LeaseRequest
from fulgurite.leases.states import LeaseState, LeaseTrouble, Refusal
from fulgurite.leases.troubles import notice
from tests.properties.clock import EPOCH
from tests.unit.test_lease_activities import KEY, REQUEST

HEIGHT = 1_000
MAY_RENEW = AccountTerms(fee_sat_per_vbyte=2)


def bidding(blocks_left: int = 5_000, **more: Any) -> LeaseProgress:
    account = Account(
        key=KEY,
        state=AccountState.OPEN,
        expiry_height=HEIGHT + blocks_left,
        value_sat=1_000_000,
        available_sat=1_000_000,
    )
    fields = {
        "state": LeaseState.BIDDING,
        "account": account,
        "tip": Tip(height=HEIGHT, block_hash="00" * 32),
    } | more
    return LeaseProgress.model_validate({"requested_at": EPOCH, "entered_at": EPOCH} | fields)


def with_terms(terms: AccountTerms) -> LeaseRequest:
    return REQUEST.model_copy(update={"account": terms})


def test_a_question_to_a_person_is_told_once() -> None:
    lease = bidding(state=LeaseState.AWAITING_APPROVAL)
    assert notice(lease, REQUEST, EPOCH) == [LeaseTrouble.AWAITING_APPROVAL]
    assert notice(lease, REQUEST, EPOCH) == []
    assert "a person is asked" in lease.timeline[-1]


@pytest.mark.parametrize(
    ("blocks_left", "terms", "told"),
    [
        (5_000, AccountTerms(), []),
        (431, AccountTerms(), [LeaseTrouble.ACCOUNT_EXPIRES]),
        (431, MAY_RENEW, []),  # it is being renewed
        (0, AccountTerms(), [LeaseTrouble.ACCOUNT_EXPIRES]),
    ],
)
def test_an_account_that_ends_is_told_of_where_nothing_renews_it(
    blocks_left: int, terms: AccountTerms, told: list[LeaseTrouble]
) -> None:
    assert notice(bidding(blocks_left), with_terms(terms), EPOCH) == told


def test_a_renewal_that_poold_refuses_is_told_of() -> None:
    lease, request = bidding(431), with_terms(MAY_RENEW)
    no = AccountWord(account=None, refusal=Refusal.NOT_TAKEN, because="the auctioneer says no")
    lease.heard_of_account(no, EPOCH)
    assert notice(lease, request, EPOCH) == [LeaseTrouble.ACCOUNT_EXPIRES]


def test_an_auctioneer_that_is_away_is_told_of_after_a_while_and_each_time_anew() -> None:
    lease = bidding(connected=False)
    at = [EPOCH + timedelta(minutes=minutes) for minutes in range(60)]
    assert notice(lease, REQUEST, at[0]) == notice(lease, REQUEST, at[9]) == []
    assert notice(lease, REQUEST, at[10]) == [LeaseTrouble.NOT_CONNECTED]
    assert notice(lease, REQUEST, at[30]) == []
    lease.connected = True
    assert notice(lease, REQUEST, at[31]) == []
    lease.connected = False
    assert notice(lease, REQUEST, at[32]) == notice(lease, REQUEST, at[41]) == []
    assert notice(lease, REQUEST, at[42]) == [LeaseTrouble.NOT_CONNECTED]


def test_who_has_its_channels_needs_no_auctioneer() -> None:
    lease = bidding(connected=False)
    notice(lease, REQUEST, EPOCH)
    lease.state = LeaseState.LEASED
    assert notice(lease, REQUEST, EPOCH + timedelta(days=1)) == []
