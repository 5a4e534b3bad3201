"""The oracle's page for the chain: every coin, whose it is, and by what right it moved.

It imports the form of transactions and nothing else of the simulation. From each block it
keeps its own list of what is unspent, holds every transaction to the rules of the chain (no
output twice, none before its time, no HTLC without its secret), and books what each one
changed for each node. A reorg is booked backwards.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from devnet.simulated.onchain.transactions import (
    HtlcTerms,
    Outpoint,
    Output,
    OutputKind,
    Transaction,
)

# A node's purses: what it can claim on chain, what is in a channel that is not open yet, what
# it paid to miners, what it sent to somebody outside, and what it gave a peer with a channel.
CHAIN, FUNDING, MINERS, ABROAD, GIVEN = "chain", "funding", "miners", "abroad", "given"

Posting = tuple[str, "Purse", int]


@dataclass(frozen=True)
class Purse:
    """Where an amount is booked: a purse by name, a channel's side, or a payment's account."""

    name: str = ""
    channel_id: int | None = None
    payment_hash: bytes | None = None


@dataclass(frozen=True)
class Coin:
    """An unspent output, and the height of its block."""

    output: Output
    height: int


Book = Callable[[bytes | None, Sequence[Posting]], None]
Side = Callable[[str, int], int]


class ChainLedger:
    """`book` enters postings in msat; `side_msat` is what the journal says of a channel side."""

    def __init__(self, book: Book, side_msat: Side) -> None:
        self._book = book
        self._side_msat = side_msat
        self._unspent: dict[Outpoint, Coin] = {}
        self._channels: dict[Outpoint, tuple[int, tuple[str, ...]]] = {}
        self._entries: defaultdict[str, list[tuple[bytes | None, list[Posting]]]]
        self._entries = defaultdict(list)
        self._taken: dict[str, dict[Outpoint, Coin]] = {}

    def channel_opened(
        self, channel_id: int, funding: Outpoint, opener: str, balances_msat: Mapping[str, int]
    ) -> None:
        """The coins of a funding transaction become the balances of a channel."""
        coin = self._unspent[funding]
        if sum(balances_msat.values()) != coin.output.amount_sat * 1_000:
            raise AssertionError(f"channel {channel_id} holds more or less than its output")
        self._channels[funding] = (channel_id, tuple(balances_msat))
        side = Purse(channel_id=channel_id)
        postings: list[Posting] = [(opener, Purse(FUNDING), -sum(balances_msat.values()))]
        for node, balance_msat in balances_msat.items():
            postings.append((node, side, balance_msat))
            given_msat = -balance_msat
            if node == opener:
                given_msat = sum(balances_msat.values()) - balance_msat
            postings.append((node, Purse(GIVEN), given_msat))
        self._book(None, postings)

    def block_connected(self, height: int, transactions: Iterable[Transaction]) -> None:
        for transaction in transactions:
            self._connect(height, transaction)

    def block_disconnected(self, transactions: Sequence[Transaction]) -> None:
        for transaction in reversed(transactions):
            txid = transaction.txid
            for index in range(len(transaction.outputs)):
                if self._unspent.pop(transaction.outpoint(index), None) is None:
                    raise AssertionError(f"{txid} is taken back before what spends it")
            self._unspent |= self._taken.pop(txid)
            for payment_hash, postings in reversed(self._entries.pop(txid, [])):
                self._book(payment_hash, [(node, purse, -msat) for node, purse, msat in postings])

    def _connect(self, height: int, transaction: Transaction) -> None:
        coins = self._take(height, transaction)
        given_sat = sum(coin.output.amount_sat for coin in coins.values())
        given_sat += sum(draw.amount_sat for draw in transaction.draws)
        if given_sat != sum(o.amount_sat for o in transaction.outputs) + transaction.fee_sat:
            raise AssertionError(f"{transaction.txid} creates or loses coins")
        for index, output in enumerate(transaction.outputs):
            self._unspent[transaction.outpoint(index)] = Coin(output, height)
        for outpoint, coin in coins.items():
            if outpoint in self._channels:
                self._close(transaction, *self._channels[outpoint], opener=coin.output.owner)
                return
        self._move(transaction, coins)

    def _take(self, height: int, transaction: Transaction) -> dict[Outpoint, Coin]:
        taken: dict[Outpoint, Coin] = {}
        for spend in transaction.spends:
            coin = self._unspent.pop(spend.outpoint, None)
            if coin is None:
                raise AssertionError(f"{spend.outpoint} is spent twice, or was never there")
            if height < coin.height + coin.output.csv_blocks:
                raise AssertionError(f"{spend.outpoint} is spent before its delay is over")
            taken[spend.outpoint] = coin
            self._check_right(height, spend.by, spend.preimage, coin.output)
        self._taken[transaction.txid] = taken
        return taken

    def _check_right(self, height: int, by: str, preimage: bytes | None, output: Output) -> None:
        if output.kind is OutputKind.FUNDING:
            return  # whoever publishes, both ends have signed
        terms = output.htlc
        if terms is None or preimage is None:
            if by != output.owner:
                raise AssertionError(f"{by} takes what is {output.owner}'s")
            if terms is not None and height <= terms.expiry_height:
                raise AssertionError(f"{by} takes an HTLC back before it has expired")
        elif by != terms.payee or hashlib.sha256(preimage).digest() != terms.payment_hash:
            raise AssertionError(f"{by} claims an HTLC without its secret")

    def _close(
        self, closing: Transaction, channel_id: int, ends: tuple[str, ...], *, opener: str
    ) -> None:
        """A channel's sides become what each end has on chain; what is missing is its fee.

        The opener pays for both anchors, so that it gives the peer one.
        """
        # Below zero: what an end has not got out yet.
        claims_msat = {node: -self._side_msat(node, channel_id) for node in ends}
        side = Purse(channel_id=channel_id)
        postings: list[Posting] = [(node, side, claims_msat[node]) for node in ends]
        for output in closing.outputs:
            amount_msat = output.amount_sat * 1_000
            postings.append((output.owner, _purse_of(output), amount_msat))
            claims_msat[output.owner] += amount_msat
            if output.kind is OutputKind.ANCHOR and output.owner != opener:
                postings.append((output.owner, Purse(GIVEN), -amount_msat))
                postings.append((opener, Purse(GIVEN), amount_msat))
                claims_msat[output.owner] -= amount_msat
                claims_msat[opener] += amount_msat
        for node, claim_msat in claims_msat.items():
            if claim_msat > 0:
                raise AssertionError(f"{node} takes more out of channel {channel_id} than it had")
            postings.append((node, Purse(MINERS), -claim_msat))
        self._enter(closing, None, postings)

    def _move(self, transaction: Transaction, coins: Mapping[Outpoint, Coin]) -> None:
        gains_msat: defaultdict[str, int] = defaultdict(int)
        postings: list[Posting] = []
        for spend in transaction.spends:
            output = coins[spend.outpoint].output
            if output.htlc is not None and spend.preimage is not None:
                self._claim(transaction, output, output.htlc)
            postings.append((spend.by, Purse(CHAIN), -output.amount_sat * 1_000))
            gains_msat[spend.by] -= output.amount_sat * 1_000
        for draw in transaction.draws:
            postings.append((draw.node, Purse(CHAIN), -draw.amount_sat * 1_000))
            gains_msat[draw.node] -= draw.amount_sat * 1_000
        for output in transaction.outputs:
            postings.append((output.owner, _purse_of(output), output.amount_sat * 1_000))
            gains_msat[output.owner] += output.amount_sat * 1_000
        for node, gain_msat in gains_msat.items():
            if gain_msat > 0:
                raise AssertionError(f"{node} gains by {transaction.txid} what others have lost")
            postings.append((node, Purse(MINERS), -gain_msat))
        self._enter(transaction, None, postings)

    def _claim(self, transaction: Transaction, output: Output, terms: HtlcTerms) -> None:
        """An HTLC that is claimed is a hop that settles; the part of a satoshi is in the fees."""
        sat_msat = output.amount_sat * 1_000
        rest_msat = terms.amount_msat - sat_msat
        payment = Purse(payment_hash=terms.payment_hash)
        postings: list[Posting] = [
            (terms.payer, Purse(CHAIN), -sat_msat),
            (terms.payer, Purse(MINERS), -rest_msat),
            (terms.payer, payment, terms.amount_msat),
            (terms.payee, payment, -terms.amount_msat),
            (terms.payee, Purse(CHAIN), sat_msat),
            (terms.payee, Purse(MINERS), rest_msat),
        ]
        self._enter(transaction, terms.payment_hash, postings)

    def _enter(
        self, transaction: Transaction, payment_hash: bytes | None, postings: list[Posting]
    ) -> None:
        self._entries[transaction.txid].append((payment_hash, postings))
        self._book(payment_hash, postings)


def _purse_of(output: Output) -> Purse:
    if output.kind is OutputKind.FUNDING:
        return Purse(FUNDING)
    return Purse(ABROAD) if output.kind is OutputKind.FOREIGN else Purse(CHAIN)
