"""Ways in which a node's payments can go wrong on request."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace

from devnet.simulated.routes import Route
from protos.lnrpc import lightning_pb2


class Misbehavior:
    """What has been ordered for the next payments of each node; used up in turn."""

    def __init__(self) -> None:
        self._verdicts: defaultdict[str, deque[lightning_pb2.PaymentFailureReason.ValueType]]
        self._verdicts = defaultdict(deque)
        self._surcharges_msat: defaultdict[str, deque[int]] = defaultdict(deque)

    def order_verdict(
        self, node: str, reason: lightning_pb2.PaymentFailureReason.ValueType
    ) -> None:
        self._verdicts[node].append(reason)

    def take_verdict(self, node: str) -> lightning_pb2.PaymentFailureReason.ValueType | None:
        return self._verdicts[node].popleft() if self._verdicts[node] else None

    def order_surcharge(self, node: str, fee_msat: int) -> None:
        self._surcharges_msat[node].append(fee_msat)

    def overcharge(self, node: str, route: Route) -> Route:
        """The route with the ordered surcharge put on its first hop, limit or no limit."""
        if not self._surcharges_msat[node]:
            return route
        extra_msat = self._surcharges_msat[node].popleft()
        first = route.hops[0]
        dearer = replace(first, amount_msat=first.amount_msat + extra_msat)
        return Route((dearer, *route.hops[1:]))

    def clear(self) -> None:
        self._verdicts.clear()
        self._surcharges_msat.clear()
