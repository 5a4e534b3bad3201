"""Leases under comparison: their list is Temporal's, which others write while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities import comparing_leases
from activities.comparing_leases import ComparingLeases
from fulgurite.identity import NodePubkey
from fulgurite.leases.market import Account, AccountState
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import IN_THE_MARKET, LeaseState
from fulgurite.reconciliation.calls import Compare, Stage, Tally
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.leases import looks_after
from fulgurite.reconciliation.saying import Said

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ASK = Compare(node="alice", began_at=LONG_AGO, so_far=Tally(), at_most=timedelta(minutes=1))
OURS, ANOTHER = NodePubkey("02" + "11" * 32), NodePubkey("02" + "22" * 32)


class Known:
    """Leases that run, some of which Temporal forgets."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.known = list(keys)
        self.compared: list[str] = []

    async def keys(self) -> list[str]:
        return sorted(self.known)

    async def find(self, keys: Sequence[str]) -> dict[str, Said[LeaseReceipt]]:
        self.compared += keys
        return {key: Said(Execution.RUNNING, LeaseState.BIDDING) for key in keys}


class EmptyPool:
    async def marked_bids(self) -> tuple[()]:
        return ()

    async def leases(self, _: object) -> tuple[()]:
        return ()


async def test_who_is_forgotten_between_two_pages_hides_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing_leases, "PAGE", 2)
    ours: Any = Known("abcde")
    pool: Any = EmptyPool()
    lnd: Any = None
    comparing = ComparingLeases(ASK, lnd, pool, ours)
    tally = await comparing.further(Tally())
    ours.known.remove("a")
    while tally.stage is Stage.THEIRS:
        # As a heartbeat carries it to another worker.
        tally = await comparing.further(Tally.model_validate_json(tally.model_dump_json()))

    assert ours.compared == list("abcde")
    assert (tally.counts.ours, tally.page_token) == (5, "")


def lease(state: LeaseState, *, fee: int | None = 2, **more: Any) -> LeaseView:
    request = {
        "key": "order-1",
        "node": "alice",
        "amount_sat": 500_000,
        "duration_blocks": 2_016,
        "max_rate_ppb": 1_000,
        "max_batch_fee_sat_per_vbyte": 2,
        "account": {"key": more.pop("asked_for", None), "fee_sat_per_vbyte": fee},
    }
    return LeaseView(
        state=state,
        key="order-1",
        node="alice",
        request=LeaseRequest.model_validate(request),
        deadline=LONG_AGO,
        **more,
    )


def account(key: NodePubkey) -> Account:
    return Account(key=key, state=AccountState.OPEN, value_sat=1, available_sat=1, expiry_height=10)


def test_a_lease_looks_after_its_own_account_where_its_terms_let_it() -> None:
    ending = account(OURS)
    needing = {each for each in LeaseState if looks_after(lease(each), ending)}
    assert needing == {LeaseState.ACCOUNT_OPENING, *IN_THE_MARKET}
    bidding = LeaseState.BIDDING
    assert not looks_after(lease(bidding, fee=None), ending)
    assert looks_after(lease(bidding, account=ending), ending)
    assert not looks_after(lease(bidding, account=account(ANOTHER)), ending)
    assert not looks_after(lease(bidding, asked_for=ANOTHER), ending)
