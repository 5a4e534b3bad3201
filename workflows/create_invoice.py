"""The making of an invoice, once for each key of a caller."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.invoices.calls import CREATE_INVOICE
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from workflows.calling import ACTIVITY_ERRORS, call_local, refusal, refused, start_on

_CREATE_AT_MOST = timedelta(minutes=2)


@workflow.defn(name="CreateInvoiceWorkflow")
class CreateInvoiceWorkflow:
    """Makes an invoice and starts its workflow. Its id is `invoice-key/<key>`.

    Run again with the same key and fields, at any time, it gives the same invoice: the
    preimage follows from the key, so that the payment hash does, and LND knows it by that.
    """

    @workflow.run
    async def run(self, request: Any = None) -> CreatedInvoice:
        """Raises ApplicationError, named as in `fulgurite.errors`, for a refused request."""
        try:
            asked = InvoiceRequest.model_validate(request)
        except ValidationError as error:
            raise refused(error) from error
        expected = ids.invoice_key_id(asked.key)
        if workflow.info().workflow_id != expected:
            raise refused(InvalidRequestError(f"this invoice's workflow id must be {expected}"))
        summary = f"invoice {asked.key} of {asked.node}"
        try:
            return await call_local(CREATE_INVOICE, asked, summary=summary)
        except ACTIVITY_ERRORS as error:
            if reason := refusal(error):
                raise reason from error
        # The node is away, or another worker holds its credential: asked where operators see it.
        try:
            return await start_on(
                ids.invoice_queue(asked.node),
                CREATE_INVOICE,
                asked,
                at_most=_CREATE_AT_MOST,
                summary=summary,
            )
        except ACTIVITY_ERRORS as error:
            raise refusal(error) or error from error
