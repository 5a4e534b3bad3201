"""Every course that a workflow of ours can take, each played on the simulated network."""

from __future__ import annotations

from tests.replay import (
    shapes_of_budgets,
    shapes_of_channels,
    shapes_of_events,
    shapes_of_invoices,
    shapes_of_leases,
    shapes_of_liquidity,
    shapes_of_nodes,
    shapes_of_payments,
    shapes_of_rebalances,
    shapes_of_swaps,
)
from tests.replay.recording import Shape

SHAPES: tuple[Shape, ...] = (
    *shapes_of_payments.SHAPES,
    *shapes_of_invoices.SHAPES,
    *shapes_of_events.SHAPES,
    *shapes_of_nodes.SHAPES,
    *shapes_of_channels.SHAPES,
    *shapes_of_leases.SHAPES,
    *shapes_of_liquidity.SHAPES,
    *shapes_of_budgets.SHAPES,
    *shapes_of_rebalances.SHAPES,
    *shapes_of_swaps.SHAPES,
)
