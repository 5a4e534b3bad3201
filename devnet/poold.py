"""What a person at poold's keyboard could do, over its own API and its macaroon.

Both networks serve the same protos, so this one driver stands before simulated and real
poolds alike. The product never imports it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from devnet.macaroons import macaroon_interceptors
from devnet.waiting import eventually
from protos.poolrpc import shared_pb2, trader_pb2, trader_pb2_grpc

# poold's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

# LND's floor, which is what test chains ask for.
FEE_RATE_SAT_PER_KW = 253

# Of poold's format of orders: the one with every field that we know.
ORDER_VERSION = 5

UNIT_SAT = 100_000


@dataclass(frozen=True)
class PoolNode:
    """A devnet poold: where it is, and its credentials. `name` is that of its lnd."""

    name: str
    address: str
    tls_cert_path: Path
    macaroon_path: Path

    @asynccontextmanager
    async def trader(self) -> AsyncIterator[trader_pb2_grpc.TraderAsyncStub]:
        """A fresh connection, so a restarted poold is no surprise."""
        async with grpc.aio.secure_channel(
            self.address,
            grpc.ssl_channel_credentials(self.tls_cert_path.read_bytes()),
            interceptors=macaroon_interceptors(self.macaroon_path.read_bytes()),
        ) as channel:
            yield trader_pb2_grpc.TraderStub(channel)

    async def info(self, *, timeout_seconds: float = 10) -> trader_pb2.GetInfoResponse:
        """Real ones do not answer this while their auctioneer is away, and hear of no block."""
        async with self.trader() as trader:
            return await trader.GetInfo(trader_pb2.GetInfoRequest(), timeout=timeout_seconds)

    async def open_account(self, value_sat: int, *, expires_in_blocks: int = 4_032) -> bytes:
        """Funds one out of lnd's wallet; returns its trader key. Blocks make it OPEN."""
        async with self.trader() as trader:
            account = await trader.InitAccount(
                trader_pb2.InitAccountRequest(
                    account_value=value_sat,
                    relative_height=expires_in_blocks,
                    fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW,
                )
            )
        return account.trader_key

    async def close_account(self, trader_key: bytes) -> str:
        """Everything back to lnd's wallet; returns the transaction's id."""
        async with self.trader() as trader:
            closed = await trader.CloseAccount(
                trader_pb2.CloseAccountRequest(
                    trader_key=trader_key,
                    output_with_fee=trader_pb2.OutputWithFee(
                        fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW
                    ),
                )
            )
        return closed.close_txid[::-1].hex()

    async def accounts(self) -> dict[bytes, trader_pb2.Account]:
        """Every account that it ever had, by trader key."""
        async with self.trader() as trader:
            answer = await trader.ListAccounts(trader_pb2.ListAccountsRequest())
        return {account.trader_key: account for account in answer.accounts}

    async def wait_for_account(
        self,
        trader_key: bytes,
        state: trader_pb2.AccountState.ValueType,
        *,
        timeout_seconds: float = 60,
    ) -> trader_pb2.Account:
        """Waits until the account is in `state`."""
        found = await eventually(
            self.accounts,
            lambda accounts: trader_key in accounts and accounts[trader_key].state == state,
            what=f"{self.name}'s account in state {trader_pb2.AccountState.Name(state)}",
            timeout_seconds=timeout_seconds,
        )
        return found[trader_key]

    async def bid(
        self,
        trader_key: bytes,
        amount_sat: int,
        *,
        rate_ppb: int,
        duration_blocks: int = 2_016,
        min_units: int | None = None,
    ) -> bytes:
        """Asks for a channel of `amount_sat` to us; returns the order's nonce."""
        details = _order(trader_key, amount_sat, rate_ppb, min_units)
        bid = trader_pb2.Bid(
            details=details, lease_duration_blocks=duration_blocks, version=ORDER_VERSION
        )
        return await self._submit(trader_pb2.SubmitOrderRequest(bid=bid))

    async def ask(
        self,
        trader_key: bytes,
        amount_sat: int,
        *,
        rate_ppb: int,
        duration_blocks: int = 2_016,
        min_units: int | None = None,
    ) -> bytes:
        """Offers channels of `amount_sat` together; returns the order's nonce."""
        details = _order(trader_key, amount_sat, rate_ppb, min_units)
        ask = trader_pb2.Ask(
            details=details, lease_duration_blocks=duration_blocks, version=ORDER_VERSION
        )
        return await self._submit(trader_pb2.SubmitOrderRequest(ask=ask))

    async def cancel_order(self, nonce: bytes) -> None:
        async with self.trader() as trader:
            await trader.CancelOrder(trader_pb2.CancelOrderRequest(order_nonce=nonce))

    async def orders(self) -> dict[bytes, trader_pb2.Order]:
        """What its asks and bids have in common, by nonce, whatever became of them."""
        async with self.trader() as trader:
            answer = await trader.ListOrders(trader_pb2.ListOrdersRequest(verbose=True))
        both = [*(ask.details for ask in answer.asks), *(bid.details for bid in answer.bids)]
        return {details.order_nonce: details for details in both}

    async def wait_for_order(
        self, nonce: bytes, state: shared_pb2.OrderState.ValueType, *, timeout_seconds: float = 60
    ) -> trader_pb2.Order:
        """Waits until the order is in `state`."""
        found = await eventually(
            self.orders,
            lambda orders: nonce in orders and orders[nonce].state == state,
            what=f"{self.name}'s order in state {shared_pb2.OrderState.Name(state)}",
            timeout_seconds=timeout_seconds,
        )
        return found[nonce]

    async def leases(self) -> list[trader_pb2.Lease]:
        """Every channel that was leased by an order of ours, or to one."""
        async with self.trader() as trader:
            return list((await trader.Leases(trader_pb2.LeasesRequest())).leases)

    async def _submit(self, request: trader_pb2.SubmitOrderRequest) -> bytes:
        async with self.trader() as trader:
            answer = await trader.SubmitOrder(request)
        if answer.HasField("invalid_order"):
            raise ValueError(answer.invalid_order.fail_string)
        return answer.accepted_order_nonce


def _order(
    trader_key: bytes, amount_sat: int, rate_ppb: int, min_units: int | None
) -> trader_pb2.Order:
    return trader_pb2.Order(
        trader_key=trader_key,
        rate_fixed=rate_ppb,
        amt=amount_sat,
        max_batch_fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW,
        # All or nothing, where nobody says otherwise.
        min_units_match=min_units or amount_sat // UNIT_SAT,
    )
