"""What a payment that waits for liquidity asks of the autopilot, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from temporalio.workflow import ParentClosePolicy

from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.payments.progress import Progress
from fulgurite.payments.requests import PaymentRequest, understand
from fulgurite.payments.states import PaymentEvent
from tests.relays.model_temporal import run
from tests.unit.stage import Stage, World
from workflows import payment_liquidity
from workflows.payment_liquidity import LiquidityWait

DAY_SECONDS = 86_400
# A person is asked for each plan, and thinks.
PLAN_SECONDS = 5 * 3_600
REQUEST = PaymentRequest.model_validate(
    {
        "node": "alice",
        "keysend": {
            "destination": "02" + "ef" * 32,
            "payment_hash": "ab" * 32,
            "sealed_preimage": "sealed1:" + "A" * 107 + "=",
        },
        "amount_msat": 1_000,
        "fee_limit": {"sat": 0},
        "deadline_seconds": 2 * DAY_SECONDS,
        "wait_for_liquidity_seconds": DAY_SECONDS,
    }
)


class Autopilot(Stage):
    ParentClosePolicy = ParentClosePolicy

    def __init__(self) -> None:
        super().__init__(World(_nobody), "payment/" + "ab" * 32)
        self.plans: list[LiquidityRequest] = []
        self.under_way = self.most_at_once = 0

    async def start_child_workflow(self, _: Any, *given: Any, **__: Any) -> asyncio.Task[None]:
        self.plans += given
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        return asyncio.create_task(self._think())

    async def _think(self) -> None:
        await asyncio.sleep(PLAN_SECONDS)
        self.under_way -= 1


async def _nobody(name: str, ask: Any) -> Any:
    raise AssertionError(f"nobody does {name} here: {ask}")


async def _waits_for_a_day(autopilot: Autopilot) -> list[PaymentEvent]:
    attempts = []
    progress = Progress(requested_at=autopilot.now())
    progress.awaits_liquidity_since, progress.failures = autopilot.now(), 1
    waiting = LiquidityWait(progress, REQUEST, understand(REQUEST), lambda _: None)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + DAY_SECONDS:
        event, _ = await waiting.over()
        attempts.append(event)
        progress.failures += 1
    return attempts


def test_a_payment_that_waits_for_a_day_has_one_plan_at_a_time() -> None:
    async def story() -> tuple[Autopilot, list[PaymentEvent]]:
        autopilot = Autopilot()
        with mock.patch.object(payment_liquidity, "workflow", autopilot):
            return autopilot, await _waits_for_a_day(autopilot)

    autopilot, attempts = run(story())
    assert autopilot.most_at_once == 1
    assert DAY_SECONDS // (PLAN_SECONDS + 3_600) <= len(autopilot.plans) <= 5
    # And LND is asked as seldom as between any two attempts.
    assert set(attempts) == {PaymentEvent.DISPATCHED}
    assert len(attempts) <= DAY_SECONDS / 300 + 10
