"""Workflow ids and task queues, built in one place so that nobody builds a second form."""

from __future__ import annotations

from datetime import UTC, datetime

from fulgurite.identity import ChannelPoint, PaymentHash

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


def chain_id(node: str) -> str:
    """Who tells a node's blocks to those who wait for one."""
    return f"chain/{node}"


def channel_watch_id(node: str) -> str:
    return f"channel-watch/{node}"


def close_id(channel_point: ChannelPoint) -> str:
    return f"close/{channel_point}"


def swap_id(key: str) -> str:
    """Coins that go out of channels, or into one, under a caller's key."""
    return f"swap/{key}"


def swap_quote_id(key: str) -> str:
    """What a swap under this key would cost, asked without beginning it."""
    return f"swap-quote/{key}"


def swap_sequence_id(key: str) -> str:
    return f"swap-sequence/{key}"


def turns_id(node: str) -> str:
    """Who grants turns on a node's channels."""
    return f"turns/{node}"


def rebalance_id(key: str) -> str:
    return f"rebalance/{key}"


def budget_id(name: str) -> str:
    return f"budget/{name}"


def stuck_id(payment_hash: PaymentHash) -> str:
    return f"stuck/{payment_hash}"


def relay_id(payment_hash: PaymentHash) -> str:
    """An invoice that is held until a payment of the same hash has its verdict."""
    return f"relay/{payment_hash}"


def lease_id(key: str) -> str:
    """A bid for inbound liquidity, by its caller's key."""
    return f"lease/{key}"


def scheduled_reconciliation_id(node: str) -> str:
    """What a schedule starts; Temporal puts `-<time>` behind it."""
    return f"reconcile/{node}"


def reconciliation_id(node: str, at: datetime) -> str:
    """The same form as a schedule gives."""
    return f"{scheduled_reconciliation_id(node)}-{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def scheduled_liquidity_id(node: str) -> str:
    """What a schedule starts; Temporal puts `-<time>` behind it."""
    return f"liquidity/{node}"


def liquidity_id(node: str, at: datetime) -> str:
    """The form that a schedule gives, to the microsecond: two who ask get a plan each."""
    return f"{scheduled_liquidity_id(node)}-{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


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


def rebalance_queue(node: str) -> str:
    """The queue of the workers that hold this node's pay, invoice and observe credentials."""
    return f"{TASK_QUEUE}/{node}/rebalances"


def swap_queue(node: str) -> str:
    """The queue of the workers that hold this node's loop credential, and its observe one."""
    return f"{TASK_QUEUE}/{node}/swaps"


def lease_queue(node: str) -> str:
    """The queue of the workers that hold this node's pool credential, and its observe one."""
    return f"{TASK_QUEUE}/{node}/leases"


def chain_queue(node: str) -> str:
    """The queue of the workers that hold this node's observe credential."""
    return f"{TASK_QUEUE}/{node}/chain"


def close_queue(node: str) -> str:
    """The queue of the workers that hold this node's close credential."""
    return f"{TASK_QUEUE}/{node}/close"


def webhook_queue(endpoint: str) -> str:
    """One queue an endpoint, so that a slow one delays nobody else."""
    return f"{TASK_QUEUE}/webhooks/{endpoint}"
