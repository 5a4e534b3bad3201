"""What Prometheus is told, beside the SDK's own metrics and on the same port."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from fulgurite.events.delivery import DeliveryState
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.payments.receipts import Receipt
from fulgurite.relays.receipts import RelayReceipt


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


def count_invoice(receipt: InvoiceReceipt) -> None:
    """An invoice that ended."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "status": receipt.status}
    )
    meter.create_counter("fulgurite_invoices_total", "invoices that ended").add(1)
    meter.create_counter("fulgurite_invoice_paid_msat_total", "received", "msat").add(
        receipt.paid_msat if receipt.settled_at else 0
    )
    if receipt.late_seconds is not None:
        meter.create_counter(
            "fulgurite_invoice_late_payers_total", "payers who came after the expiry"
        ).add(max(1, receipt.late_attempts))
        meter.create_histogram_timedelta(
            "fulgurite_invoice_lateness_seconds", "from the expiry to the last payer", "s"
        ).record(timedelta(seconds=receipt.late_seconds))


def count_relay(receipt: RelayReceipt) -> None:
    """A relay that ended. LOST is what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.incoming_node, "status": receipt.status}
    )
    meter.create_counter("fulgurite_relays_total", "relays that ended").add(1)
    meter.create_counter("fulgurite_relay_lost_msat_total", "paid and not received", "msat").add(
        max(0, -receipt.kept_msat)
    )


def count_delivery(endpoint: str, state: DeliveryState) -> None:
    """An event's delivery to an endpoint that ended. DEAD is what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"endpoint": endpoint, "status": state}
    )
    meter.create_counter("fulgurite_webhooks_total", "deliveries that ended").add(1)
