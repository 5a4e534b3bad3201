#!/bin/sh
# Bakes one macaroon a role into a folder, each with just the calls that nodes/roles.py gives
# the role and with a root key of its own: `lncli deletemacaroonid 101` revokes every pay
# macaroon and nothing else. Run it again for new ones; the old ones stay valid.
#
#   deploy/bake-macaroons.sh secrets/macaroons [ROLE...]
#
# The folder gets pay and observe, which the worker uses, unless you name other roles. Set
# LNCLI to use an lnd outside of compose.
set -eu

folder=${1:?name the folder that the macaroons go to, such as secrets/macaroons}
shift
[ "$#" -gt 0 ] || set -- pay observe

# POSIX has no command that turns hex into bytes.
bytes_of() {
    hex=$1
    while [ -n "$hex" ]; do
        rest=${hex#??}
        printf '%b' "\\0$(printf '%03o' "0x${hex%"$rest"}")"
        hex=$rest
    done
}

bake() {
    role=$1
    root_key_id=$2
    shift 2
    # shellcheck disable=SC2086 # LNCLI is a command with its arguments
    hex=$(${LNCLI:-docker compose exec -T lnd lncli} bakemacaroon --root_key_id "$root_key_id" "$@")
    bytes_of "$hex" >"$folder/.$role.macaroon"
    # For the worker's user, who is not you. Nobody else passes through secrets/.
    chmod 444 "$folder/.$role.macaroon"
    mv -f "$folder/.$role.macaroon" "$folder/$role.macaroon"
    echo "baked $folder/$role.macaroon"
}

for role in "$@"; do
    case $role in
    pay)
        bake pay 101 \
            uri:/routerrpc.Router/SendPaymentV2 \
            uri:/routerrpc.Router/TrackPaymentV2 \
            uri:/routerrpc.Router/TrackPayments \
            uri:/routerrpc.Router/SendToRouteV2 \
            uri:/routerrpc.Router/BuildRoute \
            uri:/routerrpc.Router/EstimateRouteFee \
            uri:/lnrpc.Lightning/DecodePayReq \
            uri:/lnrpc.Lightning/QueryRoutes \
            uri:/lnrpc.Lightning/ListPayments
        ;;
    invoice)
        bake invoice 102 \
            uri:/lnrpc.Lightning/AddInvoice \
            uri:/lnrpc.Lightning/LookupInvoice \
            uri:/lnrpc.Lightning/ListInvoices \
            uri:/lnrpc.Lightning/SubscribeInvoices \
            uri:/invoicesrpc.Invoices/AddHoldInvoice \
            uri:/invoicesrpc.Invoices/SettleInvoice \
            uri:/invoicesrpc.Invoices/CancelInvoice \
            uri:/invoicesrpc.Invoices/SubscribeSingleInvoice \
            uri:/invoicesrpc.Invoices/LookupInvoiceV2
        ;;
    observe)
        bake observe 103 \
            uri:/lnrpc.Lightning/GetInfo \
            uri:/lnrpc.Lightning/ListChannels \
            uri:/lnrpc.Lightning/PendingChannels \
            uri:/lnrpc.Lightning/ClosedChannels \
            uri:/lnrpc.Lightning/ChannelBalance \
            uri:/lnrpc.Lightning/WalletBalance \
            uri:/lnrpc.Lightning/SubscribeChannelEvents \
            uri:/lnrpc.Lightning/GetChanInfo \
            uri:/lnrpc.Lightning/GetNodeInfo \
            uri:/lnrpc.Lightning/ForwardingHistory \
            uri:/lnrpc.Lightning/FeeReport \
            uri:/lnrpc.Lightning/ListPeers \
            uri:/lnrpc.Lightning/GetTransactions \
            uri:/lnrpc.Lightning/ExportAllChannelBackups \
            uri:/lnrpc.Lightning/SubscribeChannelBackups \
            uri:/lnrpc.Lightning/VerifyChanBackup \
            uri:/routerrpc.Router/SubscribeHtlcEvents \
            uri:/chainrpc.ChainNotifier/RegisterBlockEpochNtfn \
            uri:/walletrpc.WalletKit/PendingSweeps \
            uri:/walletrpc.WalletKit/ListSweeps
        ;;
    close)
        bake close 104 \
            uri:/lnrpc.Lightning/CloseChannel \
            uri:/lnrpc.Lightning/ConnectPeer \
            uri:/walletrpc.WalletKit/PendingSweeps \
            uri:/walletrpc.WalletKit/ListSweeps \
            uri:/walletrpc.WalletKit/BumpFee \
            uri:/walletrpc.WalletKit/BumpForceCloseFee
        ;;
    *)
        echo "there is no role $role: use pay, invoice, observe or close" >&2
        exit 2
        ;;
    esac
done
