"""Memories that stay small however long one listens."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from fulgurite.identity import PaymentHash

Item = TypeVar("Item")

_PER_CHUNK: Final = 4_096
_BYTES: Final = 4


class Recent(Generic[Item]):
    """The latest so many items: a set that forgets the oldest."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._items: OrderedDict[Item, None] = OrderedDict()

    def add(self, item: Item) -> None:
        self._items[item] = None
        self._items.move_to_end(item)
        if len(self._items) > self._at_most:
            self._items.popitem(last=False)

    def discard(self, item: Item) -> None:
        self._items.pop(item, None)

    def __contains__(self, item: Item) -> bool:
        return item in self._items


class Ended:
    """Which invoices have ended and were told, by add_index: four bytes for each.

    The bytes are the payment hash's first ones, so that an index that LND has given to
    another invoice does not pass for the one that was told.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}

    def add(self, add_index: int, payment_hash: PaymentHash) -> None:
        chunk, at = self._place(add_index)
        if chunk not in self._chunks:
            self._chunks[chunk] = bytearray(_PER_CHUNK * _BYTES)
        self._chunks[chunk][at : at + _BYTES] = _mark(payment_hash)

    def has(self, add_index: int, payment_hash: PaymentHash) -> bool:
        chunk, at = self._place(add_index)
        marks = self._chunks.get(chunk)
        return marks is not None and marks[at : at + _BYTES] == _mark(payment_hash)

    def forget_below(self, add_index: int) -> None:
        first, _ = self._place(add_index)
        for chunk in [each for each in self._chunks if each < first]:
            del self._chunks[chunk]

    @staticmethod
    def _place(add_index: int) -> tuple[int, int]:
        chunk, position = divmod(add_index, _PER_CHUNK)
        return chunk, position * _BYTES


def _mark(payment_hash: PaymentHash) -> bytes:
    """Never zeroes, which stand for none."""
    return payment_hash.raw()[:_BYTES].replace(bytes(_BYTES), b"\x00\x00\x00\x01")
