"""What a relay's request says, and what of it is possible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fulgurite.errors import InvalidRequestError, InvoiceExpiredError, KeyReusedError
from fulgurite.identity import NodePubkey
from fulgurite.invoices.requests import Verdict
from fulgurite.lifecycle import Edge
from fulgurite.relays.calls import Outlook
from fulgurite.relays.requests import (
    SAFETY_BLOCKS,
    RelayRequest,
    check_possible,
    cltv_limit_blocks,
    relay_key,
    to_ask,
    to_pay,
    understand_relay,
)
from fulgurite.relays.states import RELAY, RelayEvent, RelayState
from tests.unit.invoices import written

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OUTLOOK = Outlook(pubkey=NodePubkey("02" + "00" * 32), height=100)


def a_request(**outgoing: Any) -> RelayRequest:
    pay = {
        "node": "bob",
        "invoice": written(created_at=int(NOW.timestamp()), expiry_seconds=1_000),
        "fee_limit": {"msat": 2_000},
    }
    incoming = {"node": "alice", "fee_msat": 7_000, "expiry_seconds": 600}
    return RelayRequest.model_validate({"incoming": incoming, "outgoing": pay | outgoing})


PLAN = understand_relay(a_request())


@pytest.mark.parametrize(
    ("incoming", "words"),
    [
        ({"node": "bob"}, "exactly one of"),
        ({"node": "bob", "fee_msat": 1, "amount_msat": 1}, "exactly one of"),
        ({"node": "bob", "fee_msat": 1, "memo": "ä" * 320}, "at most 639 bytes"),
    ],
)
def test_a_request_says_what_comes_in_once(incoming: dict[str, Any], words: str) -> None:
    outgoing = {"node": "bob", "invoice": "lnbc1", "fee_limit": {"sat": 1}}
    with pytest.raises(ValidationError, match=words):
        RelayRequest.model_validate({"incoming": incoming, "outgoing": outgoing})


def test_what_comes_in_covers_what_can_go_out_and_is_kept_for_the_relay() -> None:
    invoice, hold = PLAN.invoice, PLAN.invoice.hold
    assert hold is not None

    assert PLAN.amount == 50_000 + 2_000 + 7_000
    assert (hold.payment_hash, hold.default) == (PLAN.payment_hash, Verdict.KEEP)
    assert hold.workflow_id == invoice.notify_workflow_id == f"relay/{PLAN.payment_hash}"
    # Always the same for the same request: a repeated one finds what the first has made.
    assert understand_relay(PLAN.request) == PLAN


def test_a_relay_that_pays_from_another_node_is_another_one() -> None:
    """That one's LND does not know what the first has sent: nothing of it is taken over."""
    keys = {relay_key(node, PLAN.payment_hash) for node in ("bob", "dave", "d" * 40, "e" * 40)}
    found = OUTLOOK.model_copy(update={"invoice_key": relay_key("dave", PLAN.payment_hash)})

    assert (len(keys), PLAN.invoice.key in keys) == (4, True)
    with pytest.raises(KeyReusedError, match="pays from another node was begun before"):
        check_possible(PLAN, found, NOW)
    # A key has a length; next to the longest name it says the hash all the same.
    longest = understand_relay(a_request(node="d" * 40))
    assert longest.payment_hash[:50] in longest.invoice.key


def test_what_another_node_may_have_paid_is_not_begun() -> None:
    found = OUTLOOK.model_copy(update={"elsewhere": "dave", "payment_runs": True})
    with pytest.raises(InvalidRequestError, match="dave has this payment already"):
        check_possible(PLAN, found, NOW)


@pytest.mark.parametrize(("later_seconds", "possible"), [(280, True), (281, False)])
def test_the_outgoing_invoice_must_outlive_the_incoming_one(
    later_seconds: int, possible: bool
) -> None:
    now = NOW + timedelta(seconds=later_seconds)
    if possible:
        check_possible(PLAN, OUTLOOK, now)
    else:
        with pytest.raises(InvoiceExpiredError, match="must be payable 120 s after"):
            check_possible(PLAN, OUTLOOK, now)


@given(expiry=st.integers(0, 3_000), tip=st.integers(0, 3_000), own=st.integers(1, 2_016))
def test_what_goes_out_ends_well_before_what_came_in_must_be_decided(
    expiry: int, tip: int, own: int
) -> None:
    plan = understand_relay(a_request(cltv_limit_blocks=own))
    limit = cltv_limit_blocks(plan, expiry, tip)
    if limit is None:
        # lnd refuses a limit that the last hop, with its padding of 3 blocks, does not fit in.
        assert min(expiry - tip - 24 - SAFETY_BLOCKS, own) <= 18 + 3
    else:
        assert 18 + 3 < limit <= own
        assert tip + limit + SAFETY_BLOCKS + 24 <= expiry


@given(deadline=st.integers(1, 30 * 86_400))
def test_blocks_that_were_counted_are_worth_an_hour_at_most(deadline: int) -> None:
    plan = understand_relay(a_request(deadline_seconds=deadline))
    until = to_pay(plan, 100, NOW).no_attempt_after
    assert until is not None

    assert NOW < until <= NOW + timedelta(hours=1)
    never = to_ask(plan).no_attempt_after
    assert never is not None
    assert never < NOW - timedelta(days=10_000)


def _edges(event: RelayEvent) -> list[Edge[RelayState, RelayEvent]]:
    return [edge for edge in RELAY.edges if edge.event is event]


def test_only_a_verdict_leads_from_paying_to_sending_back_or_taking() -> None:
    leaving = {
        (edge.event, edge.target) for edge in RELAY.edges if edge.source is RelayState.PAYING
    }

    assert leaving == {
        (RelayEvent.PAID, RelayState.SETTLING),
        (RelayEvent.NOT_PAID, RelayState.CANCELING),
        (RelayEvent.UPSTREAM_LOST, RelayState.LOSS_POSSIBLE),
    }
    assert {edge.source for edge in RELAY.edges if edge.target is RelayState.SETTLING} == {
        RelayState.PAYING
    }


def test_no_end_is_reached_from_paying_without_a_word_from_both_sides() -> None:
    """The payment's verdict, and LND's last word on what is held; a loss has had that before."""
    verdicts = _edges(RelayEvent.PAID) + _edges(RelayEvent.NOT_PAID)

    assert {(edge.source, edge.target in RELAY.terminal) for edge in verdicts} == {
        (RelayState.PAYING, False),
        (RelayState.LOSS_POSSIBLE, True),
    }
