"""What Prometheus is told of payments, beside the SDK's own metrics and on the same port."""

from __future__ import annotations

from temporalio import workflow

from fulgurite.payments.receipts import Receipt


def count(receipt: Receipt) -> None:
    """A payment that ended. Silent on replay, as the SDK's meter is."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "status": receipt.status, "reason": receipt.failure_reason}
    )
    meter.create_counter("fulgurite_payments_total", "payments that ended").add(1)
    meter.create_counter("fulgurite_payment_fees_msat_total", "routing fees paid", "msat").add(
        receipt.fee_msat
    )
    meter.create_histogram_timedelta(
        "fulgurite_payment_duration_seconds", "from request to receipt", "s"
    ).record(receipt.completed_at - receipt.requested_at)
