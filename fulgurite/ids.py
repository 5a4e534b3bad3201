"""Workflow ids and task queues, built in one place so that nobody builds a second form."""

from __future__ import annotations

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


def is_payment_id(workflow_id: str) -> bool:
    try:
        hash_of_payment_id(workflow_id)
    except ValueError:
        return False
    return True


def node_queue(node: str) -> str:
    """The queue of the workers that hold this node's pay credential."""
    return f"{TASK_QUEUE}/{node}"
