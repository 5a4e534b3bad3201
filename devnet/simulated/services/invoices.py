"""invoicesrpc.Invoices: invoices whose HTLCs wait for a decision."""

from __future__ import annotations

from devnet.simulated.errors import RpcError
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.requests import HASH_BYTES
from protos.invoicesrpc import invoices_pb2


class InvoicesService:
    def __init__(self, registry: InvoiceRegistry) -> None:
        self._registry = registry

    async def add_hold_invoice(
        self, request: invoices_pb2.AddHoldInvoiceRequest
    ) -> invoices_pb2.AddHoldInvoiceResp:
        _check_length("hash", request.hash)
        invoice = self._registry.add(
            memo=request.memo,
            preimage=None,
            payment_hash=request.hash,
            value_msat=request.value_msat,
            expiry_seconds=request.expiry,
            final_cltv_delta_blocks=request.cltv_expiry,
            private=request.private,
        )
        return invoices_pb2.AddHoldInvoiceResp(
            payment_request=invoice.payment_request,
            add_index=invoice.add_index,
            payment_addr=invoice.request.payment_addr,
        )

    async def settle_invoice(
        self, request: invoices_pb2.SettleInvoiceMsg
    ) -> invoices_pb2.SettleInvoiceResp:
        _check_length("preimage", request.preimage)
        self._registry.settle(request.preimage)
        return invoices_pb2.SettleInvoiceResp()

    async def cancel_invoice(
        self, request: invoices_pb2.CancelInvoiceMsg
    ) -> invoices_pb2.CancelInvoiceResp:
        _check_length("hash", request.payment_hash)
        self._registry.cancel(request.payment_hash)
        return invoices_pb2.CancelInvoiceResp()


def _check_length(what: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise RpcError(f"invalid {what} length of {len(value)}, want {HASH_BYTES}")
