"""A node's channels as their ends see them, and the calls that close one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devnet.simulated.chain import Chain
from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.closing.closure import Closure, Listener, Phase
from devnet.simulated.closing.sweeper import Sweeper
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.onchain.fees import NO_HURRY_BLOCKS
from devnet.simulated.onchain.transactions import Outpoint, Transaction
from devnet.simulated.onchain.view import ChainView


class Closures:
    """Everything that lnd's chain arbitrator has at one node. Kept through restarts."""

    def __init__(
        self,
        node: str,
        *,
        chain: Chain,
        view: ChainView,
        graph: Graph,
        wallet_sat: Callable[[], int],
        listener: Listener,
    ) -> None:
        self.sweeper = Sweeper(node, chain=chain, view=view, wallet_sat=wallet_sat)
        self._node = node
        self._chain = chain
        self._view = view
        self._graph = graph
        self._running = False
        self._closures: dict[int, Closure] = {}
        self._listener = listener
        view.on_block(self._on_block)
        chain.on_transaction(self._on_transaction, lambda _: None)

    @property
    def no_hurry(self) -> int:
        """The deadline that the sweeper gives to what has none."""
        return self._view.height + NO_HURRY_BLOCKS

    def start(self) -> None:
        self._running = True
        self.sweeper.restart()
        for closure in self._closures.values():
            closure.on_restart()

    def stop(self) -> None:
        self._running = False

    def all(self) -> Iterator[Closure]:
        """Every channel that the node has ever had, in the order of their opening."""
        for channel in self._graph.channels_of(self._node):
            yield self.of(channel)

    def of(self, channel: Channel) -> Closure:
        closure = self._closures.get(channel.channel_id)
        if closure is None:
            closure = Closure(
                self._node,
                channel,
                chain=self._chain,
                view=self._view,
                graph=self._graph,
                sweeper=self.sweeper,
                listener=self._listener,
            )
            self._closures[channel.channel_id] = closure
        return closure

    def find(self, channel_point: str) -> Closure:
        """A channel that lnd has not closed for good; RpcError where it has none."""
        for closure in self.all():
            known = closure.phase in (Phase.OPEN, Phase.WAITING_CLOSE)
            if known and str(closure.channel.funding) == channel_point:
                return closure
        raise RpcError("channel not found")

    def open_channels(self) -> list[Channel]:
        """What ListChannels has."""
        return [closure.channel for closure in self.all() if closure.phase is Phase.OPEN]

    def unclosed(self) -> list[Outpoint]:
        """The channels that lnd has not closed in its database: what it backs up."""
        return [
            closure.channel.funding
            for closure in self.all()
            if closure.phase in (Phase.OPEN, Phase.WAITING_CLOSE) and closure.channel.is_funded
        ]

    def on_decision(self, htlc: PendingHtlc) -> None:
        if self._running and htlc.receiver == self._node:
            self.of(htlc.channel).on_decision(htlc)

    def _on_block(self, height: int) -> None:
        self._chain.rebroadcast(self._node)
        for closure in list(self.all()):
            if closure.channel.is_funded:
                closure.on_block(height)
        self.sweeper.on_block(height)

    def _on_transaction(self, transaction: Transaction) -> None:
        if self._running:
            for closure in self._closures.values():
                closure.on_transaction(transaction)
