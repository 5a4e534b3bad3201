"""The one table that turns what poold answers into what we mean.

poold passes plain Go errors on with the status UNKNOWN, its auctioneer's included, so their
texts are all there is to tell them by. They were read in poold 0.6.6 and are matched as parts,
lower case. Only what is certain to be said before anything is stored counts as a refusal:
every other error of a call that makes an account or an order leaves open whether it was made.
"""

from __future__ import annotations

import grpc

from fulgurite.errors import (
    BidOverError,
    CredentialError,
    FulguriteError,
    InsufficientFundsError,
    LeaseRefusedError,
    NodeNotReadyError,
    NodeUnavailableError,
    NoMarketError,
    UnexpectedAnswerError,
    UnsupportedVersionError,
)
from nodes.answers import Row, message_of, row_of, told_by

_C = grpc.StatusCode

_TABLE = (
    # First: what begins so was stored, and what follows is what the auctioneer has said to it.
    Row(None, "error submitting order to auctioneer", UnexpectedAnswerError, "Look at it."),
    # Refusals, all of them before anything is stored.
    Row(None, "invalid lease duration", NoMarketError, "Choose a duration that Pool lists."),
    Row(None, "invalid channel lease duration", NoMarketError, "Choose one that Pool lists."),
    Row(None, "insufficient account balance", InsufficientFundsError, "Bid less, or deposit."),
    Row(None, "not enough witness outputs", InsufficientFundsError, "Fund the node's wallet."),
    Row(None, "insufficient funds available", InsufficientFundsError, "Fund the node's wallet."),
    Row(None, "minimum account value", LeaseRefusedError, "Open it with more."),
    Row(None, "maximum account value", LeaseRefusedError, "Open it with less."),
    Row(None, "minimum account expiry", LeaseRefusedError, "Let it expire later."),
    Row(None, "maximum account expiry", LeaseRefusedError, "Let it expire sooner."),
    Row(None, "account must be in", LeaseRefusedError, "Wait for its transaction."),
    Row(None, "cannot make order", LeaseRefusedError, "The account is not open."),
    Row(None, "cannot accept order", LeaseRefusedError, "Is the account another poold's?"),
    Row(None, "account not found", LeaseRefusedError, "Is it another poold's?"),
    Row(None, "invalid max batch fee rate", LeaseRefusedError, "Allow a higher batch fee."),
    Row(None, "min units match", LeaseRefusedError, "Mend min_channel_sat."),
    Row(None, "lnd node isn't signalling wumbo", LeaseRefusedError, "Bid for less."),
    Row(None, "below min dust", LeaseRefusedError, "The account has too little for the fee."),
    # Found while looking.
    Row(None, "unable to cancel order in terminal", BidOverError, "Look at it."),
    # poold: starting, or not to be reached. None of these says whether a call had its effect.
    Row(None, "still starting up", NodeNotReadyError, "Wait until poold has started."),
    Row(None, "not yet ready", NodeNotReadyError, "Wait until poold has started."),
    Row(None, "waiting to start", NodeNotReadyError, "Wait; look at poold's log."),
    Row(None, "auctioneer terms", NodeUnavailableError, "Its auctioneer does not answer."),
    # The credential.
    Row(None, "permission denied", CredentialError, "Give the macaroon that poold wrote."),
    Row(None, "expected 1 macaroon", CredentialError, "Configure pool.macaroon_path."),
    Row(None, "verification failed", CredentialError, "It is another poold's: replace it."),
    Row(None, "cannot get macaroon", CredentialError, "It was revoked: take the present one."),
    Row(None, "cannot determine data format", CredentialError, "The file is damaged."),
    Row(_C.PERMISSION_DENIED, None, CredentialError, "Give the macaroon that poold wrote."),
    Row(_C.UNAUTHENTICATED, None, CredentialError, "Configure pool.macaroon_path."),
    # By code alone.
    Row(_C.UNAVAILABLE, None, NodeUnavailableError, "Are poold and its auctioneer up?"),
    Row(_C.DEADLINE_EXCEEDED, None, NodeUnavailableError, "poold answers too slowly."),
    Row(_C.CANCELLED, None, NodeUnavailableError, "The connection was cut."),
    Row(_C.ABORTED, None, NodeUnavailableError, "The connection was cut."),
    Row(_C.RESOURCE_EXHAUSTED, None, NodeUnavailableError, "poold is overloaded."),
    Row(_C.UNIMPLEMENTED, None, UnsupportedVersionError, "Upgrade poold."),
)

_UNKNOWN = Row(None, None, UnexpectedAnswerError, "Read poold's log.")


def domain_error(node: str, error: grpc.aio.AioRpcError) -> FulguriteError:
    """What `error` of the poold of `node` means. Its text is quoted: there is no secret in it."""
    row = row_of(_TABLE, error, unknown=_UNKNOWN)
    return row.error(message_of(f"poold of {node}", error, row))


# Raises what gRPC raises inside as a FulguriteError.
domain_errors = told_by(domain_error)
