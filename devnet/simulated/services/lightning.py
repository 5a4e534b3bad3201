"""lnrpc.Lightning: the node itself, its invoices, channels, peers and past payments."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc

from devnet.simulated.errors import RpcError
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.marshal import (
    forwarding_message,
    invoice_message,
    payment_message,
    route_hint_messages,
)
from devnet.simulated.openings import DEFAULT_POLICY
from devnet.simulated.paging import PageQuery
from devnet.simulated.payment_requests import NETWORK
from devnet.simulated.requests import HASH_BYTES
from devnet.simulated.services.backups import BackupsService
from devnet.simulated.services.channels import ChannelsService
from devnet.simulated.services.routes import RoutesService
from devnet.simulated.services.wallet import WalletService
from protos.lnrpc import lightning_pb2

# Nobody listens there: links are made without a wire.
PEER_ADDRESS = "127.0.0.1:9735"

VERSION = "0.21.2-beta commit=v0.21.2-beta"


class LightningService(ChannelsService, WalletService, BackupsService, RoutesService):
    async def get_info(self, _: lightning_pb2.GetInfoRequest) -> lightning_pb2.GetInfoResponse:
        node = self._node
        channels = node.closures.open_channels()
        return lightning_pb2.GetInfoResponse(
            version=VERSION,
            identity_pubkey=node.public_key,
            alias=node.name,
            num_active_channels=sum(channel.is_linked for channel in channels),
            num_peers=len(node.graph.peers_of(node.name)),
            block_height=node.view.height,
            block_hash=node.view.tip.block_hash,
            synced_to_chain=node.view.is_synced,
            synced_to_graph=True,
            chains=[lightning_pb2.Chain(network=NETWORK)],
        )

    async def decode_pay_req(self, request: lightning_pb2.PayReqString) -> lightning_pb2.PayReq:
        read = self._node.codec.read(request.pay_req)
        return lightning_pb2.PayReq(
            destination=read.destination,
            payment_hash=read.payment_hash.hex(),
            timestamp=read.timestamp,
            expiry=read.expiry_seconds,
            description=read.description,
            description_hash=read.description_hash.hex(),
            fallback_addr=read.fallback_addr,
            cltv_expiry=read.final_cltv_delta_blocks,
            route_hints=route_hint_messages(read.route_hints),
            payment_addr=read.payment_addr or bytes(HASH_BYTES),
            num_msat=read.amount_msat,
        )

    async def list_payments(
        self, request: lightning_pb2.ListPaymentsRequest
    ) -> lightning_pb2.ListPaymentsResponse:
        query = PageQuery(
            offset=request.index_offset,
            size=request.max_payments,
            reversed=request.reversed,
            created_from=request.creation_date_start,
            created_until=request.creation_date_end,
        )
        payments = self._node.payments
        page = payments.page(query, include_incomplete=request.include_incomplete)
        return lightning_pb2.ListPaymentsResponse(
            payments=[
                payment_message(payment, self._node.graph, omit_hops=request.omit_hops)
                for payment in page
            ],
            first_index_offset=page[0].index if page else 0,
            last_index_offset=page[-1].index if page else 0,
            total_num_payments=payments.count if request.count_total_payments else 0,
        )

    async def forwarding_history(
        self, request: lightning_pb2.ForwardingHistoryRequest
    ) -> lightning_pb2.ForwardingHistoryResponse:
        found, offset = self._node.forwards.page(
            self._node.name,
            request.start_time,
            request.end_time,
            request.index_offset,
            request.num_max_events,
        )
        return lightning_pb2.ForwardingHistoryResponse(
            forwarding_events=[forwarding_message(each) for each in found],
            last_offset_index=offset,
        )

    async def list_peers(
        self, _: lightning_pb2.ListPeersRequest
    ) -> lightning_pb2.ListPeersResponse:
        graph = self._node.graph
        return lightning_pb2.ListPeersResponse(
            peers=[
                lightning_pb2.Peer(pub_key=graph.public_key_of(peer), address=PEER_ADDRESS)
                for peer in graph.peers_of(self._node.name)
            ]
        )

    async def get_node_info(self, request: lightning_pb2.NodeInfoRequest) -> lightning_pb2.NodeInfo:
        name = self._known_peer(request.pub_key)
        return lightning_pb2.NodeInfo(
            node=lightning_pb2.LightningNode(
                pub_key=request.pub_key,
                alias=name,
                addresses=[lightning_pb2.NodeAddress(network="tcp", addr=PEER_ADDRESS)],
            ),
            num_channels=sum(
                not (channel.private or channel.is_spent)
                for channel in self._node.graph.channels_of(name)
            ),
        )

    async def open_channel_sync(
        self, request: lightning_pb2.OpenChannelRequest
    ) -> lightning_pb2.ChannelPoint:
        policy = replace(
            DEFAULT_POLICY,
            base_fee_msat=request.base_fee
            if request.use_base_fee
            else DEFAULT_POLICY.base_fee_msat,
            fee_rate_ppm=request.fee_rate if request.use_fee_rate else DEFAULT_POLICY.fee_rate_ppm,
        )
        funding_txid = self._node.openings.open(
            self._node.name,
            self._known_peer(request.node_pubkey.hex()),
            capacity_sat=request.local_funding_amount,
            push_sat=request.push_sat,
            opener_policy=policy,
            private=request.private,
        )
        # The bytes of a transaction id go the other way round than people write it.
        return lightning_pb2.ChannelPoint(funding_txid_bytes=bytes.fromhex(funding_txid)[::-1])

    async def add_invoice(self, request: lightning_pb2.Invoice) -> lightning_pb2.AddInvoiceResponse:
        preimage = request.r_preimage or secrets.token_bytes(HASH_BYTES)
        if len(preimage) != HASH_BYTES:
            raise RpcError(f"invalid preimage length of {len(preimage)}, want {HASH_BYTES}")
        invoice = self._node.invoices.add(
            read_terms(request), hashlib.sha256(preimage).digest(), preimage
        )
        return lightning_pb2.AddInvoiceResponse(
            r_hash=invoice.request.payment_hash,
            payment_request=invoice.payment_request,
            add_index=invoice.add_index,
            payment_addr=invoice.request.payment_addr,
        )

    async def lookup_invoice(self, request: lightning_pb2.PaymentHash) -> lightning_pb2.Invoice:
        if request.r_hash and len(request.r_hash) != HASH_BYTES:
            raise RpcError(
                f"payment hash must be exactly 32 bytes, is instead {len(request.r_hash)}"
            )
        invoice = self._node.invoices.database.find(request.r_hash)
        if invoice is None:
            raise RpcError("unable to locate invoice", grpc.StatusCode.NOT_FOUND)
        return invoice_message(invoice)

    async def list_invoices(
        self, request: lightning_pb2.ListInvoiceRequest
    ) -> lightning_pb2.ListInvoiceResponse:
        query = PageQuery(
            offset=request.index_offset,
            size=request.num_max_invoices,
            reversed=request.reversed,
            created_from=request.creation_date_start,
            created_until=request.creation_date_end,
        )
        page = self._node.invoices.database.page(query, pending_only=request.pending_only)
        return lightning_pb2.ListInvoiceResponse(
            invoices=[invoice_message(invoice) for invoice in page],
            first_index_offset=page[0].add_index if page else 0,
            last_index_offset=page[-1].add_index if page else 0,
        )

    def subscribe_invoices(
        self, request: lightning_pb2.InvoiceSubscription
    ) -> AsyncIterator[lightning_pb2.Invoice]:
        return self._node.invoices.feed.follow_all(request.add_index, request.settle_index)

    async def connect_peer(
        self, request: lightning_pb2.ConnectPeerRequest
    ) -> lightning_pb2.ConnectPeerResponse:
        graph, here = self._node.graph, self._node.name
        peer = self._known_peer(request.addr.pubkey)
        address = f"{request.addr.pubkey}@{request.addr.host}"
        if peer == here:
            raise RpcError("cannot make connection to self")
        if peer in graph.peers_of(here):
            raise RpcError(f"already connected to peer: {address}")
        # One that shall last is promised at once, and kept when the peer is there.
        if not graph.join(here, peer) and not request.perm:
            raise RpcError(f"dial tcp {request.addr.host}: connect: connection refused")
        return lightning_pb2.ConnectPeerResponse(status=f"connection to {address} initiated")

    async def disconnect_peer(
        self, request: lightning_pb2.DisconnectPeerRequest
    ) -> lightning_pb2.DisconnectPeerResponse:
        peer = self._known_peer(request.pub_key)
        if not self._node.graph.connected(self._node.name, peer):
            raise RpcError(f"unable to disconnect peer: peer {request.pub_key} is not connected")
        self._node.graph.sever(self._node.name, peer)
        return lightning_pb2.DisconnectPeerResponse(status="disconnect initiated")

    async def bake_macaroon(
        self, request: lightning_pb2.BakeMacaroonRequest
    ) -> lightning_pb2.BakeMacaroonResponse:
        if not request.permissions:
            raise RpcError(
                "permission list cannot be empty. specify at least one action/entity pair"
            )
        for permission in request.permissions:
            if permission.entity != "uri":
                raise RpcError(f"invalid permission entity {permission.entity}: name a uri")
        baked = self._node.macaroons.bake(permission.action for permission in request.permissions)
        return lightning_pb2.BakeMacaroonResponse(macaroon=baked)

    def _known_peer(self, public_key: str) -> str:
        name = self._node.graph.name_of(public_key)
        if name is None:
            raise RpcError("unable to find node", grpc.StatusCode.NOT_FOUND)
        return name
