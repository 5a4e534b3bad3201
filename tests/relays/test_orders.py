"""In any order of what happens on both sides, nothing is given back that is still needed."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError

from fulgurite import ids
from fulgurite.errors import InvoiceExpiredError
from fulgurite.events.catalogue import EventType
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.relays.receipts import RelayReceipt, RelayWarning
from fulgurite.relays.requests import RelayCancellation, RelayRequest, understand_relay
from fulgurite.relays.states import RelayState
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import NewRun, Temporal, run, standing_in
from tests.relays.model_world import BLOCK_SECONDS, FEE_MSAT, LND_CANCELS_BLOCKS, ModelWorld
from tests.relays.scripts import Order, Run, Script
from tests.unit.invoices import written
from workflows.relay import RelayWorkflow

HOUR, DAY = 3_600.0, 86_400.0

REQUEST = RelayRequest.model_validate(
    {
        "incoming": {"node": "bob", "fee_msat": 7_000, "expiry_seconds": 600},
        "outgoing": {
            "node": "bob",
            "invoice": written(created_at=int(EPOCH.timestamp()), expiry_seconds=7_200),
            "fee_limit": {"msat": 2_000},
            "deadline_seconds": 120,
        },
    }
)
PLAN = understand_relay(REQUEST)

moments = st.sampled_from([0.3, 2.0, 30.0, 70.0, 599.0, HOUR, 10 * HOUR, 2 * DAY])
scripts = st.builds(
    Script,
    held_after_seconds=st.none() | st.sampled_from([0.5, 5.0, 590.0]),
    fates=st.lists(st.tuples(st.sampled_from([0.1, 20.0, HOUR, DAY, 9 * DAY]), st.booleans())),
    runs=st.lists(st.sampled_from(Run), max_size=4),
    orders=st.lists(st.sampled_from(Order), max_size=4),
    other_orders=st.sampled_from(Order),
    nudges=st.lists(st.booleans(), max_size=3),
    answer_seconds=st.lists(st.sampled_from([0.0, 0.1, 3.0, 118.0, 400.0, 5_000.0]), max_size=12),
    local_fails=st.lists(st.booleans(), max_size=4),
    taken_back_after_seconds=st.none() | moments,
    canceled_after_seconds=st.none() | moments,
    ended_after_seconds=st.none() | moments | st.floats(0.5, 15.0),
    gone_seconds=st.sampled_from([10.0, HOUR, DAY]),
    blocks_meanwhile=st.sampled_from([0, 300, 430]),
    new_run_after_steps=st.lists(st.integers(1, 8), max_size=3),
)


def a_script(**what: Any) -> Script:
    """Everything at once and as it should be, but for `what`."""
    smooth: dict[str, Any] = {
        "held_after_seconds": 0.5,
        "fates": [],
        "runs": [],
        "orders": [],
        "other_orders": Order.OBEYED,
        "nudges": [],
        "answer_seconds": [],
        "local_fails": [],
        "taken_back_after_seconds": None,
        "canceled_after_seconds": None,
        "ended_after_seconds": None,
        "gone_seconds": HOUR,
        "blocks_meanwhile": 0,
        "new_run_after_steps": [],
    }
    return Script(**smooth | what)


class Course:
    """One relay, through every run of it, until it has a receipt."""

    def __init__(self, script: Script) -> None:
        self._script = script = deepcopy(script)
        self.world = ModelWorld(PLAN, script)
        self._relay: RelayWorkflow | None = None

    async def run(self) -> RelayReceipt | None:
        """None: refused before anything moved, because LND was away for too long."""
        if self._script.canceled_after_seconds is not None:
            self.world.spawn(self._call_off(self._script.canceled_after_seconds))
        carried: Any = None
        while True:
            try:
                receipt = await self._one_run(carried)
            except ApplicationError as error:
                if error.type != InvoiceExpiredError.__name__:
                    raise
                return None
            except NewRun as order:
                carried = order.carried
                self.world.new_run(durable=carried.paid)
                continue
            if receipt is not None:
                return receipt
            # Ended by force: whoever asks again knows nothing of it.
            carried = None
            self.world.new_run(durable=False)
            self.world.forgotten()
            # So many blocks take their time: what was about to be sent has been by then.
            least = HOUR if self._script.blocks_meanwhile else 0.0
            await asyncio.sleep(max(self._script.gone_seconds, least))
            self.world.extra_blocks += self._script.blocks_meanwhile

    async def _one_run(self, carried: Any) -> RelayReceipt | None:
        """Its receipt; None when it was ended by force."""
        temporal = Temporal(
            self.world, ids.relay_id(PLAN.payment_hash), continued=carried is not None
        )
        with standing_in(temporal):
            data = carried and carried.model_dump(mode="json")
            relay = self._relay = RelayWorkflow(REQUEST, data)
            self.world.nudged = relay._moved
            running = asyncio.create_task(relay.run(REQUEST, data))
            ended_after, self._script.ended_after_seconds = self._script.ended_after_seconds, None
            await asyncio.wait({running}, timeout=ended_after)
            if running.done():
                return running.result()
            await self._end_by_force()
            return None

    async def _end_by_force(self) -> None:
        self._relay = self.world.nudged = None
        own = asyncio.all_tasks() - self.world.background - {asyncio.current_task()}
        while own:
            for task in own:
                task.cancel()
            await asyncio.wait(own, timeout=0)
            own = {task for task in own if not task.done()}

    async def _call_off(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        if self._relay:
            self.world.told_no_more()
            RelayWorkflow.cancel(self._relay, RelayCancellation(by="an operator"))


def _nobody_came(script: Script) -> bool:
    """Whether there was no relay for as long as LND holds upstream."""
    held_blocks = PLAN.invoice.cltv_expiry_blocks
    assert held_blocks is not None
    gone_blocks = script.gone_seconds / BLOCK_SECONDS + script.blocks_meanwhile
    return script.ended_after_seconds is not None and gone_blocks > held_blocks - LND_CANCELS_BLOCKS


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scripts)
# Ended by force when LND has settled and nobody has heard of it, and when it is taken back
# while nobody is there to see it.
@example(a_script(ended_after_seconds=2.25))
@example(a_script(ended_after_seconds=2.0, gone_seconds=DAY, blocks_meanwhile=430))
@example(a_script(fates=[(DAY, True)], ended_after_seconds=5.0, taken_back_after_seconds=30.0))
@example(a_script(fates=[(DAY, False)], ended_after_seconds=5.0, taken_back_after_seconds=30.0))
# What a payment that was ended by force still sends arrives when it is too late to send.
@example(a_script(runs=[Run.FORCED_SENDING], answer_seconds=[0.1] * 5 + [118.0, 2.0]))
def test_no_order_of_things_loses_what_a_relay_holds(script: Script) -> None:
    """The world itself asserts, at each order, that it may be given at that moment."""
    course = Course(script)
    receipt = run(course.run())
    world = course.world
    assert not world.outcries
    if receipt is None:
        assert (world.upstream, world.sends) == (None, 0)
        return
    paid = world.paid
    taken = world.upstream is LndInvoiceState.SETTLED

    assert not world.downstream_is_open or paid
    match receipt.status:
        case RelayState.SETTLED:
            assert taken
            assert receipt.kept_msat == PLAN.amount - (PLAN.order.amount + FEE_MSAT if paid else 0)
            assert paid or RelayWarning.SETTLED_UNPAID in receipt.warnings
        case RelayState.CANCELED | RelayState.EXPIRED:
            assert not taken
            assert not paid
            assert receipt.kept_msat == 0
        case RelayState.LOST:
            assert not taken
            assert paid
            assert world.events[-1] is EventType.RELAY_LOST
            assert receipt.kept_msat == -(PLAN.order.amount + FEE_MSAT)
            # Never by the relay's own doing: its payments end before what it holds must be.
            assert world.taken_back_at is not None or world.another_paid or _nobody_came(script)
            assert world.landed_at is not None
            if world.landed_at - (world.taken_back_at or world.landed_at) > 4 * HOUR:
                assert EventType.RELAY_LOSS_POSSIBLE in world.events
        case _:
            raise AssertionError(f"{receipt.status} with {script}")
