"""What can be asked of an invoice; the rest is refused before LND hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fulgurite.identity import Preimage
from fulgurite.invoices.requests import Hold, InvoiceRequest, Verdict

THEIRS = Preimage(bytes(32)).hash()
AGAINST_A_PAYMENT = {"payment_hash": THEIRS, "default": "KEEP"}


@pytest.mark.parametrize(
    ("hold", "why"),
    [
        (AGAINST_A_PAYMENT, "KEEP waits for a workflow"),
        (AGAINST_A_PAYMENT | {"decide_by": "UPDATE"}, "KEEP waits for a workflow"),
        (
            {"default": "KEEP", "decide_by": "WORKFLOW", "workflow_id": "order/1"},
            "held against another payment",
        ),
    ],
    ids=["unless told", "an update", "a hash of ours"],
)
def test_only_a_workflow_that_holds_it_against_a_payment_may_let_the_deadline_pass(
    hold: dict[str, Any], why: str
) -> None:
    """Anybody else's invoice would be held until LND closes a channel over it."""
    with pytest.raises(ValidationError, match=why):
        Hold.model_validate(hold)

    by_workflow = {"decide_by": "WORKFLOW", "workflow_id": "order/1"}
    assert Hold.model_validate(AGAINST_A_PAYMENT | by_workflow).default is Verdict.KEEP


@pytest.mark.parametrize(
    "fields",
    [{"notify_workflow_id": ""}, {"hold": {"decide_by": "WORKFLOW", "workflow_id": ""}}],
    ids=["told", "asked"],
)
def test_a_workflow_without_a_name_cannot_be_signalled(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        InvoiceRequest.model_validate({"key": "order-1", "node": "carol"} | fields)
