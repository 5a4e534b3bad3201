"""What a close has cost, where LND no longer says all of it."""

from __future__ import annotations

import asyncio

import pytest

from fulgurite.channels.closing import ClosePhase, CloseType
from fulgurite.channels.receipts import CloseReceipt
from fulgurite.channels.requests import CloseKind
from tests.unit.closing_world import BLOCK_SECONDS, START, Lnd, order

SEEN_WHILE_OPEN_SAT = 987
SWEEPS_SAT = 100


def followed(lnd: Lnd, *, told_after_blocks: float) -> CloseReceipt:
    """The peer has closed it, and nobody looked before outputs were swept."""
    lnd.phase, lnd.confirms_at = ClosePhase.WAITING_CLOSE, START

    async def story() -> None:
        await asyncio.sleep(told_after_blocks * BLOCK_SECONDS)
        lnd.join(order(CloseKind.FOLLOW), "stuck/other", commit_fee_sat=SEEN_WHILE_OPEN_SAT)
        lnd.join(order(CloseKind.FOLLOW))  # of somebody who knows nothing

    return lnd.run(order(CloseKind.FOLLOW), story)


@pytest.mark.parametrize("blocks", [0, 2.5], ids=["before-a-look", "after-looks"])
def test_what_was_seen_while_it_was_open_is_told_where_lnd_says_nothing(blocks: float) -> None:
    lnd = Lnd()
    lnd.commit_fee_sat = 0

    receipt = followed(lnd, told_after_blocks=blocks)

    assert receipt.cost_sat == SEEN_WHILE_OPEN_SAT + SWEEPS_SAT
    last = lnd.heard[-1][1].closing
    assert last is not None
    assert last.cost_sat == receipt.cost_sat


def test_lnds_own_word_is_the_better_one() -> None:
    assert followed(Lnd(), told_after_blocks=0).cost_sat == 200 + SWEEPS_SAT


def test_a_close_in_agreement_has_no_commitment_to_pay_for() -> None:
    lnd = Lnd()
    lnd.commit_fee_sat, lnd.close_type = 0, CloseType.COOPERATIVE

    assert followed(lnd, told_after_blocks=0).cost_sat == SWEEPS_SAT
