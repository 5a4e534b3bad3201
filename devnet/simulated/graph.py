"""Who there is, which channels join them, and which of those links are up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from devnet.simulated.channels import Channel, FeePolicy


def channel_id(block_height: int, transaction_index: int, output_index: int) -> int:
    """A short channel id in BOLT 7's integer form."""
    return block_height << 40 | transaction_index << 16 | output_index


class Graph:
    """The graph and the state of every link in it.

    A private channel stands here too: who may know of it is for pathfinding to say.

    A link is up while both of its ends run and nobody has disconnected them. All nodes
    share this one view: gossip that lags is a subject of its own and not modelled.
    """

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.running: set[str] = set()
        self._names: dict[str, str] = {}
        self._public_keys: dict[str, str] = {}
        self._channels_of: dict[str, list[Channel]] = defaultdict(list)
        self._severed: set[frozenset[str]] = set()
        self._waiting: dict[int, list[Callable[[], None]]] = defaultdict(list)

    def add_node(self, name: str, public_key: str) -> None:
        self._names[public_key] = name
        self._public_keys[name] = public_key

    def name_of(self, public_key: str) -> str | None:
        """The node with this key (hex), or None when the graph never heard of it."""
        return self._names.get(public_key)

    def public_key_of(self, name: str) -> str:
        return self._public_keys[name]

    def add_channel(
        self,
        opener: str,
        peer: str,
        *,
        funding_txid: str,
        block_height: int,
        capacity_sat: int,
        push_sat: int,
        policies: dict[str, FeePolicy],
        private: bool = False,
    ) -> Channel:
        """Adds a channel whose funding transaction was mined in the block of that height."""
        added = Channel(
            channel_id=channel_id(block_height, len(self.channels) + 1, 0),
            funding_txid=funding_txid,
            output_index=0,
            capacity_msat=capacity_sat * 1_000,
            opener=opener,
            peer=peer,
            balances_msat={opener: (capacity_sat - push_sat) * 1_000, peer: push_sat * 1_000},
            policies=policies,
            private=private,
        )
        self.channels[added.channel_id] = added
        self._channels_of[opener].append(added)
        self._channels_of[peer].append(added)
        self._refresh(added)
        return added

    def channels_of(self, name: str) -> list[Channel]:
        return self._channels_of[name]

    def between(self, one: str, other: str) -> Iterator[Channel]:
        """The channels that join two nodes."""
        return (channel for channel in self._channels_of[one] if channel.other(one) == other)

    def peers_of(self, name: str) -> list[str]:
        """The nodes connected to `name` at this moment."""
        ends = dict.fromkeys(channel.other(name) for channel in self._channels_of[name])
        return [end for end in ends if self.connected(name, end)]

    def connected(self, one: str, other: str) -> bool:
        return {one, other} <= self.running and frozenset((one, other)) not in self._severed

    def set_running(self, name: str, running: bool) -> None:
        """Takes a node's links down with it, or up again where the far end runs too."""
        (self.running.add if running else self.running.discard)(name)
        for channel in self._channels_of[name]:
            self._refresh(channel)

    def sever(self, one: str, other: str) -> None:
        """Takes the links between two running nodes down until `join`."""
        self._severed.add(frozenset((one, other)))
        for channel in self.between(one, other):
            self._refresh(channel)

    def join(self, one: str, other: str) -> None:
        self._severed.discard(frozenset((one, other)))
        for channel in self.between(one, other):
            self._refresh(channel)

    def when_active(self, channel: Channel, do: Callable[[], None]) -> None:
        """Calls `do` once, now or when the link is up again."""
        if channel.active:
            do()
        else:
            self._waiting[channel.channel_id].append(do)

    def _refresh(self, channel: Channel) -> None:
        channel.active = self.connected(channel.opener, channel.peer)
        if channel.active:
            for do in self._waiting.pop(channel.channel_id, []):
                self.when_active(channel, do)
