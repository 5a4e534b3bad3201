"""lnrpc.Lightning: routes that are asked for, and what a node charges for forwarding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devnet.simulated.channels import Channel
from devnet.simulated.errors import RpcError
from devnet.simulated.marshal import route_message
from devnet.simulated.onchain.transactions import Outpoint
from devnet.simulated.pathfinding import (
    InsufficientBalanceError,
    NoRouteError,
    Restrictions,
    find_route,
)
from devnet.simulated.requests import DEFAULT_FINAL_CLTV_DELTA_BLOCKS, MAX_CLTV_BLOCKS
from protos.lnrpc import lightning_pb2

if TYPE_CHECKING:
    from devnet.simulated.node import SimulatedNode

_SMALL_MSAT: Final = 1_000_000


class RoutesService:
    """Answers from the graph alone.

    Mission control knows nothing here: a test network that remembered would let one scenario
    spoil the next.
    """

    _node: SimulatedNode

    async def query_routes(
        self, request: lightning_pb2.QueryRoutesRequest
    ) -> lightning_pb2.QueryRoutesResponse:
        node, graph = self._node, self._node.graph
        if request.amt_msat <= 0:
            raise RpcError("amount must be positive")
        avoided = {
            (graph.name_of(pair_from.hex()) or "", graph.name_of(pair.to.hex()) or ""): 0
            for pair in request.ignored_pairs
            for pair_from in (getattr(pair, "from"),)
        }
        limits = Restrictions(
            fee_limit_msat=_fee_limit_msat(request),
            # lnd pads its own payments; who asks for a route pads for himself.
            final_cltv_delta_blocks=(request.final_cltv_delta or DEFAULT_FINAL_CLTV_DELTA_BLOCKS),
            cltv_limit_blocks=request.cltv_limit or MAX_CLTV_BLOCKS,
            outgoing_channel_ids=frozenset(request.outgoing_chan_ids),
            last_hop=(
                graph.name_of(request.last_hop_pubkey.hex()) or ""
                if request.last_hop_pubkey
                else None
            ),
            avoided_msat=avoided,
        )
        try:
            route = find_route(
                graph,
                limits,
                payer=node.name,
                payee=graph.name_of(request.pub_key),
                amount_msat=request.amt_msat,
                height=node.view.height,
                padding_blocks=0,
            )
        except InsufficientBalanceError:
            raise RpcError("insufficient local balance") from None
        except NoRouteError:
            raise RpcError("unable to find a path to destination") from None
        return lightning_pb2.QueryRoutesResponse(
            routes=[route_message(route, graph)], success_prob=1.0
        )

    async def update_channel_policy(
        self, request: lightning_pb2.PolicyUpdateRequest
    ) -> lightning_pb2.PolicyUpdateResponse:
        """Known to every node at once: gossip that lags is not modelled.

        Routes that were found before, and are sent after, fail as they do in lnd.
        """
        if request.time_lock_delta == 0:
            raise RpcError("time lock delta of 0 is too small, minimum supported is 18")
        for channel in self._meant(request):
            channel.policies[self._node.name] = replace(
                channel.policies[self._node.name],
                base_fee_msat=request.base_fee_msat,
                fee_rate_ppm=request.fee_rate_ppm,
                cltv_expiry_delta_blocks=request.time_lock_delta,
            )
        return lightning_pb2.PolicyUpdateResponse()

    def _meant(self, request: lightning_pb2.PolicyUpdateRequest) -> list[Channel]:
        mine = self._node.graph.channels_of(self._node.name)
        if request.WhichOneof("scope") != "chan_point":
            return list(mine)
        point = request.chan_point
        txid = point.funding_txid_str or point.funding_txid_bytes[::-1].hex()
        funding = Outpoint(txid, point.output_index)
        return [channel for channel in mine if channel.funding == funding]


def _fee_limit_msat(request: lightning_pb2.QueryRoutesRequest) -> int:
    limit, amount_msat = request.fee_limit, request.amt_msat
    match limit.WhichOneof("limit"):
        case "fixed":
            return limit.fixed * 1_000
        case "fixed_msat":
            return limit.fixed_msat
        case "percent":
            return amount_msat * limit.percent // 100
        case _:
            return amount_msat if amount_msat <= _SMALL_MSAT else amount_msat // 20
