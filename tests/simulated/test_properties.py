"""Whatever happens in whatever order, no msat appears, vanishes or is paid twice."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devnet import topology
from devnet.node import SETTLED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import DropAnswer, RestartNode
from protos.lnrpc import lightning_pb2

from .driving import Payment, allowed_to_end, to_pay

Node = st.sampled_from(topology.NODES)
Pair = st.sampled_from(list(itertools.permutations(topology.NODES, 2)))
Link = st.sampled_from([("alice", "bob"), ("bob", "carol")])
# What goes through at once, and what has to be split or is too much.
Amount = st.integers(1, 50_000_000) | st.integers(1, 2_500_000_000)
Nth = st.integers(0, 3)

Decide = Callable[[LightningNode, TestInvoice], Awaitable[None]]
Nth = st.integers(min_value=0, max_value=5)


@dataclass(frozen=True)
class Pay:
    """A new invoice, held or not, and one send of it."""

    pair: tuple[str, str]
    amount_msat: int
    held: bool
    spoiled_by: DropAnswer | RestartNode | None

    @property
    def payer(self) -> str:
        return self.pair[0]

    @property
    def payee(self) -> str:
        return self.pair[1]


@dataclass(frozen=True)
class Retry:
    nth: int


@dataclass(frozen=True)
class Settle:
    nth: int


@dataclass(frozen=True)
class Cancel:
    nth: int


@dataclass(frozen=True)
class Restart:
    node: str


@dataclass(frozen=True)
class Cut:
    link: tuple[str, str]


@dataclass(frozen=True)
class Mend:
    link: tuple[str, str]


Step = Pay | Retry | Settle | Cancel | Restart | Cut | Mend

a_payment = st.builds(
    Pay,
    Pair,
    Amount,
    st.booleans(),
    st.none() | st.sampled_from([DropAnswer(), RestartNode(), RestartNode(after_effect=False)]),
)
a_retry = st.builds(Retry, Nth)
an_accident = st.one_of(st.builds(Restart, Node), st.builds(Cut, Link), st.builds(Mend, Link))
a_decision = st.builds(Settle, Nth) | st.builds(Cancel, Nth)
# Payments twice, so that there is something to retry, decide and spoil.
a_step = st.one_of(a_payment, a_payment, a_retry, a_decision, an_accident)


@dataclass
class World:
    """The network, and all that a bystander knows of it: who should pay whom."""

    network: SimulatedNetwork
    sent: list[tuple[Pay, TestInvoice]] = field(default_factory=list)

    async def take(self, step: Step) -> None:
        match step:
            case Pay():
                await self._pay(step)
            case Retry(nth) if nth < len(self.sent):
                await self._send(*self.sent[nth])
            case Settle(nth) if nth < len(self.sent):
                await self._decide(nth, LightningNode.settle)
            case Cancel(nth) if nth < len(self.sent):
                await self._decide(nth, LightningNode.cancel)
            case Restart(node):
                await self.network.stop_node(node)
                await self.network.start_node(node)
            case Cut((one, other)):
                self.network.disconnect(one, other)
            case Mend((one, other)):
                self.network.connect(one, other)

    async def _pay(self, pay: Pay) -> None:
        payee = self.network.nodes[pay.payee]
        write = payee.hold_invoice if pay.held else payee.invoice
        invoice = await write(pay.amount_msat)
        self.sent.append((pay, invoice))
        if pay.spoiled_by is not None:
            self.network.faults.add(pay.payer, "SendPaymentV2", pay.spoiled_by)
        await self._send(pay, invoice)
        await self.network.restarted()

    async def _send(self, pay: Pay, invoice: TestInvoice) -> None:
        """Sends, and leaves after the first message: the payment goes on alone."""
        request = to_pay(invoice.payment_request, fee_limit_msat=10_000_000)
        async with self.network.nodes[pay.payer].router() as router:
            with allowed_to_end(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ALREADY_EXISTS):
                await anext(aiter(router.SendPaymentV2(request)))

    async def _decide(self, nth: int, decide: Decide) -> None:
        pay, invoice = self.sent[nth]
        # Too early, too late, or the other way already: lnd says so, and nothing moves.
        with allowed_to_end(grpc.StatusCode.UNKNOWN):
            await decide(self.network.nodes[pay.payee], invoice)

    def assert_sound(self) -> None:
        self.network.ledger.assert_balanced()
        self.network.ledger.assert_settled_at_most_once()
        self.network.ledger.assert_no_overlapping_sends()

    async def finish(self) -> None:
        """Mends every link and decides every invoice, so that all must come to an end."""
        for one, other in (("alice", "bob"), ("bob", "carol")):
            self.network.connect(one, other)
        for nth in range(len(self.sent)):
            await self._decide(nth, LightningNode.cancel)

    async def assert_agreed(self) -> None:
        """Payer, payee and ledger tell the same of every payment."""
        ledger = self.network.ledger
        for pay, invoice in self.sent:
            payer, payee = self.network.nodes[pay.payer], self.network.nodes[pay.payee]
            receipt = await payer.payment(invoice.payment_hash)
            settled = (await payee.lookup(invoice)).state == SETTLED
            paid = receipt is not None and receipt.status == Payment.SUCCEEDED
            assert paid == settled, receipt
            assert ledger.settled_payments(invoice.payment_hash) == settled
            received_msat = ledger.received_msat(pay.payee, invoice.payment_hash)
            assert received_msat == (pay.amount_msat if settled else 0)
            if receipt is not None:
                assert receipt.status in {Payment.SUCCEEDED, Payment.FAILED}
                expected_msat = (pay.amount_msat + receipt.fee_msat) if paid else 0
                assert ledger.sent_msat(pay.payer, invoice.payment_hash) == expected_msat
        for node in self.network.nodes.values():
            for channel in await node.channels():
                _assert_idle(channel)


def _assert_idle(channel: lightning_pb2.Channel) -> None:
    assert not channel.pending_htlcs
    # Each side's part of a satoshi is left out of what the node shows, and so is what the
    # commitment and its anchors would cost.
    reserved_sat = channel.commit_fee + 2 * 330
    balances_sat = channel.local_balance + channel.remote_balance
    assert 0 <= channel.capacity - reserved_sat - balances_sat <= 1


FREE = ("alice", "bob")
FORWARDED = ("alice", "carol")


# The histories that the incidents tell of come first, whatever chance finds after them.
@example([Pay(FREE, 1_000, held=False, spoiled_by=None), Retry(0)])
@example([Pay(FORWARDED, 1_000, held=True, spoiled_by=DropAnswer()), Retry(0), Settle(0)])
@example([Pay(FORWARDED, 1_000, held=True, spoiled_by=None), Restart("alice"), Retry(0), Settle(0)])
@example([Pay(FORWARDED, 1_000, held=True, spoiled_by=RestartNode()), Settle(0), Retry(0)])
@example([Pay(FORWARDED, 1_800_000_000, held=True, spoiled_by=None), Cut(FREE), Settle(0)])
@given(st.lists(a_step, min_size=3, max_size=25))
@settings(max_examples=40, derandomize=True)
async def test_money_is_conserved_through_any_trouble(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with SimulatedNetwork(Path(folder)) as network:
            world = World(network)
            for step in steps:
                await world.take(step)
                world.assert_sound()
            await world.finish()
            world.assert_sound()
            await world.assert_agreed()
