"""Workflow ids and task queues, built in one place so that nobody builds a second form."""

from __future__ import annotations

from datetime import UTC, datetime

from fulgurite.identity import PaymentHash

# Workflows and their local activities. Every worker that runs workflows polls it.
TASK_QUEUE = "fulgurite"

_PAYMENT = "payment/"


def payment_id(payment_hash: PaymentHash) -> str:
    return f"{_PAYMENT}{payment_hash}"


def hash_of_payment_id(workflow_id: str) -> PaymentHash:
    """The way back; raises ValueError for anything but `payment/<hash>`."""
    if not workflow_id.startswith(_PAYMENT):
        raise ValueError(f"a payment's workflow id is payment/<payment hash>, not {workflow_id}")
    return PaymentHash(workflow_id.removeprefix(_PAYMENT))


def hash_of_resource(workflow_id: str) -> PaymentHash | None:
    """Of a payment, an invoice or a relay; None for what has no payment hash."""
    try:
        return PaymentHash(workflow_id.rpartition("/")[2])
    except ValueError:
        return None


def is_payment_id(workflow_id: str) -> bool:
    try:
        hash_of_payment_id(workflow_id)
    except ValueError:
        return False
    return True


def invoice_id(payment_hash: PaymentHash) -> str:
    return f"invoice/{payment_hash}"


def invoice_key_id(key: str) -> str:
    """The workflow that makes the invoice of a caller's key."""
    return f"invoice-key/{key}"


def invoice_stream_id(node: str) -> str:
    return f"invoice-stream/{node}"


def event_id(event: str) -> str:
    return f"event/{event}"


def relay_id(payment_hash: PaymentHash) -> str:
    """An invoice that is held until a payment of the same hash has its verdict."""
    return f"relay/{payment_hash}"


def scheduled_reconciliation_id(node: str) -> str:
    """What a schedule starts; Temporal puts `-<time>` behind it."""
    return f"reconcile/{node}"


def reconciliation_id(node: str, at: datetime) -> str:
    """The same form as a schedule gives."""
    return f"{scheduled_reconciliation_id(node)}-{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def node_queue(node: str) -> str:
    """The queue of the workers that hold this node's pay credential."""
    return f"{TASK_QUEUE}/{node}"


def invoice_queue(node: str) -> str:
    """The queue of the workers that hold this node's invoice credential."""
    return f"{TASK_QUEUE}/{node}/invoices"


def open_watch_queue(node: str) -> str:
    """Where open hold invoices of this node are watched: there can be thousands, for days."""
    return f"{invoice_queue(node)}/open"


def held_watch_queue(node: str) -> str:
    """Where held invoices are watched until their deadline, whatever else is watched."""
    return f"{invoice_queue(node)}/held"


def webhook_queue(endpoint: str) -> str:
    """One queue an endpoint, so that a slow one delays nobody else."""
    return f"{TASK_QUEUE}/webhooks/{endpoint}"
