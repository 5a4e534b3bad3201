"""Asking a budget while what serves it comes and goes."""

from __future__ import annotations

from collections.abc import Callable

from devnet.waiting import eventually
from fulgurite.budgets.receipts import BudgetView
from starter.client import FulguriteClient
from starter.errors import TemporalUnavailableError, WorkerUnavailableError


async def stands(
    client: FulguriteClient,
    name: str,
    until: Callable[[BudgetView], bool] = lambda _: True,
) -> BudgetView:
    """The view, once somebody gives one that satisfies `until`."""

    async def ask() -> BudgetView | None:
        try:
            return await client.budget(name).view()
        except (TemporalUnavailableError, WorkerUnavailableError):
            return None  # a worker that died is missed after ten seconds

    view = await eventually(
        ask,
        lambda seen: seen is not None and until(seen),
        what=f"budget {name}",
        timeout_seconds=120,
    )
    assert view is not None
    return view
