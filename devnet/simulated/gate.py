"""What every call passes on its way into a node: readiness, macaroon, and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc

from devnet.simulated.calls import Calls
from devnet.simulated.errors import RpcError
from devnet.simulated.faults import (
    Break,
    Delay,
    DropAnswer,
    Fault,
    Faults,
    NeverClose,
    Refuse,
    RepeatMessages,
    RestartNode,
    Stall,
)
from devnet.simulated.security import Macaroons
from protos.lnrpc import stateservice_pb2

STATE_SERVICE = "/lnrpc.State/"
NOT_READY = "the RPC server is in the process of starting up, but not yet ready to accept calls"

# How long a stream that loses its answer may take until its effect has taken place.
EFFECT_SECONDS = 0.05

Context = grpc.aio.ServicerContext[Any, Any]
Serve = Callable[[Any], Awaitable[Any]]
Stream = Callable[[Any], AsyncIterator[Any]]
Guarded = Callable[[Any, Context], Awaitable[Any]]


class ConnectionLostError(RpcError):
    """What a client reads when the process behind its connection is gone."""

    def __init__(self) -> None:
        super().__init__("Socket closed", grpc.StatusCode.UNAVAILABLE)


class Gate:
    """Stands before every method, in lnd's order: state, macaroon, then the call.

    It also knows who is being served, so that a crash can end every call as a lost
    connection would.
    """

    def __init__(
        self,
        node: str,
        macaroons: Macaroons,
        faults: Faults,
        calls: Calls,
        restart: Callable[[], None],
    ) -> None:
        self.state: stateservice_pb2.WalletState.ValueType = stateservice_pb2.UNLOCKED
        self._node = node
        self._macaroons = macaroons
        self._faults = faults
        self._calls = calls
        self._restart = restart
        self._crashed = False
        self._serving: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Task[None]] = set()

    def guard_unary(self, method: str, serve: Serve) -> Guarded:
        """`serve`, an answer to a request, behind this gate."""

        async def guarded(request: Any, context: Context) -> Any:
            return await self._watched(self._unary(method, serve, request, context), context)

        return guarded

    def guard_stream(self, method: str, serve: Stream) -> Guarded:
        """`serve`, a stream of messages for a request, behind this gate."""

        async def guarded(request: Any, context: Context) -> None:
            await self._watched(self._stream(method, serve, request, context), context)

        return guarded

    async def crash(self) -> None:
        """Ends every call that is being served; its client reads a lost connection."""
        self._crashed = True
        serving = [*self._serving, *self._abandoned]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _watched(self, call: Awaitable[Any], context: Context) -> Any:
        task = asyncio.current_task()
        assert task is not None, "gRPC serves each call in a task of its own"
        self._serving.add(task)
        try:
            return await call
        except RpcError as error:
            await context.abort(error.code, error.text)
        except asyncio.CancelledError:
            if not self._crashed:
                raise  # the client has gone
            lost = ConnectionLostError()
            await context.abort(lost.code, lost.text)
        finally:
            self._serving.discard(task)

    def _admit(self, method: str, context: Context) -> Fault | None:
        """Lets a call in, and says what is ordered for it."""
        if not method.startswith(STATE_SERVICE):
            if self.state != stateservice_pb2.SERVER_ACTIVE:
                raise RpcError(NOT_READY)
            metadata = context.invocation_metadata() or ()
            presented = [str(value) for key, value in metadata if key == "macaroon"]
            self._macaroons.check(presented, method)
        name = method.rpartition("/")[2]
        self._calls.made(self._node, name)
        return self._faults.take(self._node, name)

    async def _before_effect(
        self, fault: Fault | None, effect: Callable[[], Awaitable[Any]]
    ) -> None:
        match fault:
            case Refuse(code, text):
                raise RpcError(text, code)
            case Delay(seconds):
                await self._delay(seconds, effect)
            case RestartNode(after_effect=False):
                await self._die()

    async def _after_effect(self, fault: Fault | None) -> None:
        match fault:
            case DropAnswer():
                raise ConnectionLostError
            case RestartNode():
                await self._die()
            case Stall(after_messages=0):
                await _forever()

    async def _unary(self, method: str, serve: Serve, request: Any, context: Context) -> Any:
        fault = self._admit(method, context)
        await self._before_effect(fault, lambda: serve(request))
        answer = await serve(request)
        await self._after_effect(fault)
        return answer

    async def _stream(self, method: str, serve: Stream, request: Any, context: Context) -> None:
        fault = self._admit(method, context)
        await self._before_effect(fault, lambda: _take_effect(serve(request)))
        messages = serve(request)
        if isinstance(fault, DropAnswer | RestartNode) or fault == Stall():
            await _take_effect(messages)
            await self._after_effect(fault)

        sent = 0
        if fault == Break(0):
            raise ConnectionLostError
        async for message in messages:
            await context.write(message)
            sent += 1
            if isinstance(fault, RepeatMessages):
                await context.write(message)
            if isinstance(fault, Stall) and sent == fault.after_messages:
                await _forever()
            if isinstance(fault, Break) and sent == fault.after_messages:
                raise ConnectionLostError
        if isinstance(fault, NeverClose | Stall):
            await _forever()

    async def _delay(self, seconds: float, effect: Callable[[], Awaitable[Any]]) -> None:
        """Waits. A call whose caller leaves meanwhile takes effect all the same, as in lnd."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds

        async def take_effect_alone() -> None:
            await asyncio.sleep(until - loop.time())
            with suppress(RpcError):  # nobody is left to be told
                await effect()

        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if not self._crashed:
                task = loop.create_task(take_effect_alone())
                self._abandoned.add(task)
                task.add_done_callback(self._abandoned.discard)
            raise

    async def _die(self) -> None:
        self._restart()
        await _forever()  # the crash ends this call like every other


async def _take_effect(messages: AsyncIterator[Any]) -> None:
    """Runs a stream's method up to its first message, or to where it waits for one."""
    first = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait([first], timeout=EFFECT_SECONDS)
        if first.done():
            first.result()  # what the method refuses is refused all the same
    finally:
        first.cancel()


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
