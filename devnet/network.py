"""What every devnet can do, whichever kind it is. Tests, demo and bench know only this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from devnet.loopd import LoopNode
from devnet.node import LightningNode
from devnet.poold import PoolNode


class Network(Protocol):
    """A running network of the topology in `devnet.topology`, funded and connected.

    It is an async context manager's result: entering builds it until a two-hop payment
    can go through, leaving ends everything that it started.
    """

    @property
    def kind(self) -> str:
        """`simulated` or `regtest`."""

    @property
    def nodes(self) -> Mapping[str, LightningNode]:
        """By name; addresses and files stay the same while a node restarts."""

    @property
    def loops(self) -> Mapping[str, LoopNode]:
        """The loopds, by the names of their nodes; none where the network was made without."""

    @property
    def pools(self) -> Mapping[str, PoolNode]:
        """The poolds, by the names of their nodes; none where the network was made without."""

    @property
    def state_dir(self) -> Path:
        """The folder that holds everything the network wrote, and nothing else does."""

    async def mine(self, blocks: int) -> None:
        """Mines, and returns when every node that is up has seen the last block."""

    async def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by empty ones, and one more.

        What was in them waits for the next `mine`.
        """

    async def stop_node(self, name: str) -> None:
        """Ends the node as a crash would (kill -9); its peers and callers lose it."""

    async def start_node(self, name: str) -> None:
        """Starts a stopped node on its old data and ports; returns when it is ready."""

    async def stop_loop(self, name: str) -> None:
        """Ends the loopd of a node as a crash would (kill -9)."""

    async def start_loop(self, name: str) -> None:
        """Starts it on its old data and port; returns when it tells of its swaps."""
