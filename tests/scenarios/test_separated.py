"""A deployment that keeps the pay credential from the workflow workers loses only speed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient

from .telling import AMOUNT_MSAT, assert_nothing_moved, assert_true, ends, notes, to_pay


@pytest.fixture
def only_observing(home: House, tmp_path: Path) -> dict[str, str]:
    """Settings of a worker whose macaroon folder of alice has no pay macaroon."""
    shutil.copy(home.network.nodes["alice"].macaroon_dir / "observe.macaroon", tmp_path)
    return {"FULGURITE_NODES__ALICE__MACAROON_DIR": str(tmp_path)}


async def test_a_worker_without_the_pay_macaroon_leaves_the_payment_to_one_that_has_it(
    home: House, client: FulguriteClient, only_observing: dict[str, str]
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    async with home.worker("observing", **only_observing):
        payment = await client.pay(to_pay(invoice))
        view = await notes(payment, "holds no pay macaroon of alice")
        assert view.state is PaymentState.DISPATCHING
        await assert_nothing_moved(home, invoice)
        async with home.worker("paying"):
            receipt = await ends(payment)

    assert receipt.status is PaymentState.SUCCEEDED
    assert (receipt.initiated_by_this_run, receipt.sends) == (True, 1)
    await assert_true(home, receipt, invoice)


async def test_a_worker_that_loses_the_pay_macaroon_strands_nothing(
    home: House, client: FulguriteClient, temporal: Client, tmp_path: Path
) -> None:
    """It polled the node's queue when it still had the file; the file comes back later."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    shutil.copytree(home.network.nodes["alice"].macaroon_dir, tmp_path / "alice")
    pay = tmp_path / "alice" / "pay.macaroon"
    secret = pay.read_bytes()
    settings = {"FULGURITE_NODES__ALICE__MACAROON_DIR": str(pay.parent)}
    async with home.worker("rotating", **settings):
        pay.unlink()
        payment = await client.pay(to_pay(invoice))
        described = await eventually(
            temporal.get_workflow_handle(ids.payment_id(payment.payment_hash)).describe,
            lambda described: any(
                activity.attempt > 1 for activity in described.raw_description.pending_activities
            ),
            what="the activity on the node's queue to be tried again",
            timeout_seconds=20,
        )
        [activity] = described.raw_description.pending_activities
        assert "no pay macaroon" in activity.last_failure.message
        pay.write_bytes(secret)
        receipt = await ends(payment)

    assert receipt.status is PaymentState.SUCCEEDED
    await assert_true(home, receipt, invoice)
