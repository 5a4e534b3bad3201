"""Opening channels: coins out of the wallet, blocks on top, and the channel is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devnet.simulated.chain import Chain
from devnet.simulated.channels import FeePolicy
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.ledger import Ledger
from devnet.simulated.onchain.transactions import Draw, Outpoint, Output, OutputKind, Transaction
from devnet.simulated.onchain.wallets import Wallets

# lnd's defaults, for a channel that is opened without terms of its own.
DEFAULT_POLICY = FeePolicy(base_fee_msat=1_000, fee_rate_ppm=1, cltv_expiry_delta_blocks=80)

CONFIRMATIONS = 3

# One input and two outputs. What an opening costs its opener is not modelled.
_FUNDING_WEIGHT = 616


@dataclass(frozen=True)
class Opening:
    """A channel whose funding transaction has been broadcast."""

    opener: str
    peer: str
    capacity_sat: int
    push_sat: int
    opener_policy: FeePolicy
    peer_policy: FeePolicy
    funding_txid: str
    private: bool


class Openings:
    """The channels that wait for confirmations."""

    def __init__(self, chain: Chain, graph: Graph, ledger: Ledger, wallets: Wallets) -> None:
        self._chain = chain
        self._graph = graph
        self._ledger = ledger
        self._wallets = wallets
        self._pending: list[Opening] = []
        self._opened_count = 0
        self._on_pending: list[Callable[[Opening], None]] = []
        chain.on_block(lambda _: self._open_confirmed())

    def pending(self, node: str) -> list[Opening]:
        """What a node's channels wait for, opened by it or by the peer."""
        return [each for each in self._pending if node in (each.opener, each.peer)]

    def on_pending(self, listener: Callable[[Opening], None]) -> None:
        """Tells of every channel whose funding transaction is broadcast."""
        self._on_pending.append(listener)

    def open(
        self,
        opener: str,
        peer: str,
        *,
        capacity_sat: int,
        push_sat: int,
        opener_policy: FeePolicy = DEFAULT_POLICY,
        peer_policy: FeePolicy = DEFAULT_POLICY,
        private: bool = False,
    ) -> str:
        """Broadcasts a funding transaction and returns its id; RpcError as lnd refuses."""
        if not self._graph.connected(opener, peer):
            raise RpcError(f"peer {self._graph.public_key_of(peer)} is not online")
        if not 0 <= push_sat <= capacity_sat:
            raise RpcError(
                "amount pushed to remote peer for initial state must be below the "
                "local funding amount"
            )
        available_sat = self._wallets.balance(opener).confirmed_sat
        if capacity_sat > available_sat:
            raise RpcError(
                "not enough witness outputs to create funding transaction, "
                f"need {capacity_sat} sat only have {available_sat} sat available"
            )
        self._opened_count += 1
        funding = Transaction(
            publisher=opener,
            label="0:openchannel",
            spends=(),
            draws=(Draw(opener, capacity_sat),),
            outputs=(Output(OutputKind.FUNDING, opener, capacity_sat),),
            fee_sat=0,
            weight=_FUNDING_WEIGHT,
            salt=self._opened_count,
        )
        self._chain.publish(funding)
        opening = Opening(
            opener,
            peer,
            capacity_sat,
            push_sat,
            opener_policy,
            peer_policy,
            funding.txid,
            private,
        )
        self._pending.append(opening)
        for listener in self._on_pending:
            listener(opening)
        return opening.funding_txid

    def _open_confirmed(self) -> None:
        for opening in list(self._pending):
            height = self._chain.height_of(opening.funding_txid)
            if height is not None and self._chain.height - height + 1 >= CONFIRMATIONS:
                self._pending.remove(opening)
                self._open(opening, height)

    def _open(self, opening: Opening, height: int) -> None:
        channel = self._graph.add_channel(
            opening.opener,
            opening.peer,
            funding_txid=opening.funding_txid,
            block_height=height,
            capacity_sat=opening.capacity_sat,
            push_sat=opening.push_sat,
            policies={
                opening.opener: opening.opener_policy,
                opening.peer: opening.peer_policy,
            },
            private=opening.private,
        )
        self._ledger.channel_opened(
            channel.channel_id,
            channel.balances_msat,
            funding=Outpoint(opening.funding_txid, 0),
            opener=opening.opener,
        )
