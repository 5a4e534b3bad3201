"""The oracle: what truly happened to the money, kept apart from the engine that moved it.

This module imports nothing of the simulation but the form of its transactions. It hears of
each hop as it settles and keeps a double-entry journal: every entry moves an amount out of one
channel side into the other, and books the same amount on the `payments` account of either node
under the payment hash. So each entry sums to zero for each node by itself, and the `payments`
account tells what a hash cost the payer, earned a forwarder and brought the payee. What the
chain does to channels and coins is booked in the same journal, from the blocks themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from devnet.simulated.chain_ledger import CHAIN, MINERS, ChainLedger, Posting
from devnet.simulated.onchain.transactions import Outpoint


@dataclass(frozen=True)
class Account:
    """A node's side of a channel, its dealings under a payment hash, or one of its purses."""

    node: str
    channel_id: int | None = None
    payment_hash: bytes | None = None
    purse: str = ""


@dataclass(frozen=True)
class Entry:
    """One settled hop, or what a transaction on the chain has changed.

    The postings, in msat, sum to zero over all and for each node.
    """

    payment_hash: bytes | None
    postings: tuple[tuple[Account, int], ...]


@dataclass
class AttemptRecord:
    """One HTLC attempt of a send; `ended_at` is None while it is in flight."""

    attempt_id: int
    amount_msat: int
    launched_at: int
    ended_at: int | None = None
    settled: bool = False


@dataclass
class SendRecord:
    """One SendPaymentV2 that a node accepted. The times count the ledger's own events."""

    payer: str
    payment_hash: bytes
    accepted_at: int
    ended_at: int | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return any(attempt.settled for attempt in self.attempts)


class Ledger:
    """Accounts, journal and records of sends.

    `books` gives the engine's own balances, by channel id and node, with the HTLCs that
    a side has offered still counted as its own, and `coins` what each node can claim on the
    chain: what `assert_balanced` compares with.
    """

    def __init__(
        self,
        books: Callable[[], Mapping[tuple[int, str], int]],
        coins: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.journal: list[Entry] = []
        self.chain = ChainLedger(self._book, self.balance_msat)
        self._books = books
        self._coins = coins
        self._opening: dict[Account, int] = {}
        self._balances: defaultdict[Account, int] = defaultdict(int)
        self._sends: defaultdict[bytes, list[SendRecord]] = defaultdict(list)
        self._invoices_settled: defaultdict[bytes, list[tuple[str, int]]] = defaultdict(list)
        self._clock = 0

    # What the network reports.

    def coins_given(self, node: str, amount_sat: int) -> None:
        """What a node had on chain before anything happened."""
        account = Account(node, purse=CHAIN)
        self._opening[account] = self._balances[account] = amount_sat * 1_000

    def channel_opened(
        self,
        channel_id: int,
        balances_msat: Mapping[str, int],
        *,
        funding: Outpoint | None = None,
        opener: str = "",
    ) -> None:
        """A channel: out of the coins of its funding output, or from nowhere without one."""
        if funding is not None:
            self.chain.channel_opened(channel_id, funding, opener, balances_msat)
            return
        for node, balance_msat in balances_msat.items():
            account = Account(node, channel_id=channel_id)
            self._opening[account] = self._balances[account] = balance_msat

    def hop_settled(
        self, payment_hash: bytes, channel_id: int, sender: str, receiver: str, amount_msat: int
    ) -> None:
        entry = Entry(
            payment_hash,
            (
                (Account(sender, channel_id=channel_id), -amount_msat),
                (Account(sender, payment_hash=payment_hash), amount_msat),
                (Account(receiver, channel_id=channel_id), amount_msat),
                (Account(receiver, payment_hash=payment_hash), -amount_msat),
            ),
        )
        self._enter(entry)

    def invoice_settled(self, payee: str, payment_hash: bytes, amount_msat: int) -> None:
        self._invoices_settled[payment_hash].append((payee, amount_msat))

    def send_accepted(self, payer: str, payment_hash: bytes) -> SendRecord:
        record = SendRecord(payer, payment_hash, self._tick())
        self._sends[payment_hash].append(record)
        return record

    def send_ended(self, send: SendRecord) -> None:
        send.ended_at = self._tick()

    def attempt_launched(
        self, send: SendRecord, attempt_id: int, amount_msat: int
    ) -> AttemptRecord:
        record = AttemptRecord(attempt_id, amount_msat, self._tick())
        send.attempts.append(record)
        return record

    def attempt_ended(self, attempt: AttemptRecord, *, settled: bool) -> None:
        attempt.ended_at = self._tick()
        attempt.settled = settled

    # What tests ask.

    def balance_msat(self, node: str, channel_id: int) -> int:
        """A channel side by the journal; HTLCs that have not settled are not moved yet."""
        return self._balances.get(Account(node, channel_id=channel_id), 0)

    def sent_msat(self, node: str, payment_hash: bytes) -> int:
        """What `node` paid under a hash, fees included; below zero when it earned."""
        return self._balances.get(Account(node, payment_hash=payment_hash), 0)

    def received_msat(self, node: str, payment_hash: bytes) -> int:
        """What a hash brought `node`: an amount to a payee, a fee to a forwarder."""
        return -self.sent_msat(node, payment_hash)

    def chain_sat(self, node: str) -> int:
        """What `node` can claim on the chain, its wallet and its outputs of closes together."""
        return self._balances.get(Account(node, purse=CHAIN), 0) // 1_000

    def miners_msat(self, node: str) -> int:
        """What `node` has lost to miners, the rests of satoshis included."""
        return self._balances.get(Account(node, purse=MINERS), 0)

    def spent_msat(self, node: str) -> int:
        """What `node` gave away in all, over every hash it paid, fees included."""
        return sum(
            balance
            for account, balance in self._balances.items()
            if account.node == node and account.payment_hash is not None and balance > 0
        )

    def sends(self, payment_hash: bytes) -> list[SendRecord]:
        """Every send of this hash that a node accepted, in their order."""
        return list(self._sends[payment_hash])

    def settled_payments(self, payment_hash: bytes) -> int:
        """How often a hash was paid: the largest count of any payer's and any payee's.

        More than one is money lost, whoever saw it. Two of each, once each, are a relay.
        """
        payers = Counter(send.payer for send in self._sends[payment_hash] if send.settled)
        payees = Counter(payee for payee, _ in self._invoices_settled[payment_hash])
        return max([*payers.values(), *payees.values()], default=0)

    def assert_no_overlapping_sends(self) -> None:
        """Raises unless each payer's sends of a hash began after the one before had ended."""
        for payment_hash, sends in self._sends.items():
            for earlier, later in pairwise(sorted(sends, key=attrgetter("payer"))):
                if earlier.payer != later.payer:
                    continue
                if earlier.ended_at is None or later.accepted_at < earlier.ended_at:
                    raise AssertionError(
                        f"{payment_hash.hex()} was sent again before its last send had ended"
                    )

    def assert_settled_at_most_once(self) -> None:
        """Raises when any hash was paid more than once."""
        for payment_hash in [*self._sends, *self._invoices_settled]:
            count = self.settled_payments(payment_hash)
            if count > 1:
                raise AssertionError(f"{payment_hash.hex()} was settled {count} times")

    def assert_balanced(self) -> None:
        """Raises unless journal, accounts and the engine's books all agree to the msat."""
        recomputed = defaultdict(int, self._opening)
        for entry in self.journal:
            by_node: defaultdict[str, int] = defaultdict(int)
            for account, change_msat in entry.postings:
                by_node[account.node] += change_msat
                recomputed[account] += change_msat
            if any(by_node.values()):
                raise AssertionError(f"an entry does not balance: {entry}")
        if recomputed != self._balances:
            raise AssertionError("the accounts are not the sum of the journal")
        for (channel_id, node), owned_msat in self._books().items():
            told_msat = self.balance_msat(node, channel_id)
            if told_msat != owned_msat:
                raise AssertionError(
                    f"{node} owns {owned_msat} msat of channel {channel_id}, "
                    f"but the journal says {told_msat}"
                )
        for node, claimed_sat in self._coins().items():
            if self.chain_sat(node) != claimed_sat:
                raise AssertionError(
                    f"{node} can claim {claimed_sat} sat on the chain, "
                    f"but the journal says {self.chain_sat(node)}"
                )

    def _book(self, payment_hash: bytes | None, postings: Sequence[Posting]) -> None:
        """Enters what the chain has changed."""
        accounts = (
            (Account(node, purse.channel_id, purse.payment_hash, purse.name), change_msat)
            for node, purse, change_msat in postings
        )
        self._enter(Entry(payment_hash, tuple(accounts)))

    def _enter(self, entry: Entry) -> None:
        self.journal.append(entry)
        for account, change_msat in entry.postings:
            self._balances[account] += change_msat

    def _tick(self) -> int:
        self._clock += 1
        return self._clock
