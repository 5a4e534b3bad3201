"""The nodes' coins on the chain: a sum each, and the transactions that changed it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from devnet.simulated.chain import Chain
from devnet.simulated.onchain.transactions import Outpoint, Output, OutputKind, Transaction

START_WALLET_SAT = 100_000_000


@dataclass(frozen=True)
class Balance:
    """What is mined and not spent by anything, and what waits for a block."""

    confirmed_sat: int
    unconfirmed_sat: int


@dataclass(frozen=True)
class WalletTransaction:
    """A transaction as one wallet sees it. `amount_sat` is what that wallet has gained."""

    owner: str
    transaction: Transaction
    amount_sat: int
    height: int | None
    is_all_ours: bool


class Wallets:
    """Every node's wallet, computed from what the chain has: nothing is booked here."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._touching: defaultdict[str, dict[str, Transaction]] = defaultdict(dict)
        self._replaced: defaultdict[str, dict[str, Transaction]] = defaultdict(dict)
        self._noted: defaultdict[str, dict[str, Transaction]] = defaultdict(dict)
        chain.on_transaction(self._known, self._forgotten)
        chain.on_block(lambda _: self._forget_replaced())

    def note(self, node: str, transaction: Transaction) -> None:
        """Remembers a transaction that a node has sent and that brings its wallet nothing."""
        self._noted[node][transaction.txid] = transaction

    def restart(self, node: str) -> None:
        """At its start lnd drops what it took for unconfirmed and the chain does not know."""
        self._noted[node].clear()
        self._replaced[node].clear()

    def balance(self, node: str) -> Balance:
        """A wallet's coins. What is drawn is gone at once, what comes in must be mined."""
        confirmed_sat, unconfirmed_sat = START_WALLET_SAT, 0
        for transaction in self._touching[node].values():
            confirmed_sat -= _drawn_sat(transaction, node)
            received_sat = _received_sat(transaction, node)
            if self._chain.height_of(transaction.txid) is None:
                unconfirmed_sat += received_sat
            else:
                confirmed_sat += received_sat
            for coin in self._coins_in(transaction, node):
                amount_sat = self._chain.output(coin).amount_sat
                if self._chain.height_of(coin.txid) is None:
                    unconfirmed_sat -= amount_sat
                else:
                    confirmed_sat -= amount_sat
        # lnd counts what it has replaced until a block has one of the rivals.
        unconfirmed_sat += sum(_received_sat(each, node) for each in self._replaced[node].values())
        return Balance(confirmed_sat, unconfirmed_sat)

    def mined_sat(self, node: str) -> int:
        """What a wallet would have if nothing that waits for a block were ever mined."""
        mined_sat = START_WALLET_SAT
        for transaction in self._touching[node].values():
            if self._chain.height_of(transaction.txid) is not None:
                mined_sat += self._gain_sat(transaction, node)
        return mined_sat

    def transactions(self, node: str) -> list[WalletTransaction]:
        """What has touched a wallet, in the order of its coming, with what lnd has not let go.

        A transaction that was replaced stays unconfirmed until a block has one of its rivals,
        and a commitment of the node's own until it starts anew, mined or not.
        """
        real = [
            WalletTransaction(
                node,
                transaction,
                self._gain_sat(transaction, node),
                self._chain.height_of(transaction.txid),
                is_all_ours=not transaction.spends,
            )
            for transaction in self._touching[node].values()
        ]
        noted = [
            WalletTransaction(node, transaction, 0, None, is_all_ours=False)
            for transaction in self._noted[node].values()
        ]
        replaced = [
            WalletTransaction(
                node, transaction, self._gain_sat(transaction, node), None, is_all_ours=False
            )
            for transaction in self._replaced[node].values()
        ]
        return [*real, *noted, *replaced]

    def _gain_sat(self, transaction: Transaction, node: str) -> int:
        coins = self._coins_in(transaction, node)
        spent_sat = sum(self._chain.output(coin).amount_sat for coin in coins)
        received_sat = _received_sat(transaction, node)
        return received_sat - spent_sat - _drawn_sat(transaction, node)

    def _coins_in(self, transaction: Transaction, node: str) -> list[Outpoint]:
        """The coins of this wallet that a transaction spends one by one."""
        return [
            spend.outpoint
            for spend in transaction.spends
            if self._chain.find(spend.outpoint.txid) is not None
            and _is_coin_of(node, self._chain.output(spend.outpoint))
        ]

    def _known(self, transaction: Transaction) -> None:
        for node in _wallets_of(transaction):
            self._touching[node][transaction.txid] = transaction

    def _forgotten(self, transaction: Transaction) -> None:
        for node in _wallets_of(transaction):
            del self._touching[node][transaction.txid]
            self._replaced[node][transaction.txid] = transaction

    def _forget_replaced(self) -> None:
        for replaced in self._replaced.values():
            for transaction in list(replaced.values()):
                if any(self._chain.is_spent(spend.outpoint) for spend in transaction.spends):
                    del replaced[transaction.txid]


def _is_coin_of(node: str, output: Output) -> bool:
    return output.kind is OutputKind.WALLET and output.owner == node


def _wallets_of(transaction: Transaction) -> set[str]:
    receivers = {out.owner for out in transaction.outputs if out.kind is OutputKind.WALLET}
    return receivers | {draw.node for draw in transaction.draws}


def _received_sat(transaction: Transaction, node: str) -> int:
    return sum(output.amount_sat for output in transaction.outputs if _is_coin_of(node, output))


def _drawn_sat(transaction: Transaction, node: str) -> int:
    return sum(draw.amount_sat for draw in transaction.draws if draw.node == node)
