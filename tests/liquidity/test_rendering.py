"""A plan on a screen: readable in a narrow terminal, and nothing that people copy cut in two."""

from __future__ import annotations

import pytest
from rich.console import Console

from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import Mode, Remedy
from starter.cli import liquidity_rendering as rendering
from tests.liquidity.worlds import NOW, channel_id, holding, judged, planned

BEGUN = f"rebalance/auto-{channel_id(1)}-0123456789abcdef"


def _shown(width: int) -> list[str]:
    by_number = planned(judged(holding(1, 0.05), holding(2, 0.95)), {Remedy.REBALANCE: 300})
    move = by_number[1].move
    assert move
    begun = move.model_copy(update={"workflow_id": BEGUN})
    wanting = by_number[1].model_copy(update={"move": begun, "peer_alias": "dave " * 6})
    plan = LiquidityPlan(
        node="alice", state=PlanState.BEGUN, mode=Mode.ACT, began_at=NOW, lines=(wanting,)
    )
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(rendering.plan(plan))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [80, 109, 110, 140, 155, 400])
def test_ids_and_sentences_stay_in_one_piece(width: int) -> None:
    lines = _shown(width)
    assert max(map(len, lines)) <= width
    assert [line for line in lines if BEGUN in line]
    [row] = [line for line in lines if line.startswith(f"  {channel_id(1)}")]
    # Under its row where it is narrow, and beside it where there is room.
    assert ("LOCAL_LOW" in row) == (width >= 155)
    if width < 110:
        [sentence] = [line for line in lines if "below 10%" in line]
        assert sentence == (
            "    local 5%, below 10%; rebalance of 450,000 sat for 135 sat (300 ppm)"
        )
