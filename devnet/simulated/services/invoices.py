"""invoicesrpc.Invoices: invoices one at a time, and those that wait for a decision."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from devnet.simulated.errors import RpcError
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.marshal import invoice_message
from devnet.simulated.requests import HASH_BYTES
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2


class InvoicesService:
    def __init__(self, registry: InvoiceRegistry) -> None:
        self._registry = registry

    def subscribe_single_invoice(
        self, request: invoices_pb2.SubscribeSingleInvoiceRequest
    ) -> AsyncIterator[lightning_pb2.Invoice]:
        _check_length("hash", request.r_hash)
        return self._registry.feed.follow_one(request.r_hash)

    async def lookup_invoice_v2(
        self, request: invoices_pb2.LookupInvoiceMsg
    ) -> lightning_pb2.Invoice:
        """No invoice here is of AMP, so none is ever found by a set id."""
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        reference = request.WhichOneof("invoice_ref")
        invoice = None
        if reference is None:
            raise RpcError("invoice ref must be set", invalid)
        if reference == "payment_hash":
            try:
                _check_length("hash", request.payment_hash)
            except RpcError as error:
                raise RpcError(f"unable to parse pay hash: {error.text}", invalid) from error
            invoice = self._registry.database.find(request.payment_hash)
        elif reference == "payment_addr":
            invoice = self._registry.database.find_by_address(request.payment_addr)
        if invoice is None:
            raise RpcError("unable to locate invoice", grpc.StatusCode.NOT_FOUND)
        return invoice_message(invoice)

    async def add_hold_invoice(
        self, request: invoices_pb2.AddHoldInvoiceRequest
    ) -> invoices_pb2.AddHoldInvoiceResp:
        _check_length("hash", request.hash)
        invoice = self._registry.add(read_terms(request), request.hash, preimage=None)
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
