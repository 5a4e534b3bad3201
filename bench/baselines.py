"""The emptiest workflows there can be, to measure a payment against."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def nothing(what: str) -> str:
    return what


@workflow.defn
class OneActivity:
    """What most people would write first: one activity on the task queue."""

    @workflow.run
    async def run(self, what: str) -> str:
        return await workflow.execute_activity(
            nothing, what, start_to_close_timeout=timedelta(seconds=10)
        )


@workflow.defn
class OneLocalActivity:
    """The least that a durable side effect can cost."""

    @workflow.run
    async def run(self, what: str) -> str:
        return await workflow.execute_local_activity(
            nothing, what, start_to_close_timeout=timedelta(seconds=10)
        )
