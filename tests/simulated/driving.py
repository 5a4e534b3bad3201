"""Calls that the tests make often, with nothing hidden that a client would see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import pytest

from devnet.node import LightningNode
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

Payment = lightning_pb2.Payment
Reason = lightning_pb2.PaymentFailureReason


@contextmanager
def refused(code: grpc.StatusCode, text: str) -> Iterator[None]:
    """Expects a call to end with this status; `text` is part of what it says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert (caught.value.code(), text in (caught.value.details() or "")) == (code, True), (
        caught.value
    )


@contextmanager
def allowed_to_end(*codes: grpc.StatusCode) -> Iterator[None]:
    """Lets a call end with one of these statuses, or well."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() not in codes:
            raise


def to_pay(payment_request: str, **fields: object) -> router_pb2.SendPaymentRequest:
    request = router_pb2.SendPaymentRequest(
        payment_request=payment_request, fee_limit_msat=100_000, timeout_seconds=60
    )
    request.MergeFrom(router_pb2.SendPaymentRequest(**fields))  # type: ignore[arg-type]
    return request


async def send(
    node: LightningNode, request: router_pb2.SendPaymentRequest, timeout: float | None = 10
) -> list[Payment]:
    """Every message of a SendPaymentV2, up to the stream's end."""
    async with node.router() as router:
        return [update async for update in router.SendPaymentV2(request, timeout=timeout)]


async def track(
    node: LightningNode, payment_hash: bytes, timeout: float | None = 10
) -> list[Payment]:
    """Every message of a TrackPaymentV2, up to the stream's end."""
    request = router_pb2.TrackPaymentRequest(payment_hash=payment_hash)
    async with node.router() as router:
        return [update async for update in router.TrackPaymentV2(request, timeout=timeout)]


@asynccontextmanager
async def sending(
    node: LightningNode, request: router_pb2.SendPaymentRequest
) -> AsyncIterator[asyncio.Task[list[Payment]]]:
    """A payment under way, as a task; entered once the node knows of it."""
    task = asyncio.create_task(send(node, request, timeout=None))
    payment_hash = request.payment_hash
    if request.payment_request:
        async with node.lightning() as lightning:
            read = await lightning.DecodePayReq(
                lightning_pb2.PayReqString(pay_req=request.payment_request)
            )
        payment_hash = bytes.fromhex(read.payment_hash)
    try:
        await eventually(lambda: node.payment(payment_hash), what="the payment", timeout_seconds=5)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def word(node: LightningNode, payment_hash: bytes) -> tuple[str, str]:
    """The node's present word on a payment: its status and its reason, by name."""
    payment = await node.payment(payment_hash)
    assert payment is not None
    return Payment.PaymentStatus.Name(payment.status), Reason.Name(payment.failure_reason)


async def ends(
    node: LightningNode, payment_hash: bytes, status: Payment.PaymentStatus.ValueType
) -> Payment:
    """Waits until the node says `status` of a payment."""

    async def ask() -> Payment | None:
        return await node.payment(payment_hash)

    found = await eventually(
        ask,
        lambda payment: payment is not None and payment.status == status,
        what=f"payment in status {status}",
        timeout_seconds=5,
    )
    assert found is not None
    return found
