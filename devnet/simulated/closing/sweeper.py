"""A node's sweeper: it gathers outputs into transactions, and raises their fees in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from devnet.simulated.chain import Chain, OutbidError, PublishError, TooYoungError
from devnet.simulated.closing.sweep import Batch, CannotPayError, Sweep
from devnet.simulated.onchain.transactions import Outpoint, Transaction
from devnet.simulated.onchain.view import ChainView
from devnet.simulated.onchain.weights import SAT_PER_KW

MAX_INPUTS = 100


class Sweeper:
    """Holds outputs until a block has their spend, whoever made it.

    Outputs go together when they have one deadline and one lock time, as in lnd; anchors go
    alone. Kept through restarts, like the node's resolvers that would offer them again.
    """

    def __init__(
        self, node: str, *, chain: Chain, view: ChainView, wallet_sat: Callable[[], int]
    ) -> None:
        self._node = node
        self._chain = chain
        self._view = view
        self._wallet_sat = wallet_sat
        self._sweeps: dict[Outpoint, Sweep] = {}
        self._batches: dict[Outpoint, Batch] = {}
        self._published: list[str] = []

    @property
    def pending(self) -> Iterable[Sweep]:
        return self._sweeps.values()

    @property
    def published(self) -> list[str]:
        """The transactions that it has ever sent."""
        return self._published

    def find(self, outpoint: Outpoint) -> Sweep | None:
        return self._sweeps.get(outpoint)

    def restart(self) -> None:
        """Forgets what it has, terms and all; who wants an output home offers it again."""
        self._sweeps.clear()
        self._batches.clear()

    def offer(self, sweep: Sweep) -> None:
        """Takes an output; what is offered again gets the new terms."""
        known = self._sweeps.get(sweep.outpoint)
        if known is not None:
            sweep.attempts = known.attempts
            sweep.last_sat_per_kw = known.last_sat_per_kw
            self._release(sweep.outpoint)
        sent = self._chain.mempool.spender(sweep.outpoint)
        if sent is not None and sent.publisher == self._node:
            sweep.start_sat_per_kw = sent.sat_per_kw
        self._sweeps[sweep.outpoint] = sweep

    def withdraw(self, outpoint: Outpoint) -> None:
        """The output will never be there: its transaction has lost against another."""
        self._release(outpoint)
        self._sweeps.pop(outpoint, None)

    def reconsider(self, sweep: Sweep) -> None:
        """New terms: they hold from the next block on, or from now if it is urgent."""
        self._release(sweep.outpoint)
        if sweep.is_immediate:
            self._sweep(self._view.height)

    def on_block(self, height: int) -> None:
        """Forgets what is spent, raises the fees of what is not, and sends what is new."""
        for outpoint in list(self._sweeps):
            if self._view.spender(outpoint) is not None:
                self._release(outpoint)
                del self._sweeps[outpoint]
        for batch in dict.fromkeys(self._batches.values()):
            self._raise_fee(batch, height)
        self._sweep(height)

    def _release(self, outpoint: Outpoint) -> None:
        """Takes an output out of its transaction; what was in it too is gathered anew."""
        batch = self._batches.get(outpoint)
        for sweep in batch.sweeps if batch is not None else ():
            self._batches.pop(sweep.outpoint, None)

    def _raise_fee(self, batch: Batch, height: int) -> None:
        if batch.fee_function.advance(batch.blocks_left(height)):
            self._publish(batch)

    def _sweep(self, height: int) -> None:
        groups: defaultdict[object, list[Sweep]] = defaultdict(list)
        for sweep in self._sweeps.values():
            if sweep.outpoint in self._batches or not sweep.is_mature(height):
                continue
            if not sweep.pays_at_all:
                continue
            alone = sweep.outpoint if sweep.is_exclusive else None
            groups[alone, sweep.deadline_height, sweep.lock_height].append(sweep)
        for group in groups.values():
            for start in range(0, len(group), MAX_INPUTS):
                self._begin(group[start : start + MAX_INPUTS], height)

    def _begin(self, sweeps: list[Sweep], height: int) -> None:
        for sweep in sweeps:
            sweep.attempts += 1
        try:
            batch = Batch(
                self._node,
                sweeps,
                fees=self._chain.fees,
                height=height,
                parent=self._unconfirmed_parent(sweeps),
            )
        except CannotPayError:
            return
        self._outbid_ourselves(batch)
        if self._publish(batch):
            for sweep in sweeps:
                self._batches[sweep.outpoint] = batch

    def _unconfirmed_parent(self, sweeps: list[Sweep]) -> Transaction | None:
        for sweep in sweeps:
            parent = sweep.parent
            if parent is not None and self._chain.height_of(parent.txid) is None:
                return parent
        return None

    def _outbid_ourselves(self, batch: Batch) -> None:
        """What replaces a transaction of our own pays 1 sat a virtual byte more at the least."""
        sent = [self._chain.mempool.spender(sweep.outpoint) for sweep in batch.sweeps]
        rates = [each.sat_per_kw for each in sent if each and each.publisher == self._node]
        least = max(rates, default=-SAT_PER_KW) + SAT_PER_KW
        while batch.fee_function.sat_per_kw < least and batch.fee_function.step():
            pass

    def _publish(self, batch: Batch) -> bool:
        """Sends a transaction, for more where another already spends the same."""
        while self._view.has_backend:
            try:
                transaction = batch.build(self._wallet_sat() + _drawn_sat(batch.transaction))
                self._chain.publish(transaction)
            except OutbidError:
                if not batch.fee_function.step():
                    return False
                continue
            except TooYoungError:
                # A reorg has moved it. lnd gives it up, until its next start.
                for sweep in batch.sweeps:
                    self.withdraw(sweep.outpoint)
                return False
            except (CannotPayError, PublishError):
                return False  # for now: the wallet or a parent may be there later
            batch.transaction = transaction
            self._published.append(transaction.txid)
            for sweep in batch.sweeps:
                sweep.last_sat_per_kw = batch.fee_function.sat_per_kw
            return True
        return False


def _drawn_sat(transaction: Transaction | None) -> int:
    """What a transaction that is to be replaced gives back to the wallet."""
    return sum(draw.amount_sat for draw in transaction.draws) if transaction is not None else 0
