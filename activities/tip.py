"""The chain's tip, for a decision that must not wait for one that cannot be read."""

from __future__ import annotations

import time
from typing import Final

from temporalio import activity

from fulgurite.errors import FulguriteError
from nodes.lnd.invoices import LndInvoices

# A block comes every ten minutes: hardly ever as many as the decision is ahead of its limit.
IN_THE_DARK_SECONDS: Final = 600.0


class Tip:
    """As one node sees it, by its observe macaroon, which can be revoked at any time."""

    def __init__(self, node: LndInvoices) -> None:
        self._node = node
        self._dark_since: float | None = None

    async def height(self, until_height: int) -> int:
        """0 while it cannot be read, and `until_height` when that has been so for too long.

        The decision can still be carried out: LND has just said that it holds the invoice.
        """
        try:
            height = await self._node.height()
        except FulguriteError as error:
            now = time.monotonic()
            self._dark_since = now if self._dark_since is None else self._dark_since
            if now - self._dark_since < IN_THE_DARK_SECONDS:
                return 0
            because = {"because": str(error)}
            activity.logger.warning("no tip for too long: the decision is due", extra=because)
            return until_height
        self._dark_since = None
        return height
