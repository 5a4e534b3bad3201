"""Whatever LND answers becomes one error of ours, which says whose it is and what to do."""

from __future__ import annotations

import inspect

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

import fulgurite.errors
from activities.errors import application_error
from fulgurite.errors import (
    AlreadyExistsError,
    AmountError,
    BackupError,
    ChannelBusyError,
    ChannelClosingError,
    ChannelNotFoundError,
    CredentialError,
    FulguriteError,
    InvalidRequestError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceExpiredError,
    InvoiceNotFoundError,
    MalformedInvoiceError,
    NodeError,
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
    by_name,
)
from nodes.lnd import errors as table
from nodes.lnd.errors import domain_error

C = grpc.StatusCode

# What lnd says, by code and text, as it arrives.
ANSWERS: list[tuple[grpc.StatusCode, str, type[FulguriteError]]] = [
    (C.ALREADY_EXISTS, "payment is in transition", AlreadyExistsError),
    (C.ALREADY_EXISTS, "invoice is already paid", AlreadyExistsError),
    (C.ALREADY_EXISTS, "payment already exists", AlreadyExistsError),
    (C.NOT_FOUND, "payment isn't initiated", PaymentNotFoundError),
    (C.UNKNOWN, "invoice expired. Valid until 2020-01-01 00:00:00 +0000 UTC", InvoiceExpiredError),
    (C.UNKNOWN, "invoice not for current active network 'regtest'", WrongNetworkError),
    (C.UNKNOWN, "self-payments not allowed", SelfPaymentError),
    (C.UNKNOWN, "amount must be specified when paying a zero amount invoice", AmountError),
    (C.UNKNOWN, "amount must not be specified when paying a non-zero amount invoice", AmountError),
    (C.UNKNOWN, "checksum failed. Expected abc, got def.", MalformedInvoiceError),
    (C.UNKNOWN, "time preference out of range", RefusedByNodeError),
    (C.UNKNOWN, "cltv limit 10 should be greater than 18", RefusedByNodeError),
    (C.UNKNOWN, "total time lock of 2100 exceeds max allowed 2016", RefusedByNodeError),
    (
        C.UNKNOWN,
        "requested max_parts (200) exceeds the allowed upper limit of 100",
        RefusedByNodeError,
    ),
    (
        C.UNKNOWN,
        "payment request must contain either a payment address or blinded paths",
        RefusedByNodeError,
    ),
    (
        C.UNKNOWN,
        "destination doesn't support both TLV onions and payment addresses",
        RefusedByNodeError,
    ),
    (C.UNKNOWN, "keysend payments cannot specify a max parts value > 1", RefusedByNodeError),
    (C.UNKNOWN, "payment amount 5 BTC exceeds maximum allowed 4 BTC", RefusedByNodeError),
    (C.UNKNOWN, "invoice with payment hash already exists", InvoiceExistsError),
    (C.NOT_FOUND, "unable to locate invoice", InvoiceNotFoundError),
    (C.UNKNOWN, "unable to locate invoice", InvoiceNotFoundError),
    (C.NOT_FOUND, "there are no existing invoices", InvoiceNotFoundError),
    (C.UNKNOWN, "invoice already canceled", InvoiceDecidedError),
    (C.UNKNOWN, "invoice already settled", InvoiceDecidedError),
    (C.UNKNOWN, "invoice still open", InvoiceDecidedError),
    (C.UNKNOWN, "memo too large: 1025 bytes (maxsize=1024)", RefusedByNodeError),
    (C.UNKNOWN, "invoice amount 200000 BTC is too large, max is 100000 BTC", AmountError),
    (
        C.UNKNOWN,
        "invalid fallback address: decoded address is of unknown format",
        RefusedByNodeError,
    ),
    (C.UNKNOWN, "fallback address is not for regtest", WrongNetworkError),
    (
        C.UNKNOWN,
        "expiry of 3.1536001e+07 seconds greater than max expiry of 3.1536e+07 seconds",
        RefusedByNodeError,
    ),
    (C.UNKNOWN, "CLTV delta of 17 must be greater than minimum of 18", RefusedByNodeError),
    (C.UNKNOWN, "unable to find a path to destination", RouteNotFoundError),
    (C.UNKNOWN, "insufficient local balance", RouteNotFoundError),
    (C.UNKNOWN, "attempted value exceeds payment amount", AlreadyExistsError),
    (C.UNKNOWN, "payment has settled htlcs", AlreadyExistsError),
    (C.UNKNOWN, "payment has failure reason", AlreadyExistsError),
    (C.UNKNOWN, "payment has reached terminal condition", AlreadyExistsError),
    (C.UNKNOWN, "channel not found", ChannelNotFoundError),
    (
        C.UNKNOWN,
        "channel is already in the process of being force closed",
        ChannelClosingError,
    ),
    (C.UNKNOWN, "unable to find arbitrator", ChannelClosingError),
    (C.UNKNOWN, "channel shutdown already initiated", ChannelClosingError),
    (
        C.UNKNOWN,
        "cannot coop close channel with active htlcs (number of active htlcs: 1), bypass this",
        ChannelBusyError,
    ),
    (
        C.UNKNOWN,
        "unable to gracefully close channel while peer is offline (try force closing it instead)",
        PeerOfflineError,
    ),
    (
        C.UNKNOWN,
        "unable to process close msg: latest fee proposal exceeds max fee: 0.00001202 BTC > 0.0000",
        UnexpectedAnswerError,
    ),
    (
        C.UNKNOWN,
        "cannot close channel with state: ChanStatusLocalDataLoss",
        RefusedByNodeError,
    ),
    (
        C.UNKNOWN,
        "cannot co-op close frozen channel as initiator until height=800, (current_height=700)",
        RefusedByNodeError,
    ),
    (
        C.UNKNOWN,
        "invalid delivery address: decoded address is of unknown format",
        RefusedByNodeError,
    ),
    (C.UNKNOWN, "delivery address is not for regtest", WrongNetworkError),
    (
        C.UNKNOWN,
        "shutdown script does not match upfront shutdown script",
        RefusedByNodeError,
    ),
    (C.UNKNOWN, "unable to find pending anchor outputs", RefusedByNodeError),
    (C.UNKNOWN, "not able to bump the fee of a non-anchor channel", RefusedByNodeError),
    (C.UNKNOWN, "the passed output does not belong to the wallet", RefusedByNodeError),
    (C.UNKNOWN, "already connected to peer: 02ab@127.0.0.1:9735", PeerOnlineError),
    (
        C.UNKNOWN,
        "dial tcp 127.0.0.1:9735: connect: connection refused",
        PeerUnreachableError,
    ),
    (C.UNKNOWN, "dial proxy failed: socks connect", PeerUnreachableError),
    (C.UNKNOWN, "lookup peer.invalid on 127.0.0.53:53: no such host", PeerUnreachableError),
    (C.NOT_FOUND, "unable to find node", PeerUnreachableError),
    (
        C.UNKNOWN,
        "invalid multi channel backup: chacha20poly1305: message authentication failed",
        BackupError,
    ),
    (C.UNKNOWN, "wallet locked, unlock it to enable full RPC access", NodeNotReadyError),
    (C.UNKNOWN, "wallet not created, create one to enable full RPC access", NodeNotReadyError),
    (C.UNKNOWN, "waiting to start, RPC services not available", NodeNotReadyError),
    (
        C.UNKNOWN,
        "the RPC server is in the process of starting up, but not yet ready to accept calls",
        NodeNotReadyError,
    ),
    (C.UNKNOWN, "server is still in the process of starting", NodeNotReadyError),
    (C.UNKNOWN, "permission denied", CredentialError),
    (C.UNKNOWN, "expected 1 macaroon, got 0", CredentialError),
    (
        C.UNKNOWN,
        "verification failed: signature mismatch after caveat verification",
        CredentialError,
    ),
    (C.UNKNOWN, "cannot get macaroon: root key with id 101 doesn't exist", CredentialError),
    (C.UNKNOWN, "cannot determine data format of binary-encoded macaroon", CredentialError),
    (C.PERMISSION_DENIED, "no", CredentialError),
    (C.UNAUTHENTICATED, "no", CredentialError),
    (C.UNAVAILABLE, "failed to connect to all addresses", NodeUnavailableError),
    (C.DEADLINE_EXCEEDED, "Deadline Exceeded", NodeUnavailableError),
    (C.CANCELLED, "Locally cancelled by application!", NodeUnavailableError),
    (C.ABORTED, "", NodeUnavailableError),
    (C.RESOURCE_EXHAUSTED, "too many pings", NodeUnavailableError),
    (
        C.UNIMPLEMENTED,
        "unknown method SendPaymentV2 for service routerrpc.Router",
        UnsupportedVersionError,
    ),
    (C.INVALID_ARGUMENT, "invalid hash", RefusedByNodeError),
    (C.UNKNOWN, "something that no version has said before", UnexpectedAnswerError),
    (C.INTERNAL, "", UnexpectedAnswerError),
    (C.DATA_LOSS, "", UnexpectedAnswerError),
]


def answer(code: grpc.StatusCode, text: str | None) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details=text)


def all_errors() -> list[type[FulguriteError]]:
    return [
        kind
        for kind in vars(fulgurite.errors).values()
        if inspect.isclass(kind) and issubclass(kind, FulguriteError)
    ]


@pytest.mark.parametrize(("code", "text", "kind"), ANSWERS, ids=lambda value: str(value)[:40])
def test_each_of_lnds_answers_becomes_one_error(
    code: grpc.StatusCode, text: str, kind: type[FulguriteError]
) -> None:
    error = domain_error("alice", answer(code, text))

    assert type(error) is kind
    # It names the node, quotes LND, and goes on with what to do.
    quoted, _, advice = str(error).removeprefix("alice: ").rpartition(". ")
    assert quoted == (text or code.name)
    assert advice[-1] in ".?"
    assert advice[0].isupper()


def test_every_row_of_the_table_is_reached_by_one_of_these_answers() -> None:
    reached = {str(domain_error("n", answer(code, text))) for code, text, _ in ANSWERS}
    rows = {row.advice for row in (*table._TABLE, table._UNKNOWN)}

    assert {
        advice for advice in rows if not any(said.endswith(advice) for said in reached)
    } == set()
    for row in table._TABLE:
        assert row.text is None or any(row.text in text.lower() for _, text, _ in ANSWERS), row


def test_an_answer_without_a_text_names_its_code() -> None:
    assert "INTERNAL" in str(domain_error("alice", answer(C.INTERNAL, None)))


@pytest.mark.parametrize("code", list(C))
def test_no_code_alone_says_that_the_payers_request_was_wrong_or_that_a_payment_failed(
    code: grpc.StatusCode,
) -> None:
    """A code without a known text never proves that nothing moved, but for one."""
    kind = type(domain_error("alice", answer(code, "")))

    assert not issubclass(kind, InvalidRequestError) or code is C.INVALID_ARGUMENT
    # A proxy's NOT_FOUND is not LND's.
    assert kind is not PaymentNotFoundError


def test_a_row_is_never_in_the_shadow_of_an_earlier_one() -> None:
    for code, text, kind in ANSWERS:
        matching = [
            row
            for row in table._TABLE
            if (row.code is None or row.code is code)
            and (row.text is None or row.text in text.lower())
        ]
        assert {row.error for row in matching[:1]} <= {kind}


def test_callers_mistakes_are_not_repeated_and_the_nodes_troubles_are() -> None:
    for kind in all_errors():
        if issubclass(kind, InvalidRequestError):
            assert not kind.retryable, kind
        if issubclass(kind, NodeError):
            assert kind.retryable, kind


def test_every_error_says_what_it_means_and_is_found_by_its_name() -> None:
    for kind in all_errors():
        assert kind.__doc__
        assert by_name(kind.__name__) is kind
    assert by_name("ValueError") is None


def test_an_error_crosses_temporal_by_its_name() -> None:
    refused = application_error(AmountError("give it once"))
    down = application_error(NodeUnavailableError("down"))
    for_ever = application_error(CredentialError("no"), retryable=True)

    assert (refused.type, refused.non_retryable) == ("AmountError", True)
    assert (down.type, down.non_retryable) == ("NodeUnavailableError", False)
    assert not for_ever.non_retryable
