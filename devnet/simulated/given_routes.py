"""What a SendToRouteV2 asks for: a route in lnd's message, as hops of the simulation."""

from __future__ import annotations

from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.requests import HASH_BYTES, MAX_CLTV_BLOCKS, PaymentIntent
from devnet.simulated.routes import Hop, Route
from protos.routerrpc import router_pb2


def read_route(
    request: router_pb2.SendToRouteRequest, graph: Graph, own_key: str
) -> tuple[PaymentIntent, Route]:
    """The payment that it is a part of, and the way. RpcError as lnd refuses.

    lnd does not ask whether a route makes sense: the nodes on it will say.
    """
    if not request.HasField("route") or not request.route.hops:
        raise RpcError("unable to send, no routes provided")
    if len(request.payment_hash) != HASH_BYTES:
        raise RpcError(f"invalid hash length of {len(request.payment_hash)}, want {HASH_BYTES}")
    told = request.route
    sender = graph.name_of(own_key)
    amount_msat, expiry_height = told.total_amt_msat, told.total_time_lock
    hops: list[Hop] = []
    for hop in told.hops:
        channel, receiver = graph.channels.get(hop.chan_id), graph.name_of(hop.pub_key)
        if channel is None or sender is None or receiver is None:
            raise RpcError("UnknownNextPeer")
        hops.append(
            Hop(channel, sender, receiver, amount_msat, hop.amt_to_forward_msat, expiry_height)
        )
        sender, amount_msat, expiry_height = receiver, hop.amt_to_forward_msat, hop.expiry
    record = told.hops[-1].mpp_record
    route = Route(tuple(hops))
    intent = PaymentIntent(
        destination=told.hops[-1].pub_key,
        payment_hash=request.payment_hash,
        payment_addr=record.payment_addr,
        keysend_preimage=None,
        amount_msat=record.total_amt_msat or route.delivered_msat,
        fee_limit_msat=route.fees_msat,
        timeout_seconds=0,
        max_parts=1,
        final_cltv_delta_blocks=0,
        cltv_limit_blocks=MAX_CLTV_BLOCKS,
        outgoing_channel_ids=frozenset(),
        last_hop=None,
        payment_request="",
    )
    return intent, route
