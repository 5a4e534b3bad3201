"""What loopd calls, and a task for each swap that is not over."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from devnet.swapserver.chain import Chain
from devnet.swapserver.closing import Closings
from devnet.swapserver.errors import RefusedError
from devnet.swapserver.journal import AnySwap, InState, InSwap, Journal, OutSwap
from devnet.swapserver.lnd import Lnd
from devnet.swapserver.loop_in import LoopIn
from devnet.swapserver.loop_out import LoopOut
from devnet.swapserver.terms import TERMS
from protos.swapserverrpc import server_pb2 as pb

_log = logging.getLogger(__name__)

_PACE_SECONDS = 0.2


class SwapServer:
    """One method a call of the service; each raises RefusedError to say no."""

    def __init__(self, lnd: Lnd, folder: Path) -> None:
        self._lnd = lnd
        self._chain = Chain(lnd)
        closings = Closings(lnd, self._chain)
        self._out = LoopOut(lnd, closings, Journal(folder / "out", OutSwap), TERMS)
        self._in = LoopIn(lnd, self._chain, closings, Journal(folder / "in", InSwap), TERMS)
        self._tasks: set[asyncio.Task[None]] = set()

    def carry_on(self) -> None:
        """Goes on with what the journal says is not over."""
        for out_swap in self._out.journal.swaps.values():
            self._drive(out_swap, self._out.step)
        for in_swap in self._in.journal.swaps.values():
            if in_swap.state == InState.PROBING:
                self._in.abandoned(in_swap)
            self._drive(in_swap, self._in.step)

    # Loop Out.

    async def loop_out_terms(self, _: pb.ServerLoopOutTermsRequest) -> pb.ServerLoopOutTerms:
        return pb.ServerLoopOutTerms(
            min_swap_amount=TERMS.min_sat,
            max_swap_amount=TERMS.max_sat,
            min_cltv_delta=TERMS.min_out_delta,
            max_cltv_delta=TERMS.max_out_delta,
        )

    async def loop_out_quote(self, request: pb.ServerLoopOutQuoteRequest) -> pb.ServerLoopOutQuote:
        _check_amount(request.amt)
        return pb.ServerLoopOutQuote(
            swap_payment_dest=(await self._lnd.info()).identity_pubkey,
            swap_fee=TERMS.fee_sat(request.amt),
            prepay_amt=TERMS.prepay_sat,
        )

    async def new_loop_out_swap(self, request: pb.ServerLoopOutRequest) -> pb.ServerLoopOutResponse:
        _check_amount(request.amt)
        swap = await self._out.offer(request)
        self._drive(swap, self._out.step)
        return pb.ServerLoopOutResponse(
            swap_invoice=swap.payment_request,
            prepay_invoice=swap.prepay_request,
            sender_key=bytes.fromhex(swap.key.public),
        )

    async def loop_out_push_preimage(
        self, request: pb.ServerLoopOutPushPreimageRequest
    ) -> pb.ServerLoopOutPushPreimageResponse:
        self._out.push(request.preimage)
        return pb.ServerLoopOutPushPreimageResponse()

    async def cancel_loop_out_swap(
        self, request: pb.CancelLoopOutSwapRequest
    ) -> pb.CancelLoopOutSwapResponse:
        self._out.cancel(request)
        return pb.CancelLoopOutSwapResponse()

    async def mu_sig2_sign_sweep(self, request: pb.MuSig2SignSweepReq) -> pb.MuSig2SignSweepRes:
        return await self._out.cosign(request)

    # Loop In.

    async def loop_in_terms(self, _: pb.ServerLoopInTermsRequest) -> pb.ServerLoopInTerms:
        return pb.ServerLoopInTerms(min_swap_amount=TERMS.min_sat, max_swap_amount=TERMS.max_sat)

    async def loop_in_quote(
        self, request: pb.ServerLoopInQuoteRequest
    ) -> pb.ServerLoopInQuoteResponse:
        _check_amount(request.amt)
        return pb.ServerLoopInQuoteResponse(
            swap_fee=TERMS.fee_sat(request.amt), cltv_delta=TERMS.in_delta
        )

    async def new_loop_in_swap(self, request: pb.ServerLoopInRequest) -> pb.ServerLoopInResponse:
        _check_amount(request.amt)
        swap = await self._in.offer(request)
        self._drive(swap, self._in.step)
        return pb.ServerLoopInResponse(
            receiver_key=bytes.fromhex(swap.key.public),
            receiver_internal_pubkey=bytes.fromhex(swap.our_internal_key),
            expiry=swap.expiry,
        )

    async def push_key(self, _: pb.ServerPushKeyReq) -> pb.ServerPushKeyRes:
        """Would save some fee by the key path; the claim by our leaf is on its way already."""
        return pb.ServerPushKeyRes()

    def _drive(self, swap: AnySwap, step: Callable[[AnySwap], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._steps(swap, step))
        self._tasks.add(task)
        task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A mistake of ours. A new process would begin where the journal stands.
            _log.error("a swap is left where it was", exc_info=error)

    async def _steps(self, swap: AnySwap, step: Callable[[AnySwap], Awaitable[None]]) -> None:
        """Step by step to the end; after an lnd that was away or said no, the same again."""
        while not swap.ended:
            try:
                await step(swap)
            except grpc.aio.AioRpcError as error:
                _log.warning("%s: %s", swap.swap_hash[:12], error.details())
            await asyncio.sleep(_PACE_SECONDS)
        self._chain.forget(bytes.fromhex(swap.script))


def handlers(server: SwapServer) -> grpc.GenericRpcHandler:
    """The calls under their names on the wire. A refusal is INVALID_ARGUMENT."""
    service = pb.DESCRIPTOR.services_by_name["SwapServer"]
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: grpc.unary_unary_rpc_method_handler(
                _answering(getattr(server, _snake_case(method.name))),
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in service.methods
        },
    )


def _answering(call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await call(request)
        except RefusedError as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))

    return answer


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _check_amount(amount_sat: int) -> None:
    """Loopd does not hold an amount against the terms itself."""
    if refusal := TERMS.refusal(amount_sat):
        raise RefusedError(refusal)
