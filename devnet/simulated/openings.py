"""Opening channels: coins out of the wallet, blocks on top, and the channel is there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from devnet.simulated.chain import Chain
from devnet.simulated.channels import FeePolicy
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.ledger import Ledger

# lnd's defaults, for a channel that is opened without terms of its own.
DEFAULT_POLICY = FeePolicy(base_fee_msat=1_000, fee_rate_ppm=1, cltv_expiry_delta_blocks=80)

CONFIRMATIONS = 3
START_WALLET_SAT = 100_000_000


@dataclass(frozen=True)
class Opening:
    """A funding transaction that has been broadcast at `broadcast_height`."""

    opener: str
    peer: str
    capacity_sat: int
    push_sat: int
    opener_policy: FeePolicy
    peer_policy: FeePolicy
    funding_txid: str
    broadcast_height: int
    private: bool


class Openings:
    """The nodes' wallets, and the channels that wait for confirmations."""

    def __init__(self, chain: Chain, graph: Graph, ledger: Ledger) -> None:
        self._chain = chain
        self._graph = graph
        self._ledger = ledger
        self._wallets_sat: dict[str, int] = {}
        self._pending: list[Opening] = []
        self._opened_count = 0
        chain.on_block(self._on_block)

    def wallet_sat(self, node: str) -> int:
        """The coins a node has on chain. Chain fees are not modelled."""
        return self._wallets_sat.get(node, START_WALLET_SAT)

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
        available_sat = self.wallet_sat(opener)
        if capacity_sat > available_sat:
            raise RpcError(
                "not enough witness outputs to create funding transaction, "
                f"need {capacity_sat} sat only have {available_sat} sat available"
            )
        self._wallets_sat[opener] = available_sat - capacity_sat
        self._opened_count += 1
        opening = Opening(
            opener,
            peer,
            capacity_sat,
            push_sat,
            opener_policy,
            peer_policy,
            hashlib.sha256(f"funding {self._opened_count}".encode()).hexdigest(),
            self._chain.height,
            private,
        )
        self._pending.append(opening)
        return opening.funding_txid

    def _on_block(self, height: int) -> None:
        ready = [o for o in self._pending if height - o.broadcast_height >= CONFIRMATIONS]
        for opening in ready:
            self._pending.remove(opening)
            channel = self._graph.add_channel(
                opening.opener,
                opening.peer,
                funding_txid=opening.funding_txid,
                block_height=opening.broadcast_height + 1,
                capacity_sat=opening.capacity_sat,
                push_sat=opening.push_sat,
                policies={
                    opening.opener: opening.opener_policy,
                    opening.peer: opening.peer_policy,
                },
                private=opening.private,
            )
            self._ledger.channel_opened(channel.channel_id, channel.balances_msat)
