"""The one chain of a network: blocks on request, transactions in them, and reorgs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from devnet.simulated.onchain.fees import Fees
from devnet.simulated.onchain.mempool import Mempool
from devnet.simulated.onchain.transactions import Outpoint, Output, OutputKind, Transaction

# High enough that every funding transaction is buried and every expiry is positive.
FIRST_HEIGHT = 200

# Nothing here reaches deeper: the blocks below are not kept.
GENESIS = FIRST_HEIGHT


class PublishError(Exception):
    """The network does not take a transaction; the text says why."""


class OutbidError(PublishError):
    """Something in the mempool spends the same and pays as much: more could replace it."""


class TooYoungError(PublishError):
    """It spends an output that is not as old as it must be."""


class Fate(Enum):
    """What becomes of the transactions in blocks that a reorg takes back."""

    MEMPOOL = auto()  # they wait for a block again
    MINED = auto()  # the new blocks have them too
    DROPPED = auto()  # they are gone until their publisher sends them once more


@dataclass(frozen=True)
class Block:
    height: int
    block_hash: str
    transactions: tuple[Transaction, ...] = field(repr=False)


BlockListener = Callable[[Block], None]
TransactionListener = Callable[[Transaction], None]


class Chain:
    """Blocks, the mempool, and every transaction that there is.

    Listeners hear each block alone and in order, before `mine` returns, so whoever mines
    finds every node at the new height. What they publish meanwhile is for the next block.
    """

    def __init__(self) -> None:
        self.fees = Fees()
        self.mempool = Mempool(self.fees)
        self._blocks = [Block(GENESIS, _hash_of(GENESIS, 0), ())]
        self._branch = 0
        self._heights: dict[str, int] = {}
        self._known: dict[str, Transaction] = {}
        self._spenders: dict[Outpoint, Transaction] = {}
        self._dropped: defaultdict[str, dict[str, Transaction]] = defaultdict(dict)
        self._on_connected: list[BlockListener] = []
        self._on_disconnected: list[BlockListener] = []
        self._on_known: list[TransactionListener] = []
        self._on_forgotten: list[TransactionListener] = []

    @property
    def height(self) -> int:
        return self._blocks[-1].height

    def block_at(self, height: int) -> Block:
        return self._blocks[height - GENESIS]

    def on_block(self, connected: BlockListener, disconnected: BlockListener | None = None) -> None:
        """Tells a listener of every block to come, and of those that a reorg takes back."""
        self._on_connected.append(connected)
        if disconnected is not None:
            self._on_disconnected.append(disconnected)

    def on_transaction(self, known: TransactionListener, forgotten: TransactionListener) -> None:
        """Tells of every new transaction, and of those that can never be mined any more."""
        self._on_known.append(known)
        self._on_forgotten.append(forgotten)

    # What is there.

    def find(self, txid: str) -> Transaction | None:
        """A transaction in a block, in the mempool, or dropped and not given up."""
        return self._known.get(txid)

    def output(self, outpoint: Outpoint) -> Output:
        return self._known[outpoint.txid].outputs[outpoint.index]

    def height_of(self, txid: str) -> int | None:
        """Of the block that has it; None: it is in none."""
        return self._heights.get(txid)

    def spender(self, outpoint: Outpoint) -> Transaction | None:
        """What spends an output, in a block or in the mempool."""
        return self._spenders.get(outpoint) or self.mempool.spender(outpoint)

    def is_spent(self, outpoint: Outpoint) -> bool:
        """Whether a block has what spends it."""
        return outpoint in self._spenders

    def unspent(self) -> Iterator[Output]:
        """Every output in a block that no block spends."""
        for txid in self._heights:
            transaction = self._known[txid]
            for index, output in enumerate(transaction.outputs):
                if transaction.outpoint(index) not in self._spenders:
                    yield output

    # What is sent.

    def publish(self, transaction: Transaction) -> None:
        """Takes a transaction into the mempool; once more is no error.

        It replaces others that spend the same and pay less (BIP 125, without its details).
        """
        txid = transaction.txid
        if txid in self.mempool or txid in self._heights:
            return
        self._check(transaction)
        rivals = self.mempool.conflicts(transaction)
        if rivals and (
            transaction.fee_sat <= sum(rival.fee_sat for rival in rivals)
            or transaction.sat_per_kw <= max(rival.sat_per_kw for rival in rivals)
        ):
            raise OutbidError("insufficient fee to replace what spends the same output")
        for rival in reversed(rivals):
            self.mempool.remove(rival)
            self._forget(rival)
        self._dropped[transaction.publisher].pop(txid, None)
        self.mempool.add(transaction)
        if txid not in self._known:
            self._known[txid] = transaction
            for listener in self._on_known:
                listener(transaction)

    def rebroadcast(self, publisher: str) -> None:
        """Sends again what a node has published and the network has dropped."""
        for transaction in list(self._dropped[publisher].values()):
            try:
                self.publish(transaction)
            except PublishError:
                continue  # its parent is gone, or its time has not come again

    def _check(self, transaction: Transaction) -> None:
        """Every rule that a node of the chain would hold a transaction to."""
        if transaction.lock_height > self.height:
            raise PublishError("non-final: its lock time is not reached")
        for spend in transaction.spends:
            parent = self._known.get(spend.outpoint.txid)
            height = self._heights.get(spend.outpoint.txid)
            if parent is None or (height is None and spend.outpoint.txid not in self.mempool):
                raise PublishError(f"missing input {spend.outpoint}")
            if spend.outpoint in self._spenders:
                raise PublishError(f"input {spend.outpoint} is spent")
            csv_blocks = parent.outputs[spend.outpoint.index].csv_blocks
            if csv_blocks and (height is None or self.height + 1 < height + csv_blocks):
                raise TooYoungError(f"non-final: input {spend.outpoint} is not old enough")

    # What is mined.

    def mine(self, blocks: int) -> None:
        """Adds `blocks` blocks, one after another."""
        if blocks < 0:
            raise ValueError(f"cannot mine {blocks} blocks: name a number from zero up")
        for _ in range(blocks):
            self._connect(self.mempool.next_block())

    def reorg(self, depth: int, *, blocks: int | None = None, fate: Fate = Fate.MEMPOOL) -> None:
        """Replaces the last `depth` blocks by `blocks` others, one more unless told.

        Funding transactions are mined again at the heights they had: channels that are open
        stay open, under the ids that they have. Where they would not, it refuses.
        """
        new_blocks = depth + 1 if blocks is None else blocks
        first = self.height - depth + 1
        if depth < 1 or first <= GENESIS:
            raise ValueError(f"cannot take back {depth} blocks of {self.height - GENESIS}")
        taken_back = self._blocks[-depth:]
        kept = {block.height: _fundings(block) for block in taken_back if _fundings(block)}
        if kept and max(kept) >= first + new_blocks:
            raise ValueError(
                f"block {max(kept)} has a funding transaction: replace it by as many blocks"
            )
        for block in reversed(taken_back):
            self._disconnect(block)
        self._branch += 1
        self._revalidate(fate, [tx for block in taken_back for tx in block.transactions])
        for height in range(first, first + new_blocks):
            again = self.mempool.next_block() if fate is Fate.MINED else []
            others = [tx for tx in again if not _is_funding(tx)]
            self._connect([*kept.get(height, ()), *others])

    def _revalidate(self, fate: Fate, taken_back: list[Transaction]) -> None:
        """Drops what was ordered, and what is not valid any more without its block."""
        waiting = list(self.mempool)
        for transaction in waiting:
            self.mempool.remove(transaction)
        gone = {tx.txid for tx in taken_back if fate is Fate.DROPPED and not _is_funding(tx)}
        for transaction in [*taken_back, *waiting]:
            if transaction.txid not in gone and self._is_valid(transaction):
                self.mempool.add(transaction)
            else:
                self._dropped[transaction.publisher][transaction.txid] = transaction

    def _is_valid(self, transaction: Transaction) -> bool:
        try:
            self._check(transaction)
        except PublishError:
            return False
        return True

    def _connect(self, transactions: Iterable[Transaction]) -> None:
        height = self.height + 1
        block = Block(height, _hash_of(height, self._branch), tuple(transactions))
        for transaction in block.transactions:
            if transaction.txid in self.mempool:
                self.mempool.remove(transaction)
            self._heights[transaction.txid] = height
            self._give_up_rivals(transaction)
            for spend in transaction.spends:
                self._spenders[spend.outpoint] = transaction
        self._blocks.append(block)
        for listener in self._on_connected:
            listener(block)

    def _disconnect(self, block: Block) -> None:
        self._blocks.pop()
        for transaction in reversed(block.transactions):
            del self._heights[transaction.txid]
            for spend in transaction.spends:
                del self._spenders[spend.outpoint]
        for listener in self._on_disconnected:
            listener(block)

    def _give_up_rivals(self, mined: Transaction) -> None:
        """What spends the same as a block does is never mined any more.

        The mempool has none of these: a rival was replaced, or refused. But one that was
        dropped can be overtaken.
        """
        spent = {spend.outpoint for spend in mined.spends}
        for dropped in list(self._dropped.values()):
            for transaction in list(dropped.values()):
                if transaction.txid != mined.txid and spent & {
                    spend.outpoint for spend in transaction.spends
                }:
                    del dropped[transaction.txid]
                    self._forget(transaction)

    def _forget(self, transaction: Transaction) -> None:
        del self._known[transaction.txid]
        for listener in self._on_forgotten:
            listener(transaction)


def _hash_of(height: int, branch: int) -> str:
    return hashlib.sha256(f"block {height} of branch {branch}".encode()).hexdigest()


def _is_funding(transaction: Transaction) -> bool:
    return any(output.kind is OutputKind.FUNDING for output in transaction.outputs)


def _fundings(block: Block) -> list[Transaction]:
    return [transaction for transaction in block.transactions if _is_funding(transaction)]
