"""The order book: what is taken into it, and which ask and bid belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from devnet.auctioneer.accounts import RefusedError
from devnet.auctioneer.journal import UNIT_SAT, Journal, Order
from devnet.auctioneer.terms import (
    DURATIONS_BLOCKS,
    execution_fee_sat,
    premium_sat,
    trader_fee_sat,
)
from protos.auctioneerrpc import auctioneer_pb2
from protos.poolrpc import shared_pb2

# An account that a batch leaves less in would be dust to poold, which we do not go into.
_MIN_ENDING_SAT = 10_000


class UnknownOrderError(RefusedError):
    """The book has no such order; poold knows it by the text."""

    def __init__(self) -> None:
        super().__init__("no order found")


@dataclass(frozen=True)
class Match:
    """An ask and a bid that agree, for as many units as both can give and take.

    They clear at the bid's rate: Pool's price is that of the last bid that was taken.
    """

    ask: Order
    bid: Order

    @property
    def units(self) -> int:
        return min(self.ask.units_unfulfilled, self.bid.units_unfulfilled)

    @property
    def amount_sat(self) -> int:
        return self.units * UNIT_SAT

    @property
    def channel_sat(self) -> int:
        return self.amount_sat + self.bid.bid.self_chan_balance

    @property
    def rate_ppb(self) -> int:
        return self.bid.details.rate_fixed

    @property
    def duration_blocks(self) -> int:
        return self.bid.bid.lease_duration_blocks

    @property
    def trader_keys(self) -> tuple[str, str]:
        """The asker's account, and the bidder's."""
        return self.ask.details.trader_key.hex(), self.bid.details.trader_key.hex()

    def ending_sat(self, asker_sat: int, bidder_sat: int) -> tuple[int, int]:
        """What the two accounts have afterwards."""
        premium = premium_sat(self.amount_sat, self.rate_ppb, self.duration_blocks)
        fees = execution_fee_sat(self.amount_sat) + trader_fee_sat()
        return (
            asker_sat - self.amount_sat + premium - fees,
            bidder_sat - premium - self.bid.bid.self_chan_balance - fees,
        )

    def affordable(self, asker_sat: int, bidder_sat: int) -> bool:
        return min(self.ending_sat(asker_sat, bidder_sat)) >= _MIN_ENDING_SAT


class Market:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def submit(self, request: auctioneer_pb2.ServerSubmitOrderRequest) -> None:
        """Takes an order. Raises RefusedError for what no batch of ours could ever match."""
        is_ask = request.WhichOneof("details") == "ask"
        message = request.ask if is_ask else request.bid
        details = message.details
        if details.auction_type != shared_pb2.AUCTION_TYPE_BTC_INBOUND_LIQUIDITY:
            raise RefusedError("only inbound liquidity is traded here")
        if details.channel_type != shared_pb2.ORDER_CHANNEL_TYPE_PEER_DEPENDENT:
            raise RefusedError("only channels of the peers' own choice are traded here")
        if message.lease_duration_blocks not in DURATIONS_BLOCKS:
            raise RefusedError(f"there is no market for {message.lease_duration_blocks} blocks")
        if request.bid.is_sidecar_channel or request.bid.zero_conf_channel:
            raise RefusedError("neither sidecar nor zero-conf channels are traded here")
        nonce = details.order_nonce.hex()
        self._journal.book.orders[nonce] = Order(
            nonce=nonce,
            message=message.SerializeToString().hex(),
            is_ask=is_ask,
            units_unfulfilled=details.amt // UNIT_SAT,
        )
        self._journal.save()

    def cancel(self, preimage: bytes) -> None:
        """Takes an order out of the book. Once more is no error; an executed one is."""
        order = self.order(hashlib.sha256(preimage).hexdigest())
        if order.state == "ORDER_CANCELED":
            return
        if not order.open:
            raise RefusedError("the order is no longer in the book")
        if self._journal.in_batch(order.details.trader_key.hex()):
            raise RefusedError("the order is in a batch that is not final")
        order.state = "ORDER_CANCELED"
        self._journal.save()

    def order(self, nonce: str) -> Order:
        found = self._journal.book.orders.get(nonce)
        if found is None:
            raise UnknownOrderError
        return found

    def matches(self) -> Iterator[Match]:
        """Every ask and bid that agree, the best bids first."""
        orders = [order for order in self._journal.book.orders.values() if order.open]
        bids = [order for order in orders if not order.is_ask]
        for bid in sorted(bids, key=lambda order: -order.details.rate_fixed):
            for ask in orders:
                if ask.is_ask and _agree(ask, bid):
                    yield Match(ask, bid)


def _agree(ask: Order, bid: Order) -> bool:
    asked, wanted = ask.details, bid.details
    units = Match(ask, bid).units
    announced = (
        shared_pb2.ONLY_UNANNOUNCED if bid.bid.unannounced_channel else shared_pb2.ONLY_ANNOUNCED
    )
    return (
        asked.node_pub != wanted.node_pub
        and asked.rate_fixed <= wanted.rate_fixed
        and ask.ask.lease_duration_blocks == bid.bid.lease_duration_blocks
        and units * UNIT_SAT >= max(asked.min_chan_amt, wanted.min_chan_amt)
        and ask.ask.announcement_constraints in (0, announced)
        and _admits(asked, wanted.node_pub)
        and _admits(wanted, asked.node_pub)
    )


def _admits(order: auctioneer_pb2.ServerOrder, node: bytes) -> bool:
    if order.allowed_node_ids:
        return node in order.allowed_node_ids
    return node not in order.not_allowed_node_ids
