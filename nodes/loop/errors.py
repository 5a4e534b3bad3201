"""The one table that turns what loopd answers into what we mean.

loopd passes plain Go errors on with the status UNKNOWN, its server's included, so their texts
are all there is to tell them by. They were read in loopd 0.33 and are matched as parts, lower
case. Only what is certain to be said before anything is stored counts as a refusal: every
other error of a call that begins a swap leaves open whether it has begun.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from fulgurite.errors import (
    CredentialError,
    FulguriteError,
    NodeNotReadyError,
    NodeUnavailableError,
    SwapNotFoundError,
    SwapRefusedError,
    UnexpectedAnswerError,
    UnsupportedVersionError,
)
from fulgurite.swaps.reasons import SwapReason
from nodes.answers import Row, message_of, row_of, told_by


@dataclass(frozen=True)
class _Row(Row):
    """One that says why, too, where it is a refusal."""

    reason: SwapReason = SwapReason.LOOPD_REFUSED


_C, _R = grpc.StatusCode, SwapReason

# Refusals, all of them before anything is stored.
_REFUSED = (
    ("swap amount too low", _R.AMOUNT_TOO_LOW),
    ("swap amount too high", _R.AMOUNT_TOO_HIGH),
    ("swap fee too high", _R.SWAP_FEE_LIMIT),
    ("prepay amount too high", _R.PREPAY_LIMIT),
    ("channel balance too low for loop out", _R.CHANNEL_BALANCE),
    ("insufficient confirmed balance", _R.WALLET_BALANCE),
    ("confirmation target too low", _R.LOOPD_REFUSED),
    ("confirmation target cannot be", _R.LOOPD_REFUSED),
    ("exceeds maximum allowed expiry", _R.LOOPD_REFUSED),
    ("swap expiry too far", _R.SERVER_REFUSED),
    ("swap expiry too soon", _R.SERVER_REFUSED),
    ("label exceeds maximum length", _R.LOOPD_REFUSED),
    ("label contains reserved prefix", _R.LOOPD_REFUSED),
    ("external and htlc conf target", _R.LOOPD_REFUSED),
    ("amount cannot be negative", _R.LOOPD_REFUSED),
    ("either amount, or deposits", _R.LOOPD_REFUSED),
    ("wrong server", _R.SERVER_REFUSED),
    # What the server says, or that it does not answer, before loopd has written anything down.
    ("cannot initiate swap", _R.SERVER_REFUSED),
    ("probe error", _R.SERVER_REFUSED),
    ("probe failed", _R.SERVER_REFUSED),
)

_TABLE = (
    *(_Row(None, text, SwapRefusedError, "", reason) for text, reason in _REFUSED),
    _Row(None, "abandoning loop out swaps", SwapRefusedError, "Only a swap in can be abandoned."),
    _Row(None, "cannot abandon swap", SwapRefusedError, "It has ended, or moved on."),
    _Row(None, "not found", SwapNotFoundError, "Is it another loopd's?"),
    # loopd: starting, or not to be reached. None of these says whether a call had its effect.
    _Row(None, "not yet ready", NodeNotReadyError, "Wait until loopd has started."),
    _Row(None, "loop daemon is still starting", NodeNotReadyError, "Wait for loopd."),
    _Row(None, "waiting to start", NodeNotReadyError, "Wait; look at the node's log."),
    _Row(None, "server is shutting down", NodeUnavailableError, "Start loopd again."),
    # The credential.
    _Row(None, "permission denied", CredentialError, "Give the macaroon that loopd wrote."),
    _Row(None, "expected 1 macaroon", CredentialError, "Configure loop.macaroon_path."),
    _Row(None, "verification failed", CredentialError, "It is another loopd's: replace it."),
    _Row(None, "cannot get macaroon", CredentialError, "It was revoked: take the present one."),
    _Row(None, "cannot determine data format", CredentialError, "The file is damaged."),
    _Row(_C.PERMISSION_DENIED, None, CredentialError, "Give the macaroon that loopd wrote."),
    _Row(_C.UNAUTHENTICATED, None, CredentialError, "Configure loop.macaroon_path."),
    # By code alone.
    _Row(_C.UNAVAILABLE, None, NodeUnavailableError, "Are loopd and its server up?"),
    _Row(_C.DEADLINE_EXCEEDED, None, NodeUnavailableError, "loopd answers too slowly."),
    _Row(_C.CANCELLED, None, NodeUnavailableError, "The connection was cut."),
    _Row(_C.ABORTED, None, NodeUnavailableError, "The connection was cut."),
    _Row(_C.RESOURCE_EXHAUSTED, None, NodeUnavailableError, "loopd is overloaded."),
    _Row(_C.UNIMPLEMENTED, None, UnsupportedVersionError, "Upgrade loopd."),
)

_UNKNOWN = _Row(None, None, UnexpectedAnswerError, "Read loopd's log.")


def domain_error(node: str, error: grpc.aio.AioRpcError) -> FulguriteError:
    """What `error` of the loopd of `node` means. Its text is quoted: there is no secret in it."""
    row = row_of(_TABLE, error, unknown=_UNKNOWN)
    message = message_of(f"loopd of {node}", error, row)
    if row.error is SwapRefusedError:
        return SwapRefusedError(message, row.reason)
    return row.error(message)


# Raises what gRPC raises inside as a FulguriteError.
domain_errors = told_by(domain_error)
