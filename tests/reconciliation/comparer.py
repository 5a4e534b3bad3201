"""A worker that compares one node's invoices and does nothing else, to be killed.

`python -m tests.reconciliation.comparer NODE`, configured as every worker is.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from temporalio.worker import Worker

import settings as configuration
from activities.reconciliation import ReconciliationActivities
from fulgurite import ids
from nodes.registry import Nodes
from starter.connect import connect


async def main(node: str) -> None:
    settings = configuration.load()
    client = await connect(settings)
    worker = Worker(
        client,
        task_queue=ids.invoice_queue(node),
        activities=[ReconciliationActivities(Nodes(settings.nodes), client).invoices],
        max_heartbeat_throttle_interval=timedelta(seconds=1),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
