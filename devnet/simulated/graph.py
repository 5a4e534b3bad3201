"""Who there is, which channels join them, and which of those links are up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Protocol

from devnet.simulated.channels import Channel, FeePolicy
from devnet.simulated.onchain.transactions import Outpoint


class LinkListener(Protocol):
    def __call__(self, channel: Channel, *, is_up: bool) -> None: ...


def channel_id(block_height: int, transaction_index: int, output_index: int) -> int:
    """A short channel id in BOLT 7's integer form."""
    return block_height << 40 | transaction_index << 16 | output_index


class Graph:
    """The graph and the state of every link in it.

    A private channel stands here too: who may know of it is for pathfinding to say.

    A link is up while both of its ends run, nobody has disconnected them, and there is a way
    between them. All nodes
    share this one view: gossip that lags is a subject of its own and not modelled.
    """

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.running: set[str] = set()
        self._names: dict[str, str] = {}
        self._public_keys: dict[str, str] = {}
        self._channels_of: dict[str, list[Channel]] = defaultdict(list)
        self._joined: set[frozenset[str]] = set()
        self._severed: set[frozenset[str]] = set()
        self._parted: set[frozenset[str]] = set()
        self._waiting: dict[int, list[Callable[[], None]]] = defaultdict(list)
        self._on_link: list[LinkListener] = []
        self._on_open: list[Callable[[Channel], None]] = []
        self._on_update: list[Callable[[Channel], None]] = []
        self._by_funding: dict[Outpoint, Channel] = {}

    def on_link(self, listener: LinkListener) -> None:
        """Tells of every channel whose ends find each other, or lose each other."""
        self._on_link.append(listener)

    def on_update(self, listener: Callable[[Channel], None]) -> None:
        """Tells of every channel whose HTLCs have changed."""
        self._on_update.append(listener)

    def updated(self, channel: Channel) -> None:
        for listener in self._on_update:
            listener(channel)

    def on_open(self, listener: Callable[[Channel], None]) -> None:
        """Tells of every new channel, before its link comes up."""
        self._on_open.append(listener)

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
        is_funded: bool = True,
    ) -> Channel:
        """Adds a channel whose funding transaction was mined in the block of that height.

        One that is not funded has no output on the chain: it can never be closed.
        """
        added = Channel(
            channel_id=channel_id(block_height, len(self.channels) + 1, 0),
            funding_txid=funding_txid,
            output_index=0,
            capacity_msat=capacity_sat * 1_000,
            opener=opener,
            peer=peer,
            balances_msat={opener: (capacity_sat - push_sat) * 1_000, peer: push_sat * 1_000},
            policies=policies,
            push_sat=push_sat,
            private=private,
            is_funded=is_funded,
        )
        self.channels[added.channel_id] = added
        self._by_funding[added.funding] = added
        self._channels_of[opener].append(added)
        self._channels_of[peer].append(added)
        for listener in self._on_open:
            listener(added)
        self._refresh(added)
        return added

    def channels_of(self, name: str) -> list[Channel]:
        return self._channels_of[name]

    def funded_by(self, outpoint: Outpoint) -> Channel | None:
        """The channel whose coins this output is."""
        return self._by_funding.get(outpoint)

    def between(self, one: str, other: str) -> Iterator[Channel]:
        """The channels that join two nodes."""
        return (channel for channel in self._channels_of[one] if channel.other(one) == other)

    def peers_of(self, name: str) -> list[str]:
        """The nodes connected to `name` at this moment: with a channel, or since asked for."""
        ends = dict.fromkeys(channel.other(name) for channel in self._channels_of[name])
        ends |= {end: None for pair in self._joined if name in pair for end in pair - {name}}
        return [end for end in ends if self.connected(name, end)]

    def connected(self, one: str, other: str) -> bool:
        pair = frozenset((one, other))
        return pair <= self.running and pair not in self._severed | self._parted

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

    def join(self, one: str, other: str) -> bool:
        """Connects two nodes, now or as soon as both can be reached; whether it was now."""
        self._severed.discard(frozenset((one, other)))
        self._joined.add(frozenset((one, other)))
        for channel in self.between(one, other):
            self._refresh(channel)
        return self.connected(one, other)

    def part(self, one: str, other: str) -> None:
        """Takes away every way between two nodes, so that no call connects them."""
        self._parted.add(frozenset((one, other)))
        for channel in self.between(one, other):
            self._refresh(channel)

    def meet(self, one: str, other: str) -> None:
        self._parted.discard(frozenset((one, other)))
        self.join(one, other)

    def when_active(self, channel: Channel, do: Callable[[], None]) -> None:
        """Calls `do` once: now, when the link is up again, or when it will never be."""
        if channel.active or channel.is_closing:
            do()
        else:
            self._waiting[channel.channel_id].append(do)

    def begin_close(self, channel: Channel) -> None:
        """An end has published its close: the link is gone for good."""
        channel.is_closing = True
        self._refresh(channel)

    def _refresh(self, channel: Channel) -> None:
        was_linked = channel.is_linked
        channel.is_linked = self.connected(channel.opener, channel.peer)
        channel.active = channel.is_linked and not channel.is_closing
        if channel.is_linked != was_linked:
            for listener in self._on_link:
                listener(channel, is_up=channel.is_linked)
        if channel.active or channel.is_closing:
            for do in self._waiting.pop(channel.channel_id, []):
                self.when_active(channel, do)
