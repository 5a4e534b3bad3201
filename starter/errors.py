"""What can go wrong between a caller and Temporal. None of it says what became of the money."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import Message
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import WorkflowFailureError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from fulgurite.errors import FulguriteError, InvalidRequestError, by_name
from fulgurite.invoices.receipts import InvoiceReceipt


class NotRetainedError(InvalidRequestError):
    """Temporal retains no such payment, invoice, event, ladder or closing."""


class TemporalUnavailableError(FulguriteError):
    """Temporal did not answer. Payments under way go on without the caller."""

    retryable = True


class TemporalRefusedError(FulguriteError):
    """Temporal answers and refuses: the address, namespace, key or set-up is not right."""


class WorkerUnavailableError(FulguriteError):
    """Temporal answers, but no worker does: questions and orders have to wait."""

    retryable = True


class VerdictUnknownError(FulguriteError):
    """The workflow was ended by force. LND may still pay: asking again tells."""

    retryable = True


class NotPaidError(FulguriteError):
    """The invoice has ended unpaid. `receipt` has the rest."""

    def __init__(self, message: str, receipt: InvoiceReceipt) -> None:
        super().__init__(message)
        self.receipt = receipt


@contextmanager
def temporal_errors() -> Iterator[None]:
    """Tells Temporal's own errors in our words.

    Raises TemporalUnavailableError, TemporalRefusedError, WorkerUnavailableError or
    NotRetainedError.
    """
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError as late:
        # The SDK says of a caller that was canceled what it says of a worker that is late; whoever
        # asks again in a loop would never end.
        if isinstance(late.__cause__, asyncio.CancelledError):
            raise late.__cause__ from None
        raise
    except RPCError as error:
        match error.status:
            case RPCStatusCode.NOT_FOUND if _names(error, NamespaceNotFoundFailure):
                raise TemporalRefusedError(
                    f"{error.message} Create it, or set FULGURITE_TEMPORAL_NAMESPACE"
                ) from error
            case RPCStatusCode.NOT_FOUND:
                raise NotRetainedError(
                    "Temporal retains nothing of that name: check the hash or key, or ask LND, "
                    "which keeps everything (`lncli trackpayment HASH`, `lncli lookupinvoice "
                    "HASH`, `lncli closedchannels`)"
                ) from error
            case (
                RPCStatusCode.FAILED_PRECONDITION
                | RPCStatusCode.DEADLINE_EXCEEDED
                | RPCStatusCode.CANCELLED
            ):
                # Only what a worker has to answer is given a deadline; past it the SDK says
                # CANCELLED.
                raise WorkerUnavailableError(
                    "no worker answers: start `fulgurite-worker`, and ask again"
                ) from error
            case RPCStatusCode.INVALID_ARGUMENT:
                raise TemporalRefusedError(
                    f"Temporal refuses the call: {error.message}. If it names a search "
                    "attribute, create them first (docs/api/README.md)"
                ) from error
            case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNAUTHENTICATED:
                raise TemporalRefusedError(
                    f"Temporal does not let us in: {error.message}. Check the API key"
                ) from error
            case _:
                raise TemporalUnavailableError(
                    f"Temporal did not answer ({error.message}). A payment under way goes on; "
                    "ask again"
                ) from error


def _names(error: RPCError, detail: type[Message]) -> bool:
    return any(
        given.TypeName() == detail.DESCRIPTOR.full_name for given in error.grpc_status.details
    )


def told(cause: BaseException) -> FulguriteError | None:
    """The domain error that came back through Temporal as `cause`, if it was one."""
    if not isinstance(cause, ApplicationError):
        return None
    kind = by_name(cause.type or "")
    return kind(cause.message) if kind else None


def of_failed_workflow(failure: WorkflowFailureError, workflow_id: str) -> FulguriteError:
    """Why a workflow has no receipt: refused, or ended by force."""
    return told(failure.cause) or VerdictUnknownError(
        f"{workflow_id} was ended in Temporal before LND's verdict ({failure.cause}), and LND goes "
        "on. Ask for the same again: it learns LND's word, and nothing happens twice"
    )
