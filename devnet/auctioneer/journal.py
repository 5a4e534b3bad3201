"""What the auctioneer must still know after kill -9: one file, replaced as a whole.

Bytes are hex, so that a person can read along. The file has the auctioneer's secret in it
and is nobody else's to read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from enum import StrEnum
from pathlib import Path

from coincurve import PrivateKey, PublicKey
from pydantic import BaseModel, Field

from devnet.auctioneer.scripts import AccountLock, batch_key
from devnet.auctioneer.transaction import OutPoint, Output
from protos.auctioneerrpc import auctioneer_pb2

UNIT_SAT = 100_000


class Life(BaseModel):
    """One output that an account is, until it is spent into the next."""

    txid: str
    index: int
    value_sat: int
    expiry: int
    spends: int  # how many lives were before

    @property
    def outpoint(self) -> OutPoint:
        return OutPoint(self.txid, self.index)


class Account(BaseModel):
    """A trader's account. The chain decides which of `next_lives` it got.

    A modification that we signed may never be published, or another one in its place; so
    each that could be is kept until one of them is seen.
    """

    trader_key: str
    height_hint: int
    value_sat: int
    expiry: int
    life: Life | None = None  # None: reserved, and not funded as far as we were told
    next_lives: list[Life] = Field(default_factory=list)
    closing: bool = False


class Order(BaseModel):
    """An ask or a bid, as it came over the wire."""

    nonce: str
    message: str
    is_ask: bool
    units_unfulfilled: int
    state: str = "ORDER_SUBMITTED"  # as the wire names it

    @property
    def open(self) -> bool:
        return self.state in {"ORDER_SUBMITTED", "ORDER_PARTIALLY_FILLED"}

    @property
    def ask(self) -> auctioneer_pb2.ServerAsk:
        return auctioneer_pb2.ServerAsk.FromString(bytes.fromhex(self.message))

    @property
    def bid(self) -> auctioneer_pb2.ServerBid:
        return auctioneer_pb2.ServerBid.FromString(bytes.fromhex(self.message))

    @property
    def details(self) -> auctioneer_pb2.ServerOrder:
        return self.ask.details if self.is_ask else self.bid.details

    def fill(self, units: int) -> None:
        self.units_unfulfilled -= units
        self.state = "ORDER_PARTIALLY_FILLED" if self.units_unfulfilled else "ORDER_EXECUTED"


class BatchState(StrEnum):
    PREPARED = "PREPARED"  # shown to the traders; nothing can be published
    SIGNED = "SIGNED"  # final: it is in here before it is published
    ABANDONED = "ABANDONED"  # never to be published


class Batch(BaseModel):
    """One ask and one bid, brought together by one transaction."""

    id: str
    ask: str
    bid: str
    units: int
    created_ns: int
    state: BatchState = BatchState.PREPARED
    transaction: str = ""  # with its witnesses, from SIGNED on
    txid: str = ""
    signers: dict[str, str] = Field(default_factory=dict)  # by trader key: which run of poold


class Book(BaseModel):
    seed: str
    accounts: dict[str, Account] = Field(default_factory=dict)
    orders: dict[str, Order] = Field(default_factory=dict)
    batches: dict[str, Batch] = Field(default_factory=dict)
    runs: dict[str, list[str]] = Field(default_factory=dict)  # each poold's accounts


class Journal:
    """The book, and the file that it is kept in. What changed counts once it is saved."""

    def __init__(self, file: Path) -> None:
        self._file = file
        if file.exists():
            self.book = Book.model_validate_json(file.read_text())
        else:
            self.book = Book(seed=secrets.token_hex(32))
            self.save()

    def save(self) -> None:
        """Returns when the file is on the disk, whole."""
        unfinished = self._file.with_suffix(".tmp")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.book.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._file)

    @property
    def private_key(self) -> PrivateKey:
        """Our half of every account; one key does, since the batch key tells lives apart."""
        return PrivateKey(self._derived("accounts"))

    @property
    def first_batch_key(self) -> PublicKey:
        return PublicKey.from_valid_secret(self._derived("batch key"))

    def next_batch_id(self) -> str:
        """A point of the curve, as poold wants it, and never one that it saw before."""
        first = PublicKey.from_valid_secret(self._derived("batches"))
        return batch_key(first, len(self.book.batches)).hex()

    def lock(self, account: Account, life: Life) -> AccountLock:
        return AccountLock.between(
            bytes.fromhex(account.trader_key),
            self.private_key,
            batch_key(self.first_batch_key, life.spends),
            life.expiry,
        )

    def output(self, account: Account, life: Life) -> Output:
        return Output(life.value_sat, self.lock(account, life).script)

    def in_batch(self, trader_key: str) -> bool:
        """Whether a batch is under way that spends the account."""
        under_way = (
            self.book.orders[nonce].details.trader_key.hex()
            for batch in self.book.batches.values()
            if batch.state is BatchState.PREPARED
            for nonce in (batch.ask, batch.bid)
        )
        return trader_key in under_way

    def _derived(self, what: str) -> bytes:
        return hashlib.sha256(bytes.fromhex(self.book.seed) + what.encode()).digest()
