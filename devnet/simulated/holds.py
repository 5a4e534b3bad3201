"""HTLCs that a node keeps to itself, as a stuck or spiteful peer would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

if TYPE_CHECKING:
    from devnet.simulated.htlcs import RoutedHtlc

FailureCode = lightning_pb2.Failure.FailureCode

LetGo = Callable[["RoutedHtlc", "FailureCode.ValueType | None"], None]


class HtlcHold:
    """Catches the HTLCs that reach one node, before it forwards or accepts them.

    A caught HTLC is locked in on every channel up to the node. It stays so, whatever
    restarts, until `release` or `fail`; either ends the hold for HTLCs to come as well.
    """

    def __init__(self, node: str, payment_hash: bytes | None) -> None:
        self._node = node
        self._payment_hash = payment_hash
        self._caught: list[tuple[RoutedHtlc, LetGo]] = []
        self._open = True

    @property
    def caught_count(self) -> int:
        """How many HTLCs it keeps at this moment."""
        return len(self._caught)

    async def caught(self, count: int = 1, timeout_seconds: float = 10) -> None:
        """Waits until at least `count` HTLCs are held."""

        async def ask() -> int:
            return self.caught_count

        await eventually(
            ask,
            lambda held: held >= count,
            what=f"{count} HTLCs held at {self._node}",
            timeout_seconds=timeout_seconds,
            every_seconds=0.005,
        )

    def release(self) -> None:
        """Lets every HTLC go on as if nothing had happened."""
        self._let_go(None)

    def fail(self, code: FailureCode.ValueType = FailureCode.TEMPORARY_CHANNEL_FAILURE) -> None:
        """Sends every HTLC back with a BOLT 4 failure of this node's."""
        self._let_go(code)

    def takes(self, node: str, payment_hash: bytes) -> bool:
        return self._open and node == self._node and self._payment_hash in (None, payment_hash)

    def take(self, htlc: RoutedHtlc, let_go: LetGo) -> None:
        self._caught.append((htlc, let_go))

    def _let_go(self, failure: FailureCode.ValueType | None) -> None:
        self._open = False
        caught, self._caught = self._caught, []
        for htlc, let_go in caught:
            let_go(htlc, failure)


class Holds:
    """All holds of a network."""

    def __init__(self) -> None:
        self._holds: list[HtlcHold] = []

    def add(self, node: str, payment_hash: bytes | None = None) -> HtlcHold:
        hold = HtlcHold(node, payment_hash)
        self._holds.append(hold)
        return hold

    def release_all(self) -> None:
        for hold in self._holds:
            hold.release()
        self._holds.clear()

    def catch(self, node: str, htlc: RoutedHtlc, let_go: LetGo) -> bool:
        """True when a hold has taken the HTLC that just reached `node`."""
        for hold in self._holds:
            if hold.takes(node, htlc.payment_hash):
                hold.take(htlc, let_go)
                return True
        return False
