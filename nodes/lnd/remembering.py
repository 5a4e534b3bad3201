"""What this process has seen of channels that close, and LND says only once.

LND's lists say something else of a closing at each of its stages. Without this less is told of
one that was already under way when the process began, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from fulgurite.channels.closing import CloseType, OutputKind
from fulgurite.identity import ChannelPoint, Outpoint, Txid
from nodes.lnd.sweeper import Offered

# So many channels, and transactions, are remembered at most.
_REMEMBERED: Final = 10_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Known:
    """Of a closing, what LND says at one stage of it and no longer at the next."""

    commit_fee_sat: int = 0
    close_height: int | None = None
    close_type: CloseType | None = None


@dataclass(frozen=True)
class Memory:
    """The newest of what was seen."""

    channels: OrderedDict[ChannelPoint, Known] = field(default_factory=OrderedDict)
    outputs: OrderedDict[Txid, dict[Outpoint, Offered]] = field(default_factory=OrderedDict)

    def know(self, point: ChannelPoint, known: Known) -> Known:
        """Adds to what is known of a channel."""
        before = self.channels.get(point, Known())
        merged = Known(
            known.commit_fee_sat or before.commit_fee_sat,
            known.close_height or before.close_height,
            known.close_type or before.close_type,
        )
        _remember(self.channels, point, merged)
        return merged

    def forget_block(self, point: ChannelPoint) -> None:
        """Its closing transaction is in none, or no longer in the one that it was in."""
        if known := self.channels.get(point):
            self.channels[point] = replace(known, close_height=None)

    def saw(self, offers: Iterable[Offered]) -> None:
        for each in offers:
            txid = each.outpoint.txid
            _remember(self.outputs, txid, self.outputs.get(txid, {}) | {each.outpoint: each})

    def find(self, outpoint: Outpoint) -> Offered | None:
        return self.outputs.get(outpoint.txid, {}).get(outpoint)

    def of_kind(self, txid: Txid, kind: OutputKind) -> Iterator[Offered]:
        """Outputs of one transaction."""
        return (each for each in self.outputs.get(txid, {}).values() if each.kind is kind)

    def worth(self, outpoint: Outpoint) -> int | None:
        known = self.find(outpoint)
        return known.amount_sat if known else None


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)
