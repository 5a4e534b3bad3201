"""One poold: its accounts, its orders, its part in batches, and what it has leased."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from coincurve import PublicKey

from devnet.simulated.chain import Chain
from devnet.simulated.channels import FeePolicy
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.onchain.wallets import Wallets
from devnet.simulated.openings import Openings
from devnet.simulated.pool import sums
from devnet.simulated.pool.accounts import Account, Accounts
from devnet.simulated.pool.market import Market, Match
from protos.poolrpc import shared_pb2, trader_pb2

_READY: Final = (trader_pb2.OPEN, trader_pb2.PENDING_UPDATE, trader_pb2.PENDING_BATCH)
_MATCHABLE: Final = (trader_pb2.OPEN, trader_pb2.PENDING_BATCH)
_ARCHIVED: Final = (
    shared_pb2.ORDER_EXECUTED,
    shared_pb2.ORDER_CANCELED,
    shared_pb2.ORDER_EXPIRED,
    shared_pb2.ORDER_FAILED,
)


@dataclass(eq=False)
class OurBid:
    """An order as poold has stored it."""

    nonce: bytes
    message: trader_pb2.Bid = field(repr=False)
    account: Account
    created_at_ns: int
    state: shared_pb2.OrderState.ValueType = shared_pb2.ORDER_SUBMITTED
    units_unfulfilled: int = 0

    @property
    def smallest_units(self) -> int:
        return self.message.details.min_units_match

    @property
    def rate_ppb(self) -> int:
        return self.message.details.rate_fixed

    @property
    def blocks(self) -> int:
        return self.message.lease_duration_blocks

    @property
    def min_tier(self) -> shared_pb2.NodeTier.ValueType:
        return self.message.min_node_tier or shared_pb2.TIER_1

    @property
    def max_sat_per_kw(self) -> int:
        return self.message.details.max_batch_fee_rate_sat_per_kw

    @property
    def can_be_matched(self) -> bool:
        return self.state not in _ARCHIVED and self.account.state in _MATCHABLE

    @property
    def reserved_sat(self) -> int:
        if self.state in _ARCHIVED:
            return 0
        return sums.reserved_sat(
            self.units_unfulfilled * sums.UNIT_SAT,
            self.smallest_units * sums.UNIT_SAT,
            self.rate_ppb,
            self.blocks,
            self.max_sat_per_kw,
        )


@dataclass(eq=False)
class OurLease:
    """A channel that was won, with its share of what its batch has cost."""

    bid: OurBid
    match: Match
    funding_txid: str
    chain_fee_sat: int


class Trader:
    """What poold stores. It is asked through `devnet.simulated.pool.service`."""

    def __init__(
        self,
        node: str,
        *,
        chain: Chain,
        graph: Graph,
        openings: Openings,
        wallets: Wallets,
        market: Market,
        policy: FeePolicy,
    ) -> None:
        self.node = node
        self.market = market
        self.accounts = Accounts(node, chain, wallets)
        self.orders: list[OurBid] = []
        self.leases: list[OurLease] = []
        self.batches = 0
        self._chain = chain
        self._graph = graph
        self._openings = openings
        self._policy = policy
        self._clearing: list[Match] = []

    @property
    def height(self) -> int:
        return self._chain.height

    def ask_auctioneer(self) -> None:
        """Every call that needs its terms fails where it does not answer."""
        if self.market.away:
            raise RpcError("unable to query auctioneer terms: rpc error: code = Unavailable")

    def available_sat(self, account: Account) -> int:
        """Nothing, where its bids reserve more than it holds, as once it is closed."""
        mine = (order for order in self.orders if order.account is account)
        return max(account.value_sat - sum(order.reserved_sat for order in mine), 0)

    # Orders.

    def submit(self, bid: trader_pb2.Bid) -> bytes | str:
        """A bid's nonce, or in what words the auctioneer refuses it, which poold stores too."""
        self.ask_auctioneer()
        order = self._checked(bid)
        self.orders.append(order)
        if self.market.words:
            order.state = shared_pb2.ORDER_FAILED
            return self.market.words.popleft()
        self.market.bids.append(order)
        return order.nonce

    def _checked(self, bid: trader_pb2.Bid) -> OurBid:
        details = bid.details
        if details.min_units_match == 0:
            raise RpcError("min units match must be greater than 0")
        units = details.amt // sums.UNIT_SAT
        if details.min_units_match > units:
            raise RpcError("min units match must not exceed total order units")
        for key in (*details.allowed_node_ids, *details.not_allowed_node_ids):
            _check_key(key)
        try:
            account = self.accounts.find(details.trader_key)
        except RpcError as error:
            raise RpcError(f"cannot accept order: {error.text}") from None
        if account.state not in _READY:
            name = trader_pb2.AccountState.Name(account.state)
            raise RpcError(
                f"order valid validation: acct={account.key.hex()} is in state {name}, "
                "cannot make order"
            )
        if bid.lease_duration_blocks not in sums.DURATIONS_BLOCKS:
            raise RpcError("order valid validation: invalid channel lease duration")
        if details.max_batch_fee_rate_sat_per_kw < sums.FLOOR_SAT_PER_KW:
            raise RpcError("invalid max batch fee rate, must be greater than 253 sat/kw")
        stored = trader_pb2.Bid()
        stored.CopyFrom(bid)
        # poold draws a secret, and the order is canceled by it.
        nonce = hashlib.sha256(secrets.token_bytes(32)).digest()
        created_at_ns = len(self.orders) + 1
        order = OurBid(nonce, stored, account, created_at_ns, units_unfulfilled=units)
        if order.reserved_sat > self.available_sat(account):
            raise RpcError("insufficient account balance")
        return order

    def cancel(self, nonce: bytes) -> None:
        order = next((each for each in self.orders if each.nonce == nonce), None)
        if order is None:
            raise RpcError("no order found")
        if order.state == shared_pb2.ORDER_CANCELED:
            return
        if order.state in _ARCHIVED:
            name = shared_pb2.OrderState.Name(order.state)
            raise RpcError(f"unable to cancel order in terminal state {name}")
        self.ask_auctioneer()
        if order.state == shared_pb2.ORDER_CLEARED:
            raise RpcError("the order is in a batch that is not final")
        order.state = shared_pb2.ORDER_CANCELED
        self.market.bids.remove(order)

    # Batches.

    def prepare(self) -> int:
        """Proposes a batch: our orders in it are CLEARED until it is final, or dropped."""
        assert not self._clearing, "one batch after another"
        self._clearing = [m for m in self.market.match() if m.ask.maker in self._graph.running]
        for match in self._clearing:
            if isinstance(match.bid, OurBid):
                match.bid.state = shared_pb2.ORDER_CLEARED
        return len(self._clearing)

    def drop(self) -> None:
        """The batch comes to nothing."""
        for match in self._clearing:
            if isinstance(match.bid, OurBid):
                is_partly = match.bid.units_unfulfilled < match.bid.message.details.amt // 100_000
                match.bid.state = (
                    shared_pb2.ORDER_PARTIALLY_FILLED if is_partly else shared_pb2.ORDER_SUBMITTED
                )
        self._clearing = []

    def finalize(self) -> None:
        """The batch's transactions are published; blocks are for whoever mines."""
        clearing, self._clearing = self._clearing, []
        self.batches += bool(clearing)
        for match in clearing:
            match.ask.units -= match.units
        by_account: dict[Account, list[tuple[OurBid, Match]]] = {}
        for match in clearing:
            if isinstance(match.bid, OurBid):
                by_account.setdefault(match.bid.account, []).append((match.bid, match))
            else:
                self.market.bids.remove(match.bid)
        for account, matches in by_account.items():
            self._pay(account, matches)

    def _pay(self, account: Account, matches: list[tuple[OurBid, Match]]) -> None:
        count, rate = len(matches), self.market.sat_per_kw
        cost_sat = sum(
            sums.premium_sat(match.amount_sat, match.rate_ppb, bid.blocks)
            + sums.execution_sat(match.amount_sat)
            for bid, match in matches
        )
        fee_sat = sums.trader_fee_sat(count, rate, is_taproot=True)
        weight = sums.trader_weight(count, is_taproot=True)
        self.accounts.pay(account, cost_sat, fee_sat, weight)
        # As poold lists it: reckoned for an account of the old kind, the rest on the first.
        told_sat = sums.trader_fee_sat(count, rate, is_taproot=False)
        each_sat, rest_sat = divmod(told_sat, count)
        for number, (bid, match) in enumerate(matches):
            self._graph.join(match.ask.maker, self.node)
            funding_txid = self._openings.open(
                match.ask.maker,
                self.node,
                capacity_sat=match.amount_sat,
                push_sat=0,
                opener_policy=self._policy,
                peer_policy=self._policy,
                private=bid.message.unannounced_channel,
            )
            share_sat = each_sat + (rest_sat if number == 0 else 0)
            self.leases.append(OurLease(bid, match, funding_txid, share_sat))
            bid.units_unfulfilled -= match.units
            bid.state = shared_pb2.ORDER_PARTIALLY_FILLED
            if bid.units_unfulfilled == 0:
                bid.state = shared_pb2.ORDER_EXECUTED
                self.market.bids.remove(bid)

    def lease_expiry(self, lease: OurLease) -> int:
        """As lnd has it of an open channel; 0 while it is not open, or no more."""
        for channel in self._graph.between(lease.match.ask.maker, self.node):
            if channel.funding_txid == lease.funding_txid and not channel.is_closing:
                return (channel.channel_id >> 40) + lease.bid.blocks
        return 0

    def key_of(self, name: str) -> bytes:
        return bytes.fromhex(self._graph.public_key_of(name))


def _check_key(key: bytes) -> None:
    if len(key) != 33:
        raise RpcError(f"invalid not_allowed_node_ids: invalid node_id length: {key.hex()}")
    try:
        PublicKey(key)
    except ValueError:
        raise RpcError(f"invalid not_allowed_node_ids: invalid node_id: {key.hex()}") from None
