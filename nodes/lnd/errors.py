"""The one table that turns what LND answers into what we mean.

Plain Go errors arrive with the status UNKNOWN, so their texts are all there is to tell
them by; the texts below were read in lnd 0.21 and are matched as parts, lower case.
"""

from __future__ import annotations

import grpc

from fulgurite.errors import (
    AlreadyExistsError,
    AmountError,
    BackupError,
    ChannelBusyError,
    ChannelClosingError,
    ChannelNotFoundError,
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
    PeerOfflineError,
    PeerOnlineError,
    PeerUnreachableError,
    RefusedByNodeError,
    RouteNotFoundError,
    SelfPaymentError,
    UnexpectedAnswerError,
    UnsupportedVersionError,
    WrongNetworkError,
)
from nodes.answers import Row, message_of, row_of, told_by

_C = grpc.StatusCode

_TABLE = (
    # Invoices. Adding one twice is an error; settling or canceling twice is none.
    Row(None, "invoice with payment hash already exists", InvoiceExistsError, "Look it up."),
    Row(None, "unable to locate invoice", InvoiceNotFoundError, "Is it another node's?"),
    Row(None, "there are no existing invoices", InvoiceNotFoundError, "Is it another node's?"),
    Row(None, "invoice already canceled", InvoiceDecidedError, "Look the invoice up."),
    Row(None, "invoice already settled", InvoiceDecidedError, "Look the invoice up."),
    Row(None, "invoice still open", InvoiceDecidedError, "Wait until it is paid."),
    Row(None, "memo too large", RefusedByNodeError, "Shorten the memo, or give its hash."),
    Row(None, "is too large, max is", AmountError, "Ask for less."),
    Row(None, "invalid fallback address", RefusedByNodeError, "Copy the address whole."),
    Row(None, "fallback address is not for", WrongNetworkError, "Give an address of there."),
    Row(None, "greater than max expiry", RefusedByNodeError, "A year is the longest."),
    Row(None, "cltv delta of", RefusedByNodeError, "Use 18 … 2,016 blocks."),
    # Payments. ALREADY_EXISTS covers initiated, in flight and settled: branch on the code.
    Row(_C.ALREADY_EXISTS, None, AlreadyExistsError, "Track the payment."),
    Row(_C.NOT_FOUND, "payment isn't initiated", PaymentNotFoundError, "Ask again after a send."),
    Row(None, "invoice expired", InvoiceExpiredError, "Ask the payee for a new invoice."),
    Row(None, "not for current active network", WrongNetworkError, "Pay from a node there."),
    Row(None, "self-payments not allowed", SelfPaymentError, "Pay from another node."),
    Row(None, "amount must be specified", AmountError, 'Give "amount_msat", above 0.'),
    Row(None, "amount must not be specified", AmountError, 'Leave "amount_msat" out.'),
    Row(None, "checksum failed", MalformedInvoiceError, "Copy the invoice whole."),
    Row(None, "time preference out of range", RefusedByNodeError, "Use -1 … 1."),
    Row(None, "requested max_parts", RefusedByNodeError, "Lower max_parts."),
    Row(None, "cltv limit", RefusedByNodeError, "Raise cltv_limit_blocks."),
    Row(None, "total time lock of", RefusedByNodeError, "Lower cltv_limit_blocks."),
    Row(None, "payment request must contain", RefusedByNodeError, "Ask for a new invoice."),
    Row(None, "destination doesn't", RefusedByNodeError, "The payee takes no payment in parts."),
    Row(None, "keysend payments cannot", RefusedByNodeError, "Send the keysend in one part."),
    Row(None, "exceeds maximum allowed", RefusedByNodeError, "Pay less at once."),
    # Routes, and single attempts. A part that is one too many belongs to what is under way.
    Row(None, "unable to find a path", RouteNotFoundError, "Allow more, or send less."),
    Row(None, "insufficient local balance", RouteNotFoundError, "Send less."),
    Row(None, "attempted value exceeds", AlreadyExistsError, "Track the payment."),
    Row(None, "payment has settled htlcs", AlreadyExistsError, "Track the payment."),
    Row(None, "payment has failure reason", AlreadyExistsError, "Track the payment."),
    Row(None, "payment has reached terminal", AlreadyExistsError, "Track the payment."),
    # Closing. "Offline" is also said of a channel that closes already: look at it first.
    Row(None, "channel not found", ChannelNotFoundError, "Is it another node's, or closed?"),
    Row(None, "already in the process of being force", ChannelClosingError, "Look at it."),
    Row(None, "unable to find arbitrator", ChannelClosingError, "Look at it."),
    Row(None, "channel shutdown already initiated", ChannelClosingError, "Look at it."),
    Row(None, "with active htlcs", ChannelBusyError, "Wait until they are resolved."),
    Row(None, "while peer is offline", PeerOfflineError, "Wait for the peer, or force close."),
    # The negotiation has begun, and is taken up again with the peer: nobody knows how it ends.
    Row(None, "fee proposal exceeds", UnexpectedAnswerError, "Offer more, or force close."),
    Row(None, "cannot close channel with state", RefusedByNodeError, "The peer has to close."),
    Row(None, "frozen channel", RefusedByNodeError, "Wait for that height, or force close."),
    Row(None, "invalid delivery address", RefusedByNodeError, "Copy the address whole."),
    Row(None, "delivery address is not for", WrongNetworkError, "Give an address of there."),
    Row(None, "upfront shutdown script", RefusedByNodeError, "Leave the address out."),
    Row(None, "pending anchor outputs", RefusedByNodeError, "It is confirmed, or has no anchor."),
    Row(None, "non-anchor channel", RefusedByNodeError, "Its fee cannot be raised."),
    Row(None, "does not belong to the wallet", RefusedByNodeError, "Is it swept already?"),
    # Peers. What the network says when one does not answer, LND passes on as it is.
    Row(None, "already connected to peer", PeerOnlineError, "Nothing is to be done."),
    Row(None, "dial tcp", PeerUnreachableError, "Is the peer up?"),
    Row(None, "dial proxy", PeerUnreachableError, "Is the peer up, and Tor?"),
    Row(None, "no such host", PeerUnreachableError, "Its address is of the past."),
    Row(None, "unable to find node", PeerUnreachableError, "It announces no address."),
    # Backups.
    Row(None, "invalid multi channel backup", BackupError, "It is damaged, or another node's."),
    # The node: locked, starting, or not to be reached.
    Row(None, "wallet locked", NodeNotReadyError, "Unlock the node's wallet."),
    Row(None, "wallet not created", NodeNotReadyError, "Create the node's wallet."),
    Row(None, "waiting to start", NodeNotReadyError, "Wait; look at the node's log."),
    Row(None, "not yet ready", NodeNotReadyError, "Wait until the node has started."),
    Row(None, "server is still in the process", NodeNotReadyError, "Wait for the node."),
    # The credential. lnd says all of these with UNKNOWN.
    Row(None, "permission denied", CredentialError, "Bake one with the role's permissions."),
    Row(None, "expected 1 macaroon", CredentialError, "Configure the role's macaroon."),
    Row(None, "verification failed", CredentialError, "It is another node's: replace it."),
    Row(None, "cannot get macaroon", CredentialError, "The macaroon was revoked: bake a new one."),
    Row(None, "cannot determine data format", CredentialError, "The file is damaged: bake anew."),
    Row(_C.PERMISSION_DENIED, None, CredentialError, "Bake a macaroon for the role."),
    Row(_C.UNAUTHENTICATED, None, CredentialError, "Configure the role's macaroon."),
    # By code alone. None of these says whether the call had its effect.
    Row(_C.UNAVAILABLE, None, NodeUnavailableError, "Is the node up, and its address right?"),
    Row(_C.DEADLINE_EXCEEDED, None, NodeUnavailableError, "The node answers too slowly."),
    Row(_C.CANCELLED, None, NodeUnavailableError, "The connection was cut."),
    Row(_C.ABORTED, None, NodeUnavailableError, "The connection was cut."),
    Row(_C.RESOURCE_EXHAUSTED, None, NodeUnavailableError, "The node is overloaded."),
    Row(_C.UNIMPLEMENTED, None, UnsupportedVersionError, "Upgrade the node."),
    Row(_C.INVALID_ARGUMENT, None, RefusedByNodeError, "Mend the request."),
)  # fmt: skip

_UNKNOWN = Row(None, None, UnexpectedAnswerError, "Read the node's log.")


def domain_error(node: str, error: grpc.aio.AioRpcError) -> FulguriteError:
    """What `error` of `node` means. Its text is quoted: lnd puts no secret into an error."""
    row = row_of(_TABLE, error, unknown=_UNKNOWN)
    return row.error(message_of(node, error, row))


# Raises what gRPC raises inside as a FulguriteError.
domain_errors = told_by(domain_error)
