"""poolrpc.Trader, as poold 0.6.6 answers it."""

from __future__ import annotations

from devnet.simulated.errors import RpcError
from devnet.simulated.pool import sums
from devnet.simulated.pool.accounts import Account
from devnet.simulated.pool.trader import OurBid, OurLease, Trader
from protos.poolrpc import shared_pb2, trader_pb2

VERSION = "0.6.6-beta commit=simulated"


class TraderService:
    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self._accounts = trader.accounts

    async def get_info(self, _: trader_pb2.GetInfoRequest) -> trader_pb2.GetInfoResponse:
        accounts = self._accounts.all()
        active = [each for each in accounts if each.state != trader_pb2.CLOSED]
        return trader_pb2.GetInfoResponse(
            version=VERSION,
            accounts_total=len(accounts),
            accounts_active=len(active),
            accounts_active_expired=sum(each.state == trader_pb2.EXPIRED for each in active),
            orders_total=len(self._trader.orders),
            current_block_height=self._trader.height,
            batches_involved=self._trader.batches,
            subscribed_to_auctioneer=bool(active) and not self._trader.market.away,
        )

    # Accounts.

    async def quote_account(
        self, request: trader_pb2.QuoteAccountRequest
    ) -> trader_pb2.QuoteAccountResponse:
        self._trader.ask_auctioneer()
        self._accounts.check_value(request.account_value)
        rate = sums.FLOOR_SAT_PER_KW
        return trader_pb2.QuoteAccountResponse(
            miner_fee_rate_sat_per_kw=rate,
            miner_fee_total=self._accounts.funding_fee_sat(request.account_value, rate),
        )

    async def init_account(self, request: trader_pb2.InitAccountRequest) -> trader_pb2.Account:
        self._trader.ask_auctioneer()
        account = self._accounts.open(
            request.account_value,
            self._height(request.absolute_height, request.relative_height),
            _fee_rate(request.fee_rate_sat_per_kw or sums.FLOOR_SAT_PER_KW),
        )
        return self._account(account, with_available=False)

    async def list_accounts(
        self, request: trader_pb2.ListAccountsRequest
    ) -> trader_pb2.ListAccountsResponse:
        self._trader.ask_auctioneer()
        return trader_pb2.ListAccountsResponse(
            accounts=[
                self._account(account)
                for account in self._accounts.all()
                if not request.active_only or account.state != trader_pb2.CLOSED
            ]
        )

    async def renew_account(
        self, request: trader_pb2.RenewAccountRequest
    ) -> trader_pb2.RenewAccountResponse:
        self._trader.ask_auctioneer()
        account = self._accounts.renew(
            request.account_key,
            self._height(request.absolute_expiry, request.relative_expiry),
            _fee_rate(request.fee_rate_sat_per_kw),
        )
        return trader_pb2.RenewAccountResponse(
            account=self._account(account), renewal_txid=_wire(account.outpoint.txid)
        )

    async def close_account(
        self, request: trader_pb2.CloseAccountRequest
    ) -> trader_pb2.CloseAccountResponse:
        rate = request.output_with_fee.fee_rate_sat_per_kw or sums.FLOOR_SAT_PER_KW
        closing = self._accounts.close(request.trader_key, rate)
        return trader_pb2.CloseAccountResponse(close_txid=_wire(closing.txid))

    # Orders.

    async def submit_order(
        self, request: trader_pb2.SubmitOrderRequest
    ) -> trader_pb2.SubmitOrderResponse:
        if request.WhichOneof("details") != "bid":
            raise RpcError("makers have their accounts elsewhere in this simulation")
        answer = self._trader.submit(request.bid)
        if isinstance(answer, str):
            return trader_pb2.SubmitOrderResponse(
                invalid_order=shared_pb2.InvalidOrder(fail_string=answer)
            )
        return trader_pb2.SubmitOrderResponse(accepted_order_nonce=answer)

    async def list_orders(
        self, request: trader_pb2.ListOrdersRequest
    ) -> trader_pb2.ListOrdersResponse:
        return trader_pb2.ListOrdersResponse(
            bids=[
                _bid(order)
                for order in self._trader.orders
                if not request.active_only or order.reserved_sat
            ]
        )

    async def cancel_order(
        self, request: trader_pb2.CancelOrderRequest
    ) -> trader_pb2.CancelOrderResponse:
        self._trader.cancel(request.order_nonce)
        return trader_pb2.CancelOrderResponse()

    async def quote_order(
        self, request: trader_pb2.QuoteOrderRequest
    ) -> trader_pb2.QuoteOrderResponse:
        if request.min_units_match == 0:
            raise RpcError("min units match must be specified")
        self._trader.ask_auctioneer()
        count = request.amt // (request.min_units_match * sums.UNIT_SAT)
        rate, blocks = request.rate_fixed, request.lease_duration_blocks
        chain_sat = sums.trader_fee_sat(1, request.max_batch_fee_rate_sat_per_kw, is_taproot=False)
        return trader_pb2.QuoteOrderResponse(
            total_premium_sat=sums.premium_sat(request.amt, rate, blocks),
            rate_per_block=rate / 1e9,
            rate_percent=rate / 1e9 * 100,
            total_execution_fee_sat=sums.execution_sat(request.amt),
            worst_case_chain_fee_sat=count * chain_sat,
        )

    # The auctioneer's terms, and what was leased.

    async def auction_fee(self, _: trader_pb2.AuctionFeeRequest) -> trader_pb2.AuctionFeeResponse:
        self._trader.ask_auctioneer()
        return trader_pb2.AuctionFeeResponse(
            execution_fee=shared_pb2.ExecutionFee(
                base_fee=sums.EXECUTION_BASE_SAT, fee_rate=sums.EXECUTION_PPM
            )
        )

    async def lease_durations(
        self, _: trader_pb2.LeaseDurationRequest
    ) -> trader_pb2.LeaseDurationResponse:
        self._trader.ask_auctioneer()
        closed = self._trader.market.closed
        return trader_pb2.LeaseDurationResponse(
            lease_duration_buckets={
                blocks: shared_pb2.ACCEPTING_ORDERS if blocks in closed else shared_pb2.MARKET_OPEN
                for blocks in sums.DURATIONS_BLOCKS
            }
        )

    async def next_batch_info(
        self, _: trader_pb2.NextBatchInfoRequest
    ) -> trader_pb2.NextBatchInfoResponse:
        self._trader.ask_auctioneer()
        return trader_pb2.NextBatchInfoResponse(
            conf_target=6, fee_rate_sat_per_kw=self._trader.market.sat_per_kw
        )

    async def leases(self, _: trader_pb2.LeasesRequest) -> trader_pb2.LeasesResponse:
        self._trader.ask_auctioneer()  # for the ratings of the peers
        leases = [self._lease(each) for each in self._trader.leases]
        return trader_pb2.LeasesResponse(
            leases=leases,
            total_amt_paid_sat=sum(
                each.premium_sat + each.execution_fee_sat + each.chain_fee_sat for each in leases
            ),
        )

    # In the words of the wire.

    def _height(self, absolute: int, relative: int) -> int:
        if bool(absolute) == bool(relative):
            raise RpcError("either relative or absolute height must be specified")
        return absolute or self._trader.height + relative

    def _account(self, account: Account, *, with_available: bool = True) -> trader_pb2.Account:
        txid = _wire(account.outpoint.txid)
        return trader_pb2.Account(
            trader_key=account.key,
            outpoint=shared_pb2.OutPoint(txid=txid, output_index=account.outpoint.index),
            value=account.value_sat,
            available_balance=self._trader.available_sat(account) if with_available else 0,
            expiration_height=account.expiry_height,
            state=account.state,
            latest_txid=txid,
            version=trader_pb2.ACCOUNT_VERSION_TAPROOT_V2,
        )

    def _lease(self, lease: OurLease) -> trader_pb2.Lease:
        amount_sat, blocks = lease.match.amount_sat, lease.bid.blocks
        rate = lease.match.rate_ppb
        return trader_pb2.Lease(
            channel_point=shared_pb2.OutPoint(txid=_wire(lease.funding_txid), output_index=0),
            channel_amt_sat=amount_sat,
            channel_duration_blocks=blocks,
            channel_lease_expiry=self._trader.lease_expiry(lease),
            premium_sat=sums.premium_sat(amount_sat, rate, blocks),
            execution_fee_sat=sums.execution_sat(amount_sat),
            chain_fee_sat=lease.chain_fee_sat,
            clearing_rate_price=rate,
            order_fixed_rate=lease.bid.rate_ppb,
            order_nonce=lease.bid.nonce,
            purchased=True,
            channel_remote_node_key=self._trader.key_of(lease.match.ask.maker),
            channel_node_tier=lease.match.ask.tier,
        )


def _bid(order: OurBid) -> trader_pb2.Bid:
    listed = trader_pb2.Bid()
    listed.CopyFrom(order.message)
    details = listed.details
    details.order_nonce, details.state = order.nonce, order.state
    details.units = details.amt // sums.UNIT_SAT
    details.units_unfulfilled = order.units_unfulfilled
    details.reserved_value_sat = order.reserved_sat
    details.creation_timestamp_ns = order.created_at_ns
    return listed


def _fee_rate(sat_per_kw: int) -> int:
    if sat_per_kw < sums.FLOOR_SAT_PER_KW:
        raise RpcError(f"fee rate of {sat_per_kw} sat/kw is too low, minimum is 253 sat/kw")
    return sat_per_kw


def _wire(txid: str) -> bytes:
    return bytes.fromhex(txid)[::-1]
