"""What Prometheus is told, beside the SDK's own metrics and on the same port."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from temporalio import workflow

from fulgurite.budgets.orders import RefusalReason
from fulgurite.budgets.policy import BudgetName, BudgetState
from fulgurite.channels.receipts import CloseReceipt
from fulgurite.events.delivery import DeliveryState
from fulgurite.identity import NodeName
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.leases.receipts import LeaseReceipt
from fulgurite.leases.states import LeaseTrouble
from fulgurite.liquidity.plans import LiquidityPlan
from fulgurite.liquidity.reasons import Reason
from fulgurite.payments.receipts import Receipt
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.relays.receipts import RelayReceipt
from fulgurite.stuck.receipts import LadderReceipt
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.receipts import SwapReceipt


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


def count_rung(node: NodeName, rung: LadderState) -> None:
    """A ladder that came to a rung. AWAITING_APPROVAL is what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes({"node": node, "rung": rung})
    meter.create_counter("fulgurite_ladder_rungs_total", "rungs that ladders reached").add(1)


def count_closing(node: NodeName) -> None:
    """A channel that was first seen closing, whoever closes it."""
    meter = workflow.metric_meter().with_additional_attributes({"node": node})
    meter.create_counter("fulgurite_channel_closings_total", "channels seen closing").add(1)


def count_backup_failure(node: NodeName) -> None:
    """A static channel backup that could not be kept."""
    meter = workflow.metric_meter().with_additional_attributes({"node": node})
    meter.create_counter(
        "fulgurite_channel_backup_failures_total", "channel backups that could not be kept"
    ).add(1)


def count_ladder(receipt: LadderReceipt) -> None:
    """A stuck payment that came to its end."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "status": receipt.status}
    )
    meter.create_counter("fulgurite_ladders_total", "stuck payments that ended").add(1)
    if receipt.on_chain:
        meter.create_counter(
            "fulgurite_ladder_force_closes_total", "channels that ladders had closed"
        ).add(len(receipt.force_closed))


def count_close(receipt: CloseReceipt) -> None:
    """A channel's closing that came to its end."""
    meter = workflow.metric_meter().with_additional_attributes(
        {
            "node": receipt.node,
            "status": receipt.status,
            "close_type": receipt.close_type or "NONE",
        }
    )
    meter.create_counter("fulgurite_channel_closes_total", "closings that ended").add(1)
    meter.create_counter(
        "fulgurite_channel_close_cost_sat_total", "on-chain fees of closings", "sat"
    ).add(receipt.cost_sat)


def count_budget_state(budget: BudgetName, state: BudgetState) -> None:
    """A budget that came to a state. LOW and SPENT are what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes({"budget": budget, "state": state})
    meter.create_counter("fulgurite_budget_states_total", "states that budgets came to").add(1)


def count_budget_refusal(budget: BudgetName, reason: RefusalReason) -> None:
    """Something that a budget had no room for."""
    meter = workflow.metric_meter().with_additional_attributes({"budget": budget, "reason": reason})
    meter.create_counter("fulgurite_budget_refusals_total", "orders that were refused").add(1)


def count_lease(receipt: LeaseReceipt) -> None:
    """A lease that came to its end."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "status": receipt.status, "refusal": receipt.refusal}
    )
    meter.create_counter("fulgurite_leases_total", "leases that ended").add(1)
    meter.create_counter("fulgurite_leased_sat_total", "inbound that was leased", "sat").add(
        receipt.leased_sat
    )
    meter.create_counter("fulgurite_lease_cost_sat_total", "what leases cost", "sat").add(
        receipt.cost.total_sat
    )


def count_lease_trouble(node: NodeName, trouble: LeaseTrouble) -> None:
    """Something of a lease that wants a person: what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes({"node": node, "trouble": trouble})
    meter.create_counter("fulgurite_lease_troubles_total", "what of leases wants a person").add(1)


def count_rebalance(receipt: RebalanceReceipt) -> None:
    """A rebalance that ended. FEE_ABOVE_CAP is what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "status": receipt.status, "reason": receipt.reason}
    )
    meter.create_counter("fulgurite_rebalances_total", "rebalances that ended").add(1)
    meter.create_counter(
        "fulgurite_rebalanced_msat_total", "liquidity moved between channels", "msat"
    ).add(receipt.moved_msat)
    meter.create_counter(
        "fulgurite_rebalance_fees_msat_total", "routing fees paid for that", "msat"
    ).add(receipt.fee_msat)


def count_plan(plan: LiquidityPlan) -> None:
    """A plan of the autopilot that ended. Reasons that no channel has any more go back to 0."""
    meter = workflow.metric_meter().with_additional_attributes({"node": plan.node})
    meter.create_counter("fulgurite_liquidity_plans_total", "plans that ended").add(
        1, {"state": plan.state, "mode": plan.mode}
    )
    if not plan.lines:
        return
    channels = meter.create_gauge(
        "fulgurite_liquidity_channels", "by what the last plan says of them"
    )
    reasons = Counter(line.reason for line in plan.lines)
    for reason in Reason:
        channels.set(reasons[reason], {"reason": reason})


def count_swap(receipt: SwapReceipt) -> None:
    """A swap that ended. BEGUN_TWICE and LIMIT_EXCEEDED are what an alert is for.

    A prepayment that may be lost is the price of many a failure, and within the limits.
    """
    warnings = [word for word in receipt.warnings if word != "PREPAYMENT_UNSEEN"]
    meter = workflow.metric_meter().with_additional_attributes(
        {"node": receipt.node, "direction": receipt.direction, "status": receipt.status}
    )
    meter.create_counter("fulgurite_swaps_total", "swaps that ended").add(1)
    meter.create_counter("fulgurite_swap_cost_sat_total", "what swaps have cost", "sat").add(
        receipt.cost.total_sat
    )
    meter.create_counter(
        "fulgurite_swap_warnings_total", "swaps that cost more than they might, or began twice"
    ).add(len(warnings))


def count_uncertain_swap(node: NodeName) -> None:
    """A swap of which nobody knows whether loopd has begun it: a person is asked."""
    meter = workflow.metric_meter().with_additional_attributes({"node": node})
    meter.create_counter("fulgurite_swaps_uncertain_total", "swaps whose answer was lost").add(1)


def count_delivery(endpoint: str, state: DeliveryState) -> None:
    """An event's delivery to an endpoint that ended. DEAD is what an alert is for."""
    meter = workflow.metric_meter().with_additional_attributes(
        {"endpoint": endpoint, "status": state}
    )
    meter.create_counter("fulgurite_webhooks_total", "deliveries that ended").add(1)
