"""What the server must not forget: one file a swap, written before the step that it tells of."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar


class OutState(StrEnum):
    """Where a swap out of the client's channels stands."""

    OFFERED = "OFFERED"  # its invoices are given, nothing is at stake
    FUNDING = "FUNDING"  # it is paid for: the HTLC is sent, or about to be
    FUNDED = "FUNDED"  # the HTLC's transaction is known
    CLAIMING = "CLAIMING"  # the preimage is known: what is held is ours
    REFUNDING = "REFUNDING"  # it expired: the HTLC comes back to us
    SUCCEEDED = "SUCCEEDED"
    REFUNDED = "REFUNDED"
    CANCELED = "CANCELED"  # nothing was ever sent


class InState(StrEnum):
    """Where a swap into the client's channels stands."""

    PROBING = "PROBING"  # the client has no answer yet
    OFFERED = "OFFERED"  # the HTLC may come
    PAYING = "PAYING"  # it is in the chain: the invoice is paid, or about to be
    CLAIMING = "CLAIMING"  # the preimage is known: the HTLC is ours
    SUCCEEDED = "SUCCEEDED"
    EXPIRED = "EXPIRED"  # no HTLC was seen in time; one that is there goes back to the client
    REFUSED = "REFUSED"  # one came and we did not pay: it goes back to the client


@dataclass(frozen=True)
class Key:
    """A key of the node's wallet, by which it can sign again."""

    public: str  # 33 bytes, hex
    family: int
    index: int


@dataclass
class Swap:
    """What both directions have in common. Bytes are hex, transactions raw; sat and heights."""

    final: ClassVar[frozenset[str]] = frozenset()

    swap_hash: str
    amount_sat: int
    expiry: int
    key: Key
    client_key: str
    script: str  # of the HTLC's output
    internal_key: str  # x only
    height_hint: int  # the tip when it was agreed
    state: str
    payment_request: str  # of the swap's own payment
    outpoint_txid: str = ""  # in the order of the wire
    outpoint_index: int = 0
    preimage: str = field(default="", repr=False)
    closing: str = ""  # the transaction that brings the HTLC to us

    @property
    def ended(self) -> bool:
        return self.state in self.final

    @classmethod
    def read(cls, told: dict[str, Any]) -> Self:
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in told.items() if name in known}
        return cls(**given | {"key": Key(**told["key"])})


@dataclass
class OutSwap(Swap):
    final: ClassVar[frozenset[str]] = frozenset(
        {OutState.SUCCEEDED, OutState.REFUNDED, OutState.CANCELED}
    )

    prepay_hash: str = ""
    prepay_request: str = ""
    payment_address: str = ""  # of the swap's invoice
    cancel_asked: bool = False


@dataclass
class InSwap(Swap):
    final: ClassVar[frozenset[str]] = frozenset(
        {InState.SUCCEEDED, InState.EXPIRED, InState.REFUSED}
    )

    our_internal_key: str = ""  # our part of the key path
    last_hop: str = ""
    sent_at: int = 0  # the height of the last attempt to pay


AnySwap = TypeVar("AnySwap", bound=Swap)


class Journal(Generic[AnySwap]):
    """The swaps of one direction, in a folder of their own."""

    def __init__(self, folder: Path, kind: type[AnySwap]) -> None:
        """Reads what an earlier process left."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.swaps = {
            file.stem: kind.read(json.loads(file.read_text()))
            for file in sorted(folder.glob("*.json"))
        }

    def save(self, swap: AnySwap) -> None:
        """Returns when the disk has it; a reader finds the old record or the new, never half."""
        self.swaps[swap.swap_hash] = swap
        file = self._folder / f"{swap.swap_hash}.json"
        unfinished = file.with_suffix(".tmp")
        unfinished.touch(mode=0o600)
        with unfinished.open("w") as writing:
            json.dump(asdict(swap), writing, indent=2)
            writing.flush()
            os.fsync(writing.fileno())
        unfinished.replace(file)
