"""The typed client: a relay begun, looked at, called off, and refused."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
from temporalio.client import Client

from devnet.house import House
from fulgurite import ids
from fulgurite.errors import (
    InvalidRequestError,
    KeyReusedError,
    SelfPaymentError,
    UnknownNodeError,
)
from fulgurite.identity import PaymentHash
from fulgurite.money import Msat
from fulgurite.payments.states import PaymentState
from fulgurite.relays.requests import RelayCancellation
from fulgurite.relays.states import RelayState
from starter import relay as relays
from starter.client import FulguriteClient
from starter.errors import NotRetainedError, WorkerUnavailableError
from tests.relays.telling import AMOUNT_MSAT, ASKED_MSAT, SIMULATED_ONLY, a_relay, hash_of

pytestmark = SIMULATED_ONLY


@pytest.mark.usefixtures("working")
async def test_a_relay_is_begun_once_and_can_be_called_off_twice(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    view = await client.begin_relay(a_relay(invoice))
    relay = client.relay(f"relay/{view.payment_hash}")
    again = await client.begin_relay(a_relay(invoice))

    assert (view.state, view.payment_hash) == (RelayState.OPEN, hash_of(invoice))
    assert (again.payment_request, again.asked_msat) == (view.payment_request, Msat(ASKED_MSAT))
    assert (await relay.view()).state is RelayState.OPEN
    with pytest.raises(KeyReusedError, match="on other terms"):
        await client.begin_relay(a_relay(invoice, {"memo": "another"}))

    called_off = RelayCancellation(by="ann", reason="the goods are gone")
    await relay.cancel(called_off)
    receipt = await relay.receipt()
    assert receipt.status is RelayState.CANCELED
    assert (await relay.cancel(called_off)).state is RelayState.CANCELED
    assert [each.state async for each in relay.watch()] == [RelayState.CANCELED]


@pytest.mark.usefixtures("working")
async def test_a_relay_that_has_ended_is_not_begun_again_and_tells_no_loss(
    home: House, client: FulguriteClient
) -> None:
    """Somebody pays the payee after it: that is no loss of the relay's, whoever repeats a call."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = a_relay(invoice, {"expiry_seconds": 1})
    relay = client.relay((await client.begin_relay(request)).payment_hash)
    ended = await relay.receipt()
    assert ended.status is RelayState.EXPIRED
    paid = await (await client.pay(request.outgoing)).receipt()
    assert paid.status is PaymentState.SUCCEEDED

    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="has ended as EXPIRED: ask the payee for"):
            await client.begin_relay(request)
    assert await relay.receipt() == ended


@pytest.mark.usefixtures("working")
async def test_a_relay_that_was_refused_or_ended_by_force_is_begun_again(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    with pytest.raises(UnknownNodeError):
        await client.begin_relay(a_relay(invoice, {"node": "mallory"}))
    view = await client.begin_relay(a_relay(invoice))
    await temporal.get_workflow_handle(ids.relay_id(view.payment_hash)).terminate("a test")
    again = await client.begin_relay(a_relay(invoice))

    assert (again.state, again.payment_request) == (RelayState.OPEN, view.payment_request)
    await client.relay(view.payment_hash).cancel(RelayCancellation(by="ann"))


@pytest.mark.usefixtures("working")
async def test_a_relay_that_cannot_be_is_refused_by_the_reasons_own_name(
    home: House, client: FulguriteClient
) -> None:
    with pytest.raises(SelfPaymentError, match="pay from another node"):
        await client.begin_relay(a_relay(await home.network.nodes["bob"].invoice(AMOUNT_MSAT)))
    with pytest.raises(InvalidRequestError, match="payment list"):
        client.relay("nonsense")
    with pytest.raises(NotRetainedError):
        await client.relay(PaymentHash(secrets.token_hex(32))).view()


async def test_without_a_worker_a_relay_says_what_to_do_and_is_joined_later(
    home: House, client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "_PATIENCE", timedelta(seconds=1))
    request = a_relay(await home.network.nodes["carol"].invoice(AMOUNT_MSAT))
    with pytest.raises(WorkerUnavailableError, match="The same request again"):
        await client.begin_relay(request)
    monkeypatch.undo()
    async with home.worker("late"):
        assert (await client.begin_relay(request)).state is RelayState.OPEN
