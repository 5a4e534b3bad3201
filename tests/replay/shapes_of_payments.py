"""The courses that a payment can take, each played on the simulated network."""

from __future__ import annotations

import grpc
import pytest

from devnet.node import ACCEPTED
from devnet.simulated.faults import Refuse
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import NodePubkey
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import keysend
from starter.connect import connect
from tests.replay.recording import Recording, Shape

S = PaymentState
NO_ROUTE = lightning_pb2.FAILURE_REASON_NO_ROUTE
NO_MORE = lightning_pb2.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS
# Longer than the fast path asks, at five questions a second.
_LONGER_THAN_THE_FAST_PATH = 30


async def _settled_at_once(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.ends(S.SUCCEEDED)


async def _keysend(on: Recording) -> None:
    pubkey = NodePubkey((await on.carol.info()).identity_pubkey)
    sealed = keysend(pubkey, sealing_key=on.house.settings.public_sealing_key())
    async with on.worker():
        await on.pay(keysend=sealed, amount_msat=5_000_000)
        await on.ends(S.SUCCEEDED)


async def _held_then_settled(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.IN_FLIGHT)
        await on.carol.settle(invoice)
        await on.ends(S.SUCCEEDED)


async def _held_then_canceled_by_the_payee(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.IN_FLIGHT)
        await on.carol.cancel(invoice)
        await on.ends(S.FAILED)


async def _stuck(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        await on.pay(invoice=invoice.payment_request, stuck_after_seconds=5)
        await on.comes_to(S.STUCK)
        await on.carol.settle(invoice)
        await on.ends(S.SUCCEEDED)


async def _approved(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request, approval_above_msat=1)
        await on.comes_to(S.AWAITING_APPROVAL)
        await payment.approve(Approval(approver="ada", note="as agreed"))
        await on.ends(S.SUCCEEDED)


async def _approved_above_the_nodes_threshold(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    careful = on.house.settings.nodes["alice"].model_copy(update={"approval_above_sat": 1})
    settings = on.house.settings.model_copy(update={"nodes": {"alice": careful}})
    async with on.worker(settings):
        payment = await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.AWAITING_APPROVAL)
        await payment.approve(Approval(approver="ada"))
        await on.ends(S.SUCCEEDED)


async def _rejected(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request, approval_above_msat=1)
        await on.comes_to(S.AWAITING_APPROVAL)
        await payment.reject(Rejection(approver="ada", reason="not ours"))
        await on.ends(S.REJECTED)


async def _approval_expired(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        await on.pay(
            invoice=invoice.payment_request, approval_above_msat=1, approval_expires_seconds=1
        )
        await on.ends(S.EXPIRED)


async def _canceled_before_anything_moved(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request, approval_above_msat=1)
        await on.comes_to(S.AWAITING_APPROVAL)
        await payment.cancel(Cancellation(reason="changed my mind"))
        await on.ends(S.CANCELED)


async def _refused(on: Recording) -> None:
    invoice = await on.carol.invoice(0)
    async with on.worker():
        # A client of another language, which has not read the invoice itself.
        request = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": {"sat": 10}}
        handle = await on.temporal.start_workflow(
            "PaymentWorkflow",
            request,
            id=f"payment/{invoice.payment_hash.hex()}",
            task_queue="fulgurite",
        )
        on.keep(handle.id)
        with pytest.raises(Exception, match="Workflow execution failed"):
            await handle.result()


async def _refused_by_the_node(on: Recording) -> None:
    """To itself: only LND knows who it is."""
    invoice = await on.alice.invoice(50_000_000)
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request)
        with pytest.raises(InvalidRequestError):
            await payment.receipt()


async def _failed_for_good(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    on.network.faults.end_next_payment("alice", NO_MORE)
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.ends(S.FAILED)


async def _failed_then_settled(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    on.network.faults.end_next_payment("alice", NO_ROUTE)
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.ends(S.SUCCEEDED)


async def _waited_for_liquidity(on: Recording) -> None:
    """Bob is to be paid more than alice has; then he pays her, and has it back."""
    bob = on.network.nodes["bob"]
    has_sat = sum(channel.local_balance for channel in await on.alice.channels())
    invoice = await bob.invoice((has_sat + 100_000) * 1_000)

    async def pays_alice(sat: int) -> None:
        to_alice = await on.alice.invoice(sat * 1_000)
        paid = await bob.pay(to_alice.payment_request)
        assert paid.status == lightning_pb2.Payment.SUCCEEDED

    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request, wait_for_liquidity_seconds=600)
        await on.comes_to(S.AWAITING_LIQUIDITY)
        await pays_alice(400_000)
        await payment._handle.signal("liquidity_moved")
        await on.ends(S.SUCCEEDED)
    await pays_alice(has_sat - 300_000)


async def _canceled_between_attempts(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    on.network.faults.end_next_payment("alice", NO_ROUTE)
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.BACKING_OFF)
        await payment.cancel(Cancellation())
        await on.ends(S.FAILED)


async def _canceled_in_flight(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.IN_FLIGHT)
        await payment.cancel(Cancellation(reason="no longer wanted"))
        await on.carol.settle(invoice)
        await on.ends(S.SUCCEEDED)


async def _canceled_in_temporal(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        payment = await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.IN_FLIGHT)
        await payment._handle.cancel()
        await on.carol.cancel(invoice)
        await on.ends(S.FAILED)


async def _delegated(on: Recording) -> None:
    """The worker of the workflows holds no pay credential; another one does."""
    observe = on.alice.macaroon_dir / "observe.macaroon"
    bare = on.house.settings.nodes["alice"].model_copy(
        update={"macaroon_dir": None, "macaroons": {"observe": observe}}
    )
    of_workflows = on.house.settings.model_copy(update={"nodes": {"alice": bare}})
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker(of_workflows):
        await on.pay(invoice=invoice.payment_request)
        await on.comes_to(S.DISPATCHING)
        # As from another process: with a connection of its own.
        async with on.working(await connect(on.house.settings), on.house.settings):
            await on.ends(S.SUCCEEDED)


async def _uncertain(on: Recording) -> None:
    """The node is away for longer than the fast path lasts."""
    refuse = Refuse(grpc.StatusCode.UNAVAILABLE, "connection refused")
    on.network.faults.add("alice", "TrackPaymentV2", refuse, times=_LONGER_THAN_THE_FAST_PATH)
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.ends(S.SUCCEEDED)


async def _continued_as_new(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        await on.pay(invoice=invoice.payment_request, stuck_after_seconds=1)
        await on.comes_to(S.STUCK)
        await on.carol.wait_for_invoice(invoice, ACCEPTED)
        await on.carol.settle(invoice)
        await on.ends(S.SUCCEEDED)


SHAPES: tuple[Shape, ...] = (
    Shape("settled-at-once", _settled_at_once),
    Shape("keysend", _keysend),
    Shape("held-then-settled", _held_then_settled),
    Shape("held-then-canceled-by-the-payee", _held_then_canceled_by_the_payee),
    Shape("stuck", _stuck),
    Shape("approved", _approved),
    Shape("approved-above-the-nodes-threshold", _approved_above_the_nodes_threshold),
    Shape("rejected", _rejected),
    Shape("approval-expired", _approval_expired),
    Shape("canceled-before-anything-moved", _canceled_before_anything_moved),
    Shape("refused", _refused),
    Shape("refused-by-the-node", _refused_by_the_node),
    Shape("failed-for-good", _failed_for_good),
    Shape("failed-then-settled", _failed_then_settled),
    Shape("waited-for-liquidity", _waited_for_liquidity),
    Shape("canceled-between-attempts", _canceled_between_attempts),
    Shape("canceled-in-flight", _canceled_in_flight),
    Shape("canceled-in-temporal", _canceled_in_temporal),
    Shape("delegated", _delegated),
    Shape("uncertain", _uncertain),
    Shape("continued-as-new", _continued_as_new, impatient=True),
    Shape("waited-for-liquidity-over-runs", _waited_for_liquidity, impatient=True),
)
