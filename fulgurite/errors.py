"""What can go wrong, in one hierarchy.

Each error knows whether asking again can help, and its message says what to do next.

Nothing here says that a payment failed: that is LND's verdict and comes as a result
(`fulgurite.payments.receipts.Receipt`), never as an exception.
"""

from __future__ import annotations

from typing import ClassVar


class FulguriteError(Exception):
    """Base of all. `retryable`: the same request can succeed later without a change."""

    retryable: ClassVar[bool] = False


# The caller's to mend. Refused before anything moved.


class InvalidRequestError(FulguriteError):
    """The request contradicts itself or lacks something."""


class MalformedInvoiceError(InvalidRequestError):
    """The text is no BOLT11 invoice: wrong checksum, cut off, or not signed."""


class WrongNetworkError(InvalidRequestError):
    """The invoice belongs to another network than the node."""


class InvoiceExpiredError(InvalidRequestError):
    """The invoice's time was over before anything was sent."""


class AmountError(InvalidRequestError):
    """The amount is missing, or given by the invoice and by the request too."""


class SelfPaymentError(InvalidRequestError):
    """The invoice is the paying node's own."""


class UnknownNodeError(InvalidRequestError):
    """No node of that name is configured."""


class RefusedByNodeError(InvalidRequestError):
    """LND refused the request before it had any effect, in words we do not know."""


class KeyReusedError(InvalidRequestError):
    """The caller's key belongs to another request. One key, one intent."""


class ChannelNotFoundError(InvalidRequestError):
    """The node has no such channel, and had none."""


class NothingHangsError(InvalidRequestError):
    """None of the payments that a force close was ordered for hangs on the channel any more."""


class ChannelBusyError(InvalidRequestError):
    """HTLCs are pending on the channel, which therefore cannot be closed cooperatively."""


class PeerOfflineError(InvalidRequestError):
    """The channel's peer is away, without whom it cannot be closed cooperatively."""


class SwapRefusedError(InvalidRequestError):
    """loopd, or its server, refused a swap before anything of it was stored."""

    def __init__(self, message: str, reason: str = "LOOPD_REFUSED") -> None:
        """`reason` is a `fulgurite.swaps.reasons.SwapReason`."""
        super().__init__(message)
        self.reason = reason


class NoMarketError(InvalidRequestError):
    """Pool has no market for leases of that duration."""


class InsufficientFundsError(InvalidRequestError):
    """An account of poold's, or the wallet behind it, has too little for what was asked."""


class LeaseRefusedError(InvalidRequestError):
    """poold, or its auctioneer, took no account or no bid, and nothing is in the market."""


class UnsafeUrlError(InvalidRequestError):
    """A webhook's URL leads, or could lead, to where no webhook may go."""


class UnknownEndpointError(InvalidRequestError):
    """No webhook endpoint of that name is configured."""


# The operator's to mend. The same call works once the node or its credential is right.


class NodeError(FulguriteError):
    """Something about the node or the way to it."""

    retryable = True


class NodeUnavailableError(NodeError):
    """No answer: down, unreachable, or too slow. What was asked may still have happened."""


class NodeNotReadyError(NodeError):
    """LND answers, but is locked, starting or not yet in step with the chain."""


class CredentialError(NodeError):
    """The macaroon is missing, wrong, or does not permit the call."""


class UnexpectedAnswerError(NodeError):
    """LND said something that this version does not know."""


class UnsupportedVersionError(NodeError):
    """LND is older than a feature in use needs."""


class BackupError(FulguriteError):
    """A static channel backup could not be stored, or is not what was stored."""

    retryable = True


class BudgetUnreachableError(FulguriteError):
    """A budget gave no answer. Without its word nothing is sent."""

    retryable = True


# Found while looking, and not errors to the one who looks.


class PaymentNotFoundError(FulguriteError):
    """LND does not know the hash. After a send this proves nothing: ask again."""


class SwapNotFoundError(FulguriteError):
    """loopd does not list the swap. After it was asked to begin one this proves nothing."""


class BidOverError(FulguriteError):
    """The bid cannot be taken back any more: it is executed, or over in another way."""


class RouteNotFoundError(FulguriteError):
    """LND finds no route within what it was told: too dear, too much, or none there."""


class AlreadyExistsError(FulguriteError):
    """LND has this payment already: under way or settled. Track it."""


class ChannelClosingError(FulguriteError):
    """LND closes the channel already: look at it."""


class PeerUnreachableError(FulguriteError):
    """A peer does not answer where the node called it, or the node knows of no such peer."""


class PeerOnlineError(FulguriteError):
    """The node is connected to the peer already."""


class InvoiceNotFoundError(FulguriteError):
    """LND does not know the invoice."""


class InvoiceExistsError(FulguriteError):
    """LND has an invoice of this payment hash already: look it up."""


class InvoiceDecidedError(FulguriteError):
    """The invoice was settled, canceled or never held: look it up, it may not be what we wanted."""


# Found while telling others. The event stays; only its delivery waits.


class DeliveryError(FulguriteError):
    """An endpoint did not take a webhook. It is sent again later."""

    retryable = True


class EndpointGoneError(FulguriteError):
    """An endpoint says that it wants no more webhooks (HTTP 410)."""


def by_name(name: str) -> type[FulguriteError] | None:
    """The class that an error crossed a process border as, by its name."""
    pending: list[type[FulguriteError]] = [FulguriteError]
    while pending:
        kind = pending.pop()
        if kind.__name__ == name:
            return kind
        pending.extend(kind.__subclasses__())
    return None
