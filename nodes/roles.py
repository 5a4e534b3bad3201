"""What each credential may do. One macaroon a role, baked with exactly these permissions.

Every role has a root key of its own, so that one role can be revoked without the others.
AbandonChannel, DeletePayment, BakeMacaroon and SendCoins are in none of them.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A credential's purpose; the value names its file, `<role>.macaroon`."""

    PAY = "pay"
    INVOICE = "invoice"
    OBSERVE = "observe"
    CLOSE = "close"


def _methods(service: str, *names: str) -> tuple[str, ...]:
    return tuple(f"/{service}/{name}" for name in names)


PERMISSIONS: dict[Role, tuple[str, ...]] = {
    Role.PAY: (
        *_methods(
            "routerrpc.Router",
            "SendPaymentV2",
            "TrackPaymentV2",
            "TrackPayments",
            "SendToRouteV2",
            "BuildRoute",
            "EstimateRouteFee",
        ),
        *_methods("lnrpc.Lightning", "DecodePayReq", "QueryRoutes", "ListPayments"),
    ),
    Role.INVOICE: (
        *_methods(
            "lnrpc.Lightning", "AddInvoice", "LookupInvoice", "ListInvoices", "SubscribeInvoices"
        ),
        *_methods(
            "invoicesrpc.Invoices",
            "AddHoldInvoice",
            "SettleInvoice",
            "CancelInvoice",
            "SubscribeSingleInvoice",
            "LookupInvoiceV2",
        ),
    ),
    Role.OBSERVE: (
        *_methods(
            "lnrpc.Lightning",
            "GetInfo",
            "ListChannels",
            "PendingChannels",
            "ClosedChannels",
            "ChannelBalance",
            "WalletBalance",
            "SubscribeChannelEvents",
            "GetChanInfo",
            "GetNodeInfo",
            "ForwardingHistory",
            "FeeReport",
            "ListPeers",
            "GetTransactions",
            "ExportAllChannelBackups",
            "SubscribeChannelBackups",
            "VerifyChanBackup",
        ),
        "/routerrpc.Router/SubscribeHtlcEvents",
        "/chainrpc.ChainNotifier/RegisterBlockEpochNtfn",
        *_methods("walletrpc.WalletKit", "PendingSweeps", "ListSweeps"),
    ),
    Role.CLOSE: (
        *_methods("lnrpc.Lightning", "CloseChannel", "ConnectPeer"),
        *_methods(
            "walletrpc.WalletKit", "PendingSweeps", "ListSweeps", "BumpFee", "BumpForceCloseFee"
        ),
    ),
}

ROOT_KEY_IDS: dict[Role, int] = {
    Role.PAY: 101,
    Role.INVOICE: 102,
    Role.OBSERVE: 103,
    Role.CLOSE: 104,
}
