"""looprpc.SwapClient, as loopd serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import bech32

from devnet.simulated.errors import RpcError
from devnet.simulated.loop.client_swap import SWEEP_WEIGHT, ClientSwap, publish_fee_sat
from devnet.simulated.loop.swap_server import (
    LOOP_IN_CLTV_DELTA,
    MAX_SWAP_SAT,
    MIN_CLTV_DELTA,
    MIN_SWAP_SAT,
    PREPAY_SAT,
)
from devnet.simulated.onchain.weights import fee_sat
from protos.looprpc import client_pb2

if TYPE_CHECKING:
    from devnet.simulated.loop.loopd import Loopd

_HASH_BYTES: Final = 32
_MIN_CONF_TARGET: Final = 2
# A monitor is told of so many that have ended.
_ENDED: Final = 5

_Filter = client_pb2.ListSwapsFilter


class SwapClientService:
    def __init__(self, loopd: Loopd) -> None:
        self._loopd = loopd

    async def get_info(self, _: client_pb2.GetInfoRequest) -> client_pb2.GetInfoResponse:
        """Counts in the database, which can have more than the list."""
        swaps = self._loopd.stored.values()
        return client_pb2.GetInfoResponse(
            version="0.33.3-beta (simulated)",
            network="regtest",
            loop_out_stats=_stats([swap for swap in swaps if swap.deal.is_out]),
            loop_in_stats=_stats([swap for swap in swaps if not swap.deal.is_out]),
        )

    async def loop_out_terms(self, _: client_pb2.TermsRequest) -> client_pb2.OutTermsResponse:
        self._check_server()
        return client_pb2.OutTermsResponse(
            min_swap_amount=MIN_SWAP_SAT,
            max_swap_amount=MAX_SWAP_SAT,
            min_cltv_delta=MIN_CLTV_DELTA,
            max_cltv_delta=1_000,
        )

    async def get_loop_in_terms(self, _: client_pb2.TermsRequest) -> client_pb2.InTermsResponse:
        self._check_server()
        return client_pb2.InTermsResponse(
            min_swap_amount=MIN_SWAP_SAT, max_swap_amount=MAX_SWAP_SAT
        )

    async def loop_out_quote(self, ask: client_pb2.QuoteRequest) -> client_pb2.OutQuoteResponse:
        self._check_amount(ask.amt)
        conf_target = _conf_target(ask.conf_target)
        fees = self._loopd.chain.fees
        return client_pb2.OutQuoteResponse(
            swap_fee_sat=self._loopd.server.fee_sat(ask.amt),
            prepay_amt_sat=PREPAY_SAT,
            htlc_sweep_fee_sat=fee_sat(fees.estimate_sat_per_kw(conf_target), SWEEP_WEIGHT),
            swap_payment_dest=self._loopd.server.public_key,
            cltv_delta=MIN_CLTV_DELTA,
            conf_target=conf_target,
        )

    async def get_loop_in_quote(self, ask: client_pb2.QuoteRequest) -> client_pb2.InQuoteResponse:
        self._check_amount(ask.amt)
        node, chain_sat = self._loopd.node, publish_fee_sat(self._loopd)
        if ask.amt + chain_sat > node.wallets.balance(node.name).confirmed_sat:
            chain_sat = -1  # as lnd has no transaction to estimate
        return client_pb2.InQuoteResponse(
            swap_fee_sat=self._loopd.server.fee_sat(ask.amt),
            htlc_publish_fee_sat=0 if ask.external_htlc else chain_sat,
            cltv_delta=LOOP_IN_CLTV_DELTA,
            conf_target=ask.conf_target,
        )

    async def loop_out(self, request: client_pb2.LoopOutRequest) -> client_pb2.SwapResponse:
        _conf_target(request.sweep_conf_target)
        return _response(self._loopd.loop_out(request))

    async def loop_in(self, request: client_pb2.LoopInRequest) -> client_pb2.SwapResponse:
        return _response(self._loopd.loop_in(request))

    async def list_swaps(
        self, request: client_pb2.ListSwapsRequest
    ) -> client_pb2.ListSwapsResponse:
        swaps = [swap for swap in self._loopd.listed() if _matches(swap, request.list_swap_filter)]
        return client_pb2.ListSwapsResponse(swaps=map(swap_status, swaps))

    async def swap_info(self, request: client_pb2.SwapInfoRequest) -> client_pb2.SwapStatus:
        return swap_status(self._find(request.id))

    async def abandon_swap(
        self, request: client_pb2.AbandonSwapRequest
    ) -> client_pb2.AbandonSwapResponse:
        if not request.i_know_what_i_am_doing:
            raise RpcError("please read the AbandonSwap API documentation")
        swap = self._find(request.id)
        if swap.deal.is_out:
            raise RpcError("abandoning loop out swaps is not supported yet")
        if swap.is_final:
            raise RpcError("cannot abandon swap in final state")
        self._loopd.abandon(swap)
        return client_pb2.AbandonSwapResponse()

    async def monitor(self, _: client_pb2.MonitorRequest) -> AsyncIterator[client_pb2.SwapStatus]:
        """What is pending and a few that have ended, then every move."""
        moves: asyncio.Queue[client_pb2.SwapStatus] = asyncio.Queue()

        def on_move(swap: ClientSwap) -> None:
            moves.put_nowait(swap_status(swap))

        self._loopd.listeners.append(on_move)
        try:
            listed = self._loopd.listed()
            ended = [swap for swap in listed if swap.is_final]
            told = [swap for swap in listed if not swap.is_final] + ended[-_ENDED:]
            for swap in sorted(told, key=lambda each: each.updated_ns):
                yield swap_status(swap)
            while True:
                yield await moves.get()
        finally:
            if on_move in self._loopd.listeners:
                self._loopd.listeners.remove(on_move)

    def _find(self, swap_hash: bytes) -> ClientSwap:
        if len(swap_hash) != _HASH_BYTES:
            raise RpcError(f"error parsing swap hash: invalid hash length of {len(swap_hash)}")
        for swap in self._loopd.listed():
            if swap.deal.payment_hash == swap_hash:
                return swap
        raise RpcError("swap with hash not found")

    def _check_server(self) -> None:
        if self._loopd.quirks.server_away:
            raise RpcError("rpc error: code = Unavailable desc = connection refused")

    def _check_amount(self, amount_sat: int) -> None:
        self._check_server()
        if amount_sat < MIN_SWAP_SAT:
            raise RpcError("swap amount too low")
        if amount_sat > MAX_SWAP_SAT:
            raise RpcError("swap amount too high")


def swap_status(swap: ClientSwap) -> client_pb2.SwapStatus:
    """A swap as loopd tells it. Seconds and costs as they are stored."""
    return client_pb2.SwapStatus(
        amt=swap.deal.amount_sat,
        id_bytes=swap.deal.payment_hash,
        type=client_pb2.LOOP_OUT if swap.deal.is_out else client_pb2.LOOP_IN,
        state=swap.state,
        failure_reason=swap.reason,
        initiation_time=swap.initiated_ns,
        last_update_time=swap.updated_ns,
        htlc_address_p2tr=_address(swap),
        cost_server=swap.server_sat,
        cost_onchain=swap.on_chain_sat,
        cost_offchain=swap.off_chain_sat,
        label=swap.label,
        last_hop=swap.last_hop,
        outgoing_chan_set=swap.channels,
    )


def _response(swap: ClientSwap) -> client_pb2.SwapResponse:
    return client_pb2.SwapResponse(
        id_bytes=swap.deal.payment_hash, htlc_address_p2tr=_address(swap)
    )


def _address(swap: ClientSwap) -> str:
    address = bech32.encode("bcrt", 0, swap.deal.payment_hash)
    assert address is not None, "32 bytes are a witness program"
    return address


def _matches(swap: ClientSwap, wanted: client_pb2.ListSwapsFilter) -> bool:
    kind = _Filter.LOOP_OUT if swap.deal.is_out else _Filter.LOOP_IN
    if wanted.swap_type not in (_Filter.ANY, kind):
        return False
    pending = not wanted.pending_only or not swap.is_final
    # A part of a label will do, whatever stands before or behind it.
    return pending and wanted.label in swap.label


def _conf_target(target: int) -> int:
    if target and target < _MIN_CONF_TARGET:
        raise RpcError("confirmation target too low: at least 2 must be provided")
    return target or 9


def _stats(swaps: list[ClientSwap]) -> client_pb2.LoopStats:
    succeeded = [swap for swap in swaps if swap.state == client_pb2.SUCCESS]
    failed = [swap for swap in swaps if swap.is_final and swap.state == client_pb2.FAILED]
    return client_pb2.LoopStats(
        pending_count=len(swaps) - len(succeeded) - len(failed),
        success_count=len(succeeded),
        fail_count=len(failed),
        sum_succeeded_amt=sum(swap.deal.amount_sat for swap in succeeded),
    )
