"""What is asked of one poold: accounts, bids, and the channels that were leased."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fulgurite.errors import LeaseRefusedError, UnexpectedAnswerError
from fulgurite.identity import ChannelPoint, NodePubkey, Txid
from fulgurite.leases.market import Account, AccountState, Bid, BidState, LeasedChannel
from fulgurite.leases.pricing import ExecutionFee, Quote, sat_per_kw, sat_per_vbyte, worst_case
from fulgurite.leases.requests import UNIT_SAT, LeaseRequest, NodeTier
from nodes.pool.connection import UNARY_TIMEOUT_SECONDS, PoolConnection
from nodes.pool.errors import domain_errors
from protos.poolrpc import shared_pb2, trader_pb2

# A call that makes something is never cut off early: it may have been made, and not told.
_MAKING_TIMEOUT_SECONDS: Final = 90.0
# The first version of orders that has every field of ours; poold 0.6 knows it.
_ORDER_VERSION: Final = 5
_CONF_TARGET: Final = 6
_PREFIX: Final = "ORDER_"
_TIERS: Final = {NodeTier.TIER_0: shared_pb2.TIER_0, NodeTier.TIER_1: shared_pb2.TIER_1}
_TAKES_ORDERS: Final = (shared_pb2.ACCEPTING_ORDERS, shared_pb2.MARKET_OPEN)
_INITIATOR: Final = "fulgurite"


class PoolTrader:
    """The Trader of one poold, in our words. Every method raises NodeErrors."""

    def __init__(self, connection: PoolConnection) -> None:
        self.connection = connection
        self._node = connection.name

    async def connected(self) -> bool:
        """Whether poold has its auctioneer; without an account it needs none, and says no."""
        with domain_errors(self._node):
            info = await self.connection.stub().GetInfo(
                trader_pb2.GetInfoRequest(),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return info.subscribed_to_auctioneer or not info.accounts_active

    async def market(self, duration_blocks: int) -> bool | None:
        """Whether leases of that duration are matched now; None: there is no market for them."""
        with domain_errors(self._node):
            answer = await self.connection.stub().LeaseDurations(
                trader_pb2.LeaseDurationRequest(),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        state = dict(answer.lease_duration_buckets).get(duration_blocks, shared_pb2.NO_MARKET)
        return state == shared_pb2.MARKET_OPEN if state in _TAKES_ORDERS else None

    async def quote(self, request: LeaseRequest) -> Quote:
        """The most that the lease can cost.

        poold's own quote counts one execution fee; a bid that falls into several channels has
        one for each, and that is what poold then holds back of the account.
        """
        stub, metadata = self.connection.stub(), self.connection.credential()
        with domain_errors(self._node):
            fee = await stub.AuctionFee(
                trader_pb2.AuctionFeeRequest(), metadata=metadata, timeout=UNARY_TIMEOUT_SECONDS
            )
            one = await stub.QuoteOrder(
                trader_pb2.QuoteOrderRequest(
                    amt=request.smallest_sat,
                    rate_fixed=request.max_rate_ppb,
                    lease_duration_blocks=request.duration_blocks,
                    max_batch_fee_rate_sat_per_kw=sat_per_kw(request.max_batch_fee_sat_per_vbyte),
                    min_units_match=request.smallest_sat // UNIT_SAT,
                ),
                metadata=metadata,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
            batch = await stub.NextBatchInfo(
                trader_pb2.NextBatchInfoRequest(), metadata=metadata, timeout=UNARY_TIMEOUT_SECONDS
            )
        execution = ExecutionFee(
            base_sat=fee.execution_fee.base_fee, rate_ppm=fee.execution_fee.fee_rate
        )
        whole = worst_case(request, execution, one.worst_case_chain_fee_sat)
        next_batch = sat_per_vbyte(batch.fee_rate_sat_per_kw)
        return whole.model_copy(update={"next_batch_sat_per_vbyte": next_batch})

    # Accounts.

    async def accounts(self) -> tuple[Account, ...]:
        """Those that are not closed."""
        with domain_errors(self._node):
            answer = await self.connection.stub().ListAccounts(
                trader_pb2.ListAccountsRequest(active_only=True),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return tuple(_account(each) for each in answer.accounts)

    async def can_fund(self, value_sat: int) -> None:
        """Raises InsufficientFundsError where lnd's wallet cannot; LeaseRefusedError besides."""
        with domain_errors(self._node):
            await self.connection.stub().QuoteAccount(
                trader_pb2.QuoteAccountRequest(account_value=value_sat, conf_target=_CONF_TARGET),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def open_account(self, value_sat: int, expiry_height: int, fee: int) -> Account:
        """Funds one, at `fee` sat/vB. Two calls make two accounts.

        Raises LeaseRefusedError where nothing was stored. Every other error leaves open
        whether there is one now.
        """
        with domain_errors(self._node):
            answer = await self.connection.stub().InitAccount(
                trader_pb2.InitAccountRequest(
                    account_value=value_sat,
                    absolute_height=expiry_height,
                    fee_rate_sat_per_kw=sat_per_kw(fee),
                    initiator=_INITIATOR,
                ),
                metadata=self.connection.credential(),
                timeout=_MAKING_TIMEOUT_SECONDS,
            )
        return _account(answer)

    async def renew_account(self, key: NodePubkey, expiry_height: int, fee: int) -> Account:
        """Moves its expiry to a height, at `fee` sat/vB. Once more is another transaction."""
        with domain_errors(self._node):
            answer = await self.connection.stub().RenewAccount(
                trader_pb2.RenewAccountRequest(
                    account_key=key.raw(),
                    absolute_expiry=expiry_height,
                    fee_rate_sat_per_kw=sat_per_kw(fee),
                ),
                metadata=self.connection.credential(),
                timeout=_MAKING_TIMEOUT_SECONDS,
            )
        return _account(answer.account)

    # Bids.

    async def bids(self, mark: NodePubkey) -> tuple[Bid, ...]:
        """Those that carry the mark, whatever became of them, the oldest first."""
        return tuple(bid for bid, marks in await self.marked_bids() if mark.raw() in marks)

    async def marked_bids(self) -> tuple[tuple[Bid, frozenset[bytes]], ...]:
        """All bids with what may be their marks, whatever became of them, the oldest first."""
        with domain_errors(self._node):
            answer = await self.connection.stub().ListOrders(
                trader_pb2.ListOrdersRequest(),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        bids = sorted(answer.bids, key=lambda bid: bid.details.creation_timestamp_ns)
        return tuple((_bid(bid), frozenset(bid.details.not_allowed_node_ids)) for bid in bids)

    async def submit(self, request: LeaseRequest, mark: NodePubkey, account: NodePubkey) -> str:
        """Makes a bid; its nonce. Two calls make two.

        Raises InvalidRequestErrors where nothing was stored, and a LeaseRefusedError where the
        auctioneer said no, which is stored as FAILED. Every other error leaves it open.
        """
        bid = trader_pb2.Bid(
            details=trader_pb2.Order(
                trader_key=account.raw(),
                rate_fixed=request.max_rate_ppb,
                amt=request.amount_sat,
                max_batch_fee_rate_sat_per_kw=sat_per_kw(request.max_batch_fee_sat_per_vbyte),
                min_units_match=request.smallest_sat // UNIT_SAT,
                not_allowed_node_ids=[mark.raw()],
            ),
            lease_duration_blocks=request.duration_blocks,
            version=_ORDER_VERSION,
            min_node_tier=_TIERS[request.min_tier],
            unannounced_channel=not request.announced,
        )
        with domain_errors(self._node):
            answer = await self.connection.stub().SubmitOrder(
                trader_pb2.SubmitOrderRequest(bid=bid, initiator=_INITIATOR),
                metadata=self.connection.credential(),
                timeout=_MAKING_TIMEOUT_SECONDS,
            )
        if answer.HasField("invalid_order"):
            words = answer.invalid_order.fail_string
            raise LeaseRefusedError(f"the auctioneer of {self._node} took no bid: {words}")
        return answer.accepted_order_nonce.hex()

    async def cancel(self, nonce: str) -> None:
        """Takes a bid back; once more is no error. Raises BidOverError where it is executed."""
        with domain_errors(self._node):
            await self.connection.stub().CancelOrder(
                trader_pb2.CancelOrderRequest(order_nonce=bytes.fromhex(nonce)),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def leases(self, nonces: Iterable[str]) -> tuple[LeasedChannel, ...]:
        """The channels that these bids have won, with poold's word on their end."""
        wanted = {bytes.fromhex(nonce) for nonce in nonces}
        if not wanted:
            return ()
        with domain_errors(self._node):
            answer = await self.connection.stub().Leases(
                trader_pb2.LeasesRequest(),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return tuple(_channel(lease) for lease in answer.leases if lease.order_nonce in wanted)


def _account(account: trader_pb2.Account) -> Account:
    return Account(
        key=NodePubkey.of_bytes(account.trader_key),
        state=_account_state(account.state),
        value_sat=account.value,
        available_sat=account.available_balance,
        expiry_height=account.expiration_height,
        latest_txid=_txid(account.latest_txid) if any(account.latest_txid) else None,
    )


def _account_state(state: trader_pb2.AccountState.ValueType) -> AccountState:
    try:
        return AccountState(trader_pb2.AccountState.Name(state))
    except ValueError:
        raise UnexpectedAnswerError(f"poold has an account in state {state}") from None


def _bid(bid: trader_pb2.Bid) -> Bid:
    order = bid.details
    try:
        state = BidState(shared_pb2.OrderState.Name(order.state).removeprefix(_PREFIX))
    except ValueError:
        raise UnexpectedAnswerError(f"poold has an order in state {order.state}") from None
    return Bid(
        nonce=order.order_nonce.hex(),
        account=NodePubkey.of_bytes(order.trader_key),
        state=state,
        amount_sat=order.amt,
        unfilled_sat=order.units_unfulfilled * UNIT_SAT,
        rate_ppb=order.rate_fixed,
        duration_blocks=bid.lease_duration_blocks,
        reserved_sat=order.reserved_value_sat,
    )


def _channel(lease: trader_pb2.Lease) -> LeasedChannel:
    point = lease.channel_point
    return LeasedChannel(
        channel_point=ChannelPoint(f"{_txid(point.txid)}:{point.output_index}"),
        amount_sat=lease.channel_amt_sat,
        duration_blocks=lease.channel_duration_blocks,
        rate_ppb=lease.clearing_rate_price,
        premium_sat=lease.premium_sat,
        execution_fee_sat=lease.execution_fee_sat,
        chain_fee_sat=lease.chain_fee_sat,
        peer=NodePubkey.of_bytes(lease.channel_remote_node_key),
        nonce=lease.order_nonce.hex(),
        expiry_height=lease.channel_lease_expiry or None,
    )


def _txid(raw: bytes) -> Txid:
    """From the order of its bytes in a transaction to that in which people write it."""
    return Txid.of_bytes(raw[::-1])
