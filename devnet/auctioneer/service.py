"""The auctioneer's gRPC side: each of poold's calls to the part that knows about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import grpc

from devnet.auctioneer import terms
from devnet.auctioneer.accounts import Accounts, RefusedError
from devnet.auctioneer.auction import Auction
from devnet.auctioneer.market import Market
from devnet.auctioneer.traders import Trader, Traders
from protos.auctioneerrpc import auctioneer_pb2, auctioneer_pb2_grpc
from protos.auctioneerrpc.auctioneer_pb2 import ClientAuctionMessage, ServerAuctionMessage
from protos.poolrpc import shared_pb2

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")

_Method = Callable[["AuctioneerService", Request, Context], Awaitable[Response]]


def _refusing(method: _Method[Request, Response]) -> _Method[Request, Response]:
    """Answers what is refused as Pool's does: with plain words, and the code that Go gives them."""

    @wraps(method)
    async def answered(self: AuctioneerService, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except RefusedError as refused:
            await context.abort(grpc.StatusCode.UNKNOWN, str(refused))

    return answered


class AuctioneerService(auctioneer_pb2_grpc.ChannelAuctioneerServicer):
    def __init__(
        self, accounts: Accounts, market: Market, auction: Auction, traders: Traders
    ) -> None:
        self._accounts = accounts
        self._market = market
        self._auction = auction
        self._traders = traders

    @_refusing
    async def ReserveAccount(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ReserveAccountRequest, _: Context
    ) -> auctioneer_pb2.ReserveAccountResponse:
        await self._accounts.reserve(request)
        return self._accounts.initial_keys()

    @_refusing
    async def InitAccount(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerInitAccountRequest, _: Context
    ) -> auctioneer_pb2.ServerInitAccountResponse:
        self._accounts.init(request)
        return auctioneer_pb2.ServerInitAccountResponse()

    @_refusing
    async def ModifyAccount(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerModifyAccountRequest, _: Context
    ) -> auctioneer_pb2.ServerModifyAccountResponse:
        return await self._accounts.modify(request)

    async def SubmitOrder(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerSubmitOrderRequest, _: Context
    ) -> auctioneer_pb2.ServerSubmitOrderResponse:
        try:
            self._market.submit(request)
        except RefusedError as refused:
            return auctioneer_pb2.ServerSubmitOrderResponse(
                invalid_order=shared_pb2.InvalidOrder(fail_string=str(refused))
            )
        return auctioneer_pb2.ServerSubmitOrderResponse(accepted=True)

    @_refusing
    async def CancelOrder(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerCancelOrderRequest, _: Context
    ) -> auctioneer_pb2.ServerCancelOrderResponse:
        self._market.cancel(request.order_nonce_preimage)
        return auctioneer_pb2.ServerCancelOrderResponse()

    @_refusing
    async def OrderState(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerOrderStateRequest, _: Context
    ) -> auctioneer_pb2.ServerOrderStateResponse:
        order = self._market.order(request.order_nonce.hex())
        return auctioneer_pb2.ServerOrderStateResponse(
            state=shared_pb2.OrderState.Value(order.state),
            units_unfulfilled=order.units_unfulfilled,
        )

    async def Terms(  # noqa: N802 - as the service is spelled
        self, _: auctioneer_pb2.TermsRequest, __: Context
    ) -> auctioneer_pb2.TermsResponse:
        return terms.terms()

    @_refusing
    async def BatchSnapshot(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.BatchSnapshotRequest, context: Context
    ) -> auctioneer_pb2.BatchSnapshotResponse:
        return self._auction.snapshot(request.batch_id.hex(), _run(context))

    async def NodeRating(  # noqa: N802 - as the service is spelled
        self, request: auctioneer_pb2.ServerNodeRatingRequest, _: Context
    ) -> auctioneer_pb2.ServerNodeRatingResponse:
        return auctioneer_pb2.ServerNodeRatingResponse(
            node_ratings=[
                shared_pb2.NodeRating(node_pubkey=key, node_tier=shared_pb2.TIER_1)
                for key in request.node_pubkeys
            ]
        )

    async def MarketInfo(  # noqa: N802 - as the service is spelled
        self, _: auctioneer_pb2.MarketInfoRequest, __: Context
    ) -> auctioneer_pb2.MarketInfoResponse:
        return auctioneer_pb2.MarketInfoResponse()

    async def SubscribeBatchAuction(  # noqa: N802 - as the service is spelled
        self, request_iterator: AsyncIterator[ClientAuctionMessage], context: Context
    ) -> AsyncIterator[ServerAuctionMessage]:
        trader = self._traders.connected(_run(context))
        reading = asyncio.create_task(self._read(trader, request_iterator))
        try:
            async for message in trader.outgoing():
                yield message
            # poold comes back after an error only: a stream that just ends is over for it.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connect again")
        finally:
            reading.cancel()
            self._traders.gone(trader)

    async def SubscribeSidecar(  # noqa: N802 - as the service is spelled
        self, _: AsyncIterator[ClientAuctionMessage], context: Context
    ) -> AsyncIterator[ServerAuctionMessage]:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no sidecar channels here")
        yield ServerAuctionMessage()

    async def _read(self, trader: Trader, messages: AsyncIterator[ClientAuctionMessage]) -> None:
        try:
            async for message in messages:
                await self._received(trader, message)
        finally:
            trader.end()

    async def _received(self, trader: Trader, message: ClientAuctionMessage) -> None:
        match message.WhichOneof("msg"):
            case "commit":
                trader.challenge(message.commit)
            case "subscribe":
                await self._subscribe(trader, message.subscribe)
            case "recover":
                trader.send(_error(message.recover.trader_key, "no accounts are recovered here"))
            case _:
                trader.answered(message)

    async def _subscribe(
        self, trader: Trader, subscription: auctioneer_pb2.AccountSubscription
    ) -> None:
        try:
            trader_key = trader.identify(subscription)
            self._accounts.known(trader_key)
        except RefusedError as refused:
            trader.send(_error(subscription.trader_key, str(refused)))
            return
        trader.send(
            ServerAuctionMessage(
                success=auctioneer_pb2.SubscribeSuccess(trader_key=subscription.trader_key)
            )
        )
        await self._traders.subscribed(trader_key, trader)


def _error(trader_key: bytes, words: str) -> ServerAuctionMessage:
    return ServerAuctionMessage(
        error=auctioneer_pb2.SubscribeError(
            error=words,
            error_code=auctioneer_pb2.SubscribeError.ACCOUNT_DOES_NOT_EXIST,
            trader_key=trader_key,
        )
    )


def _run(context: Context) -> str:
    """The token that one run of poold sends with each of its calls."""
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get("authorization", ""))
