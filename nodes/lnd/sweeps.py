"""What closed channels have brought back into LND's wallet, and what that has cost.

LND's own sums are of no use here: `recovered_balance` is without fees and forgets what was
resolved before LND started, and its resolutions name transactions that were never published.
So the wallet is asked: which confirmed transactions spend an output of the closing
transaction, or an output of such a transaction that is no wallet's (an HTLC's second stage).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fulgurite.identity import Outpoint, Txid
from protos.lnrpc import lightning_pb2

# BOLT 3: what an anchor output holds.
ANCHOR_SAT: Final = 330

# What an output that is not the wallet's holds; None: nobody knows any more.
Worth = Callable[[Outpoint], int | None]


@dataclass(frozen=True)
class SweptOutput:
    """An output that a confirmed transaction of the wallet has spent."""

    outpoint: Outpoint
    txid: Txid
    worth_sat: int | None
    passed_on: bool  # to the HTLC's second stage, not yet to the wallet


@dataclass(frozen=True)
class Swept:
    """What became of a closing transaction's outputs so far."""

    recovered_sat: int  # the wallet's gain, after fees
    fees_sat: int  # of every sweep, less the anchor that it brought back
    outputs: tuple[SweptOutput, ...]
    unexplained_sat: int = 0  # the wallet's gain by sweeps of outputs that nobody knows
    unknown: frozenset[Txid] = frozenset()  # whose outputs were swept along, and nobody knows them


@dataclass(frozen=True)
class _Spend:
    """An output that a transaction spends, and which of its inputs does it."""

    transaction: lightning_pb2.Transaction
    number: int
    outpoint: Outpoint

    @property
    def next_stage(self) -> Outpoint | None:
        """The output that an HTLC's own transaction pays it on to.

        Both sides have signed input and output of the same number together (BOLT 3), whatever
        else LND has put into the transaction.
        """
        output = _output(self.transaction, self.number)
        if output is None or output.is_our_address:
            return None
        return Outpoint(f"{self.transaction.tx_hash}:{self.number}")


class WalletTransactions:
    """Transactions of LND's wallet, by what they spend.

    Those that are unconfirmed count for nothing: each that was replaced by one with more fee
    stays in LND's list until one of them is confirmed.
    """

    def __init__(self, transactions: Iterable[lightning_pb2.Transaction] = ()) -> None:
        self._by_txid = {each.tx_hash: each for each in transactions}
        self._spends: defaultdict[Txid, list[_Spend]] = defaultdict(list)
        for each in self._by_txid.values():
            if each.num_confirmations > 0:
                for spend in _spends(each):
                    # What a close in agreement has paid to the wallet is a coin like any other:
                    # spending it, perhaps to pay for another channel's sweep, sweeps nothing.
                    if not _is_ours(spend):
                        self._spends[spend.outpoint.txid].append(spend)

    def outputs_of(self, txid: Txid) -> list[lightning_pb2.OutputDetail]:
        """Empty when the wallet does not know the transaction, or no longer."""
        found = self._by_txid.get(txid)
        return list(found.output_details) if found else []

    def next_stages(self, closing_txid: Txid) -> list[Outpoint]:
        """Where those HTLCs are now whose own transaction is confirmed."""
        stages = (spend.next_stage for spend in self._spends.get(closing_txid, ()))
        return [each for each in stages if each]

    def swept_alone(self, closing_txid: Txid) -> list[Outpoint]:
        """Outputs of the closing transaction that paid for their own sweep.

        An anchor cannot, and neither can the first stage of an HTLC, whose output of the same
        number is no wallet's.
        """
        return [
            spend.outpoint
            for spend in self._spends.get(closing_txid, ())
            if not spend.next_stage and not any(map(_is_ours, _spends(spend.transaction)))
        ]

    def swept(self, closing_txid: Txid, worth: Worth) -> Swept:
        """What the closing transaction's outputs, and their second stages, have come to.

        A sweep of which nobody knows any more what all it has swept counts for nothing, and is
        told apart where it is of this closing alone.
        """
        recovered = fees = 0
        outputs, unexplained, unknown = [], {}, set()
        for spend in self._spends_of(closing_txid):
            value, fee = self._worth(spend, worth), self._fee_of(spend, worth)
            passed_on = self._passed_on(spend)
            outputs.append(
                SweptOutput(
                    spend.outpoint, Txid(spend.transaction.tx_hash), value, passed_on is not None
                )
            )
            if value is not None and fee is not None:
                recovered += value - fee - (passed_on or 0)
                fees += fee - (value if value == ANCHOR_SAT else 0)
                continue
            unknown |= {each.outpoint.txid for each in self._unknown(spend.transaction, worth)}
            if _sweeps_only(closing_txid, spend.transaction):
                unexplained[spend.transaction.tx_hash] = spend.transaction.amount
        gain = sum(unexplained.values())
        return Swept(recovered, fees, tuple(outputs), gain, frozenset(unknown))

    def _spends_of(self, closing_txid: Txid) -> Iterator[_Spend]:
        for spend in self._spends.get(closing_txid, ()):
            yield spend
            if stage := spend.next_stage:
                seconds = self._spends.get(stage.txid, ())
                yield from (second for second in seconds if second.outpoint == stage)

    def _fee_of(self, spend: _Spend, worth: Worth) -> int | None:
        """An input's part of its transaction's fee: LND sweeps several channels with one.

        Every input that is not the wallet's bears the same; what is left over, the first ones.
        """
        swept = _swept_by(spend.transaction)
        values = [self._worth(each, worth) for each in swept]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        paid_out = sum(
            output.amount
            for output in spend.transaction.output_details
            if not output.is_our_address
        )
        fee = sum(known) - spend.transaction.amount - paid_out
        share, rest = divmod(fee, len(swept))
        return share + ([each.number for each in swept].index(spend.number) < rest)

    def _unknown(self, transaction: lightning_pb2.Transaction, worth: Worth) -> list[_Spend]:
        return [each for each in _swept_by(transaction) if self._worth(each, worth) is None]

    def _worth(self, spend: _Spend, worth: Worth) -> int | None:
        for output in self.outputs_of(spend.outpoint.txid):
            if output.output_index == spend.outpoint.output_index:
                return output.amount
        if (known := worth(spend.outpoint)) is not None:
            return known
        # An HTLC's own transaction pays no fee of its own where there are anchors.
        return self._passed_on(spend)

    def _passed_on(self, spend: _Spend) -> int | None:
        """What an HTLC's own transaction pays on to its second stage; None: it is none."""
        output = _output(spend.transaction, spend.number) if spend.next_stage else None
        return output.amount if output else None


def _spends(transaction: lightning_pb2.Transaction) -> list[_Spend]:
    return [
        _Spend(transaction, number, Outpoint(previous.outpoint))
        for number, previous in enumerate(transaction.previous_outpoints)
        if not _is_coinbase(previous.outpoint)
    ]


def _swept_by(transaction: lightning_pb2.Transaction) -> list[_Spend]:
    """Of what it spends all that is no coin of the wallet's."""
    return [each for each in _spends(transaction) if not _is_ours(each)]


def _output(
    transaction: lightning_pb2.Transaction, number: int
) -> lightning_pb2.OutputDetail | None:
    return next((o for o in transaction.output_details if o.output_index == number), None)


def _is_ours(spend: _Spend) -> bool:
    return spend.transaction.previous_outpoints[spend.number].is_our_output


def _sweeps_only(txid: Txid, transaction: lightning_pb2.Transaction) -> bool:
    return all(each.outpoint.txid == txid for each in _swept_by(transaction))


def _is_coinbase(outpoint: str) -> bool:
    """A coinbase spends nothing, at an index that no output has."""
    return outpoint.endswith(":4294967295")
