"""The one table that turns what LND answers into what we mean.

Plain Go errors arrive with the status UNKNOWN, so their texts are all there is to tell
them by; the texts below were read in lnd 0.21 and are matched as parts, lower case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from fulgurite.errors import (
    AlreadyExistsError,
    AmountError,
    CredentialError,
    FulguriteError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceExpiredError,
    InvoiceNotFoundError,
    MalformedInvoiceError,
    NodeNotReadyError,
    NodeUnavailableError,
    PaymentNotFoundError,
    RefusedByNodeError,
    SelfPaymentError,
    UnexpectedAnswerError,
    UnsupportedVersionError,
    WrongNetworkError,
)


@dataclass(frozen=True)
class _Row:
    """An error and what its reader should do; `text` None matches by code alone."""

    code: grpc.StatusCode | None
    text: str | None
    error: type[FulguriteError]
    advice: str


_C = grpc.StatusCode

_TABLE = (
    # Invoices. Adding one twice is an error; settling or canceling twice is none.
    _Row(None, "invoice with payment hash already exists", InvoiceExistsError, "Look it up."),
    _Row(None, "unable to locate invoice", InvoiceNotFoundError, "Is it another node's?"),
    _Row(None, "there are no existing invoices", InvoiceNotFoundError, "Is it another node's?"),
    _Row(None, "invoice already canceled", InvoiceDecidedError, "Look the invoice up."),
    _Row(None, "invoice already settled", InvoiceDecidedError, "Look the invoice up."),
    _Row(None, "invoice still open", InvoiceDecidedError, "Wait until it is paid."),
    _Row(None, "memo too large", RefusedByNodeError, "Shorten the memo, or give its hash."),
    _Row(None, "is too large, max is", AmountError, "Ask for less."),
    _Row(None, "invalid fallback address", RefusedByNodeError, "Copy the address whole."),
    _Row(None, "fallback address is not for", WrongNetworkError, "Give an address of there."),
    _Row(None, "greater than max expiry", RefusedByNodeError, "A year is the longest."),
    _Row(None, "cltv delta of", RefusedByNodeError, "Use 18 … 2,016 blocks."),
    # Payments. ALREADY_EXISTS covers initiated, in flight and settled: branch on the code.
    _Row(_C.ALREADY_EXISTS, None, AlreadyExistsError, "Track the payment."),
    _Row(_C.NOT_FOUND, "payment isn't initiated", PaymentNotFoundError, "Ask again after a send."),
    _Row(None, "invoice expired", InvoiceExpiredError, "Ask the payee for a new invoice."),
    _Row(None, "not for current active network", WrongNetworkError, "Pay from a node there."),
    _Row(None, "self-payments not allowed", SelfPaymentError, "Pay from another node."),
    _Row(None, "amount must be specified", AmountError, 'Give "amount_msat", above 0.'),
    _Row(None, "amount must not be specified", AmountError, 'Leave "amount_msat" out.'),
    _Row(None, "checksum failed", MalformedInvoiceError, "Copy the invoice whole."),
    _Row(None, "time preference out of range", RefusedByNodeError, "Use -1 … 1."),
    _Row(None, "requested max_parts", RefusedByNodeError, "Lower max_parts."),
    _Row(None, "cltv limit", RefusedByNodeError, "Raise cltv_limit_blocks."),
    _Row(None, "total time lock of", RefusedByNodeError, "Lower cltv_limit_blocks."),
    _Row(None, "payment request must contain", RefusedByNodeError, "Ask for a new invoice."),
    _Row(None, "destination doesn't", RefusedByNodeError, "The payee takes no payment in parts."),
    _Row(None, "keysend payments cannot", RefusedByNodeError, "Send the keysend in one part."),
    _Row(None, "exceeds maximum allowed", RefusedByNodeError, "Pay less at once."),
    # The node: locked, starting, or not to be reached.
    _Row(None, "wallet locked", NodeNotReadyError, "Unlock the node's wallet."),
    _Row(None, "wallet not created", NodeNotReadyError, "Create the node's wallet."),
    _Row(None, "waiting to start", NodeNotReadyError, "Wait; look at the node's log."),
    _Row(None, "not yet ready", NodeNotReadyError, "Wait until the node has started."),
    _Row(None, "server is still in the process", NodeNotReadyError, "Wait for the node."),
    # The credential. lnd says all of these with UNKNOWN.
    _Row(None, "permission denied", CredentialError, "Bake one with the role's permissions."),
    _Row(None, "expected 1 macaroon", CredentialError, "Configure the role's macaroon."),
    _Row(None, "verification failed", CredentialError, "It is another node's: replace it."),
    _Row(None, "cannot get macaroon", CredentialError, "The macaroon was revoked: bake a new one."),
    _Row(None, "cannot determine data format", CredentialError, "The file is damaged: bake anew."),
    _Row(_C.PERMISSION_DENIED, None, CredentialError, "Bake a macaroon for the role."),
    _Row(_C.UNAUTHENTICATED, None, CredentialError, "Configure the role's macaroon."),
    # By code alone. None of these says whether the call had its effect.
    _Row(_C.UNAVAILABLE, None, NodeUnavailableError, "Is the node up, and its address right?"),
    _Row(_C.DEADLINE_EXCEEDED, None, NodeUnavailableError, "The node answers too slowly."),
    _Row(_C.CANCELLED, None, NodeUnavailableError, "The connection was cut."),
    _Row(_C.ABORTED, None, NodeUnavailableError, "The connection was cut."),
    _Row(_C.RESOURCE_EXHAUSTED, None, NodeUnavailableError, "The node is overloaded."),
    _Row(_C.UNIMPLEMENTED, None, UnsupportedVersionError, "Upgrade the node."),
    _Row(_C.INVALID_ARGUMENT, None, RefusedByNodeError, "Mend the request."),
)  # fmt: skip

_UNKNOWN = _Row(None, None, UnexpectedAnswerError, "Read the node's log.")


def domain_error(node: str, error: grpc.aio.AioRpcError) -> FulguriteError:
    """What `error` of `node` means. Its text is quoted: lnd puts no secret into an error."""
    code, text = error.code(), (error.details() or "").lower()
    row = next(
        (
            row
            for row in _TABLE
            if (row.code is None or row.code is code) and (row.text is None or row.text in text)
        ),
        _UNKNOWN,
    )
    return row.error(f"{node}: {error.details() or code.name}. {row.advice}")


@contextmanager
def domain_errors(node: str) -> Iterator[None]:
    """Raises what gRPC raises inside as a FulguriteError."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise domain_error(node, error) from error
