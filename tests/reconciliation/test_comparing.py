"""Which pairs agree, and what a pair that does not is called."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from devnet.house import ROOT
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import INVOICE, InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.states import PAYMENT, PaymentState, PaymentStatus
from fulgurite.reconciliation.comparing import (
    Execution,
    Ours,
    Theirs,
    compare_invoice,
    compare_payment,
    expects_invoice,
    expects_payment,
)
from fulgurite.reconciliation.differences import (
    DONE,
    TO_DO,
    Counts,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
)

HASH = PaymentHash("ab" * 32)
AMOUNT = Msat(1_000)
K = DifferenceKind
P, I, E = PaymentState, InvoiceState, Execution  # noqa: E741
# Swaps, rebalances and leases; see test_comparing_others.
OF_OTHERS = {
    *(K.UNFOLLOWED_SWAP, K.STALE_SWAP, K.UNFOLLOWED_REBALANCE, K.UNFOLLOWED_LEASE),
    *(K.COST_DIFFERS, K.ACCOUNT_EXPIRING),
}
BY_FORCE = (E.TERMINATED, E.TIMED_OUT, E.CANCELED)


def payment(
    execution: Execution,
    state: PaymentState,
    theirs: PaymentStatus,
    *,
    ours_msat: int | None = AMOUNT,
    theirs_msat: int = AMOUNT,
) -> DifferenceKind | None:
    return compare_payment(
        Ours(HASH, execution, state, None if ours_msat is None else Msat(ours_msat)),
        Theirs(HASH, theirs, Msat(theirs_msat), None),
    )


def invoice(
    execution: Execution,
    state: InvoiceState,
    theirs: LndInvoiceState,
    *,
    ours_msat: int | None = AMOUNT,
    theirs_msat: int | None = AMOUNT,
) -> DifferenceKind | None:
    return compare_invoice(
        Ours(HASH, execution, state, None if ours_msat is None else Msat(ours_msat)),
        Theirs(HASH, theirs, None if theirs_msat is None else Msat(theirs_msat), None),
    )


@pytest.mark.parametrize(
    ("state", "theirs", "kind"),
    [
        (P.REQUESTED, PaymentStatus.IN_FLIGHT, None),
        (P.IN_FLIGHT, PaymentStatus.IN_FLIGHT, None),
        (P.STUCK, PaymentStatus.IN_FLIGHT, None),
        # The index says REQUESTED as long as the fast path lasts, which is seconds.
        (P.REQUESTED, PaymentStatus.SUCCEEDED, K.STALE_IN_FLIGHT),
        (P.IN_FLIGHT, PaymentStatus.SUCCEEDED, K.STALE_IN_FLIGHT),
        (P.STUCK, PaymentStatus.FAILED, K.STALE_IN_FLIGHT),
        # The FAILED of an attempt that another one follows.
        (P.BACKING_OFF, PaymentStatus.FAILED, None),
        (P.AWAITING_LIQUIDITY, PaymentStatus.FAILED, None),
        (P.DISPATCHING, PaymentStatus.FAILED, None),
        (P.BACKING_OFF, PaymentStatus.SUCCEEDED, K.STALE_IN_FLIGHT),
        (P.AWAITING_APPROVAL, PaymentStatus.FAILED, None),
        (P.AWAITING_APPROVAL, PaymentStatus.IN_FLIGHT, K.STATE_DIFFERS),
        (P.AWAITING_APPROVAL, PaymentStatus.SUCCEEDED, K.STATE_DIFFERS),
    ],
)
def test_a_payment_under_way(
    state: PaymentState, theirs: PaymentStatus, kind: DifferenceKind | None
) -> None:
    assert payment(E.RUNNING, state, theirs) is kind


@pytest.mark.parametrize("state", sorted(PAYMENT.terminal - {P.REFUSED}))
def test_a_payment_that_ended_by_itself_agrees_with_one_verdict(state: PaymentState) -> None:
    agreed = PaymentStatus.SUCCEEDED if state is P.SUCCEEDED else PaymentStatus.FAILED
    for theirs in PaymentStatus:
        expected = None if theirs is agreed else K.STATE_DIFFERS
        assert payment(E.COMPLETED, state, theirs) is expected


@pytest.mark.parametrize("execution", [*BY_FORCE, E.FAILED])
def test_a_payment_whose_workflow_was_ended_is_followed_by_nobody(execution: Execution) -> None:
    assert payment(execution, P.IN_FLIGHT, PaymentStatus.IN_FLIGHT) is K.UNFOLLOWED_PAYMENT
    assert payment(execution, P.IN_FLIGHT, PaymentStatus.SUCCEEDED) is K.STATE_DIFFERS
    assert payment(execution, P.IN_FLIGHT, PaymentStatus.FAILED) is None


def test_a_payment_over_another_amount() -> None:
    succeeded = (E.COMPLETED, P.SUCCEEDED, PaymentStatus.SUCCEEDED)
    assert payment(*succeeded, theirs_msat=AMOUNT + 1) is K.AMOUNT_DIFFERS
    assert payment(*succeeded, ours_msat=None, theirs_msat=AMOUNT + 1) is None


@pytest.mark.parametrize(
    ("state", "theirs", "kind"),
    [
        (I.OPEN, LndInvoiceState.OPEN, None),
        (I.OPEN, LndInvoiceState.SETTLED, K.MISSED_SETTLEMENT),
        (I.EXPIRED, LndInvoiceState.SETTLED, K.MISSED_SETTLEMENT),
        (I.ACCEPTED, LndInvoiceState.SETTLED, K.MISSED_SETTLEMENT),
        (I.SETTLING, LndInvoiceState.SETTLED, K.MISSED_SETTLEMENT),
        (I.OPEN, LndInvoiceState.ACCEPTED, K.MISSED_HOLD),
        (I.EXPIRED, LndInvoiceState.ACCEPTED, K.MISSED_HOLD),
        (I.ACCEPTED, LndInvoiceState.ACCEPTED, None),
        (I.SETTLING, LndInvoiceState.ACCEPTED, None),
        (I.CANCELING, LndInvoiceState.ACCEPTED, None),
        (I.OPEN, LndInvoiceState.CANCELED, K.STALE_INVOICE),
        (I.ACCEPTED, LndInvoiceState.CANCELED, K.STALE_INVOICE),
        # The late watch: it knows.
        (I.EXPIRED, LndInvoiceState.CANCELED, None),
        (I.EXPIRED, LndInvoiceState.OPEN, None),
    ],
)
def test_an_invoice_under_way(
    state: InvoiceState, theirs: LndInvoiceState, kind: DifferenceKind | None
) -> None:
    assert invoice(E.RUNNING, state, theirs) is kind


@pytest.mark.parametrize("state", sorted(INVOICE.terminal))
def test_an_invoice_that_ended_by_itself_agrees_with_one_verdict(state: InvoiceState) -> None:
    paid = state in {I.SETTLED, I.PAID_LATE}
    agreed = LndInvoiceState.SETTLED if paid else LndInvoiceState.CANCELED
    for theirs in LndInvoiceState:
        expected = None if theirs is agreed else K.STATE_DIFFERS
        assert invoice(E.COMPLETED, state, theirs) is expected


@pytest.mark.parametrize("execution", BY_FORCE)
def test_an_invoice_whose_workflow_was_ended_is_told_by_nobody(execution: Execution) -> None:
    for theirs in LndInvoiceState:
        harmless = theirs is LndInvoiceState.CANCELED
        expected = None if harmless else K.UNFOLLOWED_INVOICE
        assert invoice(execution, I.OPEN, theirs) is expected


def test_an_invoice_over_another_amount() -> None:
    settled = (E.COMPLETED, I.SETTLED, LndInvoiceState.SETTLED)
    assert invoice(*settled, theirs_msat=AMOUNT + 1) is K.AMOUNT_DIFFERS
    assert invoice(*settled, ours_msat=0, theirs_msat=None) is None, "any amount"
    assert invoice(*settled, ours_msat=None) is None, "not indexed"


def test_only_what_the_node_has_once_acknowledged_is_missed_there() -> None:
    def expected(expects: object, state: str, execution: Execution = E.RUNNING) -> bool:
        assert callable(expects)
        return bool(expects(Ours(HASH, execution, state, AMOUNT)))

    assert [s for s in PaymentState if expected(expects_payment, s)] == [P.IN_FLIGHT, P.STUCK]
    # lnd can be set to delete what it has canceled.
    assert not expected(expects_invoice, I.EXPIRED)
    assert expected(expects_invoice, I.OPEN)
    for execution in set(Execution) - {E.RUNNING}:
        assert not expected(expects_invoice, I.SETTLED, execution)
        assert not expected(expects_payment, P.IN_FLIGHT, execution)


def test_every_pair_has_an_answer_and_every_difference_an_advice() -> None:
    found = {
        *(payment(*each) for each in itertools.product(Execution, PaymentState, PaymentStatus)),
        *(invoice(*each) for each in itertools.product(Execution, InvoiceState, LndInvoiceState)),
    }
    assert found == {None, *DifferenceKind} - {K.AMOUNT_DIFFERS, K.UNKNOWN_TO_NODE} - OF_OTHERS
    assert DONE.keys() | TO_DO.keys() == set(DifferenceKind)
    assert not DONE.keys() & TO_DO.keys()


def test_of_more_differences_than_are_told_the_number_is() -> None:
    now = datetime.now(UTC)
    report = ReconciliationReport(
        node="alice",
        state=ReconciliationState.DIFFERS,
        began_at=now,
        ended_at=now,
        invoices=Counts(ours=150, differing=150),
        payments=Counts(),
        kinds={DifferenceKind.MISSED_SETTLEMENT: 150},
    )
    assert "and 150 more" in report.details()


def test_the_document_has_a_row_for_every_difference() -> None:
    page = (ROOT / "docs" / "reconciliation.md").read_text()
    assert [kind for kind in DifferenceKind if f"| {kind} |" not in page] == []
