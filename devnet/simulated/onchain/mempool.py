"""Transactions that wait for a block, and which of them the next block takes."""

from __future__ import annotations

from collections.abc import Iterator

from devnet.simulated.onchain.fees import Fees
from devnet.simulated.onchain.transactions import Outpoint, Transaction


class Mempool:
    """Valid transactions in the order of their coming; no two spend the same output."""

    def __init__(self, fees: Fees) -> None:
        self._fees = fees
        self._transactions: dict[str, Transaction] = {}
        self._spenders: dict[Outpoint, Transaction] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(list(self._transactions.values()))

    def __contains__(self, txid: str) -> bool:
        return txid in self._transactions

    def find(self, txid: str) -> Transaction | None:
        return self._transactions.get(txid)

    def spender(self, outpoint: Outpoint) -> Transaction | None:
        return self._spenders.get(outpoint)

    def conflicts(self, transaction: Transaction) -> list[Transaction]:
        """What spends the same outputs, and all that builds on it."""
        found: dict[str, Transaction] = {}
        for spend in transaction.spends:
            rival = self._spenders.get(spend.outpoint)
            if rival is not None and rival.txid != transaction.txid:
                found |= {each.txid: each for each in self.with_children(rival)}
        return list(found.values())

    def with_children(self, transaction: Transaction) -> list[Transaction]:
        """A transaction and what spends its outputs, parents first."""
        family = [transaction]
        for member in family:
            for index in range(len(member.outputs)):
                child = self._spenders.get(member.outpoint(index))
                if child is not None and child not in family:
                    family.append(child)
        return family

    def add(self, transaction: Transaction) -> None:
        self._transactions[transaction.txid] = transaction
        for spend in transaction.spends:
            self._spenders[spend.outpoint] = transaction

    def remove(self, transaction: Transaction) -> None:
        del self._transactions[transaction.txid]
        for spend in transaction.spends:
            del self._spenders[spend.outpoint]

    def next_block(self) -> list[Transaction]:
        """What pays enough, by itself or by a child that pays for its parents; parents first."""
        taken: dict[str, Transaction] = {}
        for transaction in self._transactions.values():
            package = self._with_parents(transaction)
            fees_sat = sum(member.fee_sat for member in package)
            weight = sum(member.weight for member in package)
            if fees_sat * 1_000 >= self._fees.floor_sat_per_kw * weight:
                taken |= {member.txid: member for member in package}
        return list(taken.values())

    def _with_parents(self, transaction: Transaction) -> list[Transaction]:
        package: dict[str, Transaction] = {}
        for spend in transaction.spends:
            parent = self._transactions.get(spend.outpoint.txid)
            if parent is not None:
                package |= {member.txid: member for member in self._with_parents(parent)}
        return [*package.values(), transaction]
