"""A close that no block takes: outbid within the budget, and not a sat beyond it."""

from __future__ import annotations

import pytest

from devnet.house import House
from fulgurite.channels.receipts import CloseView
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient

from . import stories
from .hanging import expires, mining, reaches
from .stories import BUDGET_SAT, HURRIED, Play, bumped, decide, fee_floor

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(600)]


async def test_a_spike_is_outbid_within_the_budget(home: House, client: FulguriteClient) -> None:
    told = await stories.fees_rise(Play(home, client))

    assert told.course == stories.BY_ORDER
    assert told.receipt.status is PaymentState.FAILED
    assert told.closing is not None
    # A commitment has more than that, in vbytes.
    assert told.closing.cost_sat > stories.SPIKE_SAT_PER_VBYTE * 150


async def test_a_spike_above_the_budget_is_waited_out_and_said(
    home: House, client: FulguriteClient
) -> None:
    play = Play(home, client)
    hung = await play.hangs(HURRIED, LadderState.AWAITING_APPROVAL)
    fee_floor(home, 10_000)
    try:
        await decide(lambda: hung.ladder.approve(stories.YES))
        await reaches(hung.ladder, LadderState.CONFIRMING)

        async def view() -> CloseView:
            return await bumped(client, hung)

        await mining(
            home,
            view,
            lambda seen: any("is given out" in line for line in seen.timeline),
            "a budget that is spent",
        )
        await home.network.mine(8)
        assert (await hung.ladder.view()).state is LadderState.CONFIRMING
        assert 0 < (await view()).bumped_sat <= BUDGET_SAT
    finally:
        fee_floor(home, 0)
    await play.climbs_to(hung, LadderState.MATURING)
    await expires(home, hung.stake)
    told = await play.ends_on_chain(hung)

    assert told.receipt.status is PaymentState.FAILED
    assert told.closing is not None
    assert told.closing.cost_sat < 2 * BUDGET_SAT
