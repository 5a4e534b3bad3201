"""Whatever closes, hangs, restarts and is taken back: no satoshi is lost, and all ends agree."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devnet import topology
from devnet.node import SETTLED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.simulated.chain import Fate
from devnet.simulated.errors import RpcError

from .driving import Payment, allowed_to_end, to_pay

UNKNOWN, ALREADY_EXISTS = grpc.StatusCode.UNKNOWN, grpc.StatusCode.ALREADY_EXISTS

Node = st.sampled_from(topology.NODES)
Pair = st.sampled_from(list(itertools.permutations(topology.NODES, 2)))
Link = st.sampled_from([("alice", "bob"), ("bob", "carol")])
Nth = st.integers(0, 4)

# Dust is left out: that it is lost with a commitment is a rule, and another test's subject.
Amount = st.integers(1_000_000, 300_000_000)

# Blocks of every size that matters: a confirmation, CSV, and the time of an HTLC.
Blocks = st.sampled_from([1, 2, 3, 5, 20, 70])

# How long it can take until nothing is pending any more: the longest way of an HTLC, twice.
LONG_BLOCKS = 250
FEW_BLOCKS = 10


@dataclass(frozen=True)
class Pay:
    """A payment to a hold invoice, which hangs until somebody decides."""

    pair: tuple[str, str]
    amount_msat: int


@dataclass(frozen=True)
class Decide:
    nth: int
    settles: bool


@dataclass(frozen=True)
class Close:
    node: str
    nth: int
    by_force: bool


@dataclass(frozen=True)
class Mine:
    blocks: int


@dataclass(frozen=True)
class Reorg:
    depth: int
    fate: Fate


@dataclass(frozen=True)
class Restart:
    node: str


@dataclass(frozen=True)
class Cut:
    link: tuple[str, str]
    is_cut: bool


@dataclass(frozen=True)
class Open:
    pair: tuple[str, str]


Step = Pay | Decide | Close | Mine | Reorg | Restart | Cut | Open

a_step = st.one_of(
    st.builds(Pay, Pair, Amount),
    st.builds(Pay, Pair, Amount),
    st.builds(Decide, Nth, st.booleans()),
    st.builds(Close, Node, Nth, st.booleans()),
    st.builds(Mine, Blocks),
    st.builds(Mine, Blocks),
    st.builds(Reorg, st.integers(1, 3), st.sampled_from(list(Fate))),
    st.builds(Restart, Node),
    st.builds(Cut, Link, st.booleans()),
    st.builds(Open, Pair),
)


@dataclass
class World:
    """The network, and who should pay whom."""

    network: SimulatedNetwork
    sent: list[tuple[Pay, TestInvoice]] = field(default_factory=list)

    async def take(self, step: Step) -> None:
        network = self.network
        match step:
            case Pay():
                await self._pay(step)
            case Decide(nth, settles) if nth < len(self.sent):
                await self._decide(nth, settles=settles)
            case Close(node, nth, by_force):
                await self._close(network.nodes[node], nth, by_force=by_force)
            case Mine(blocks):
                await network.mine(blocks)
            case Reorg(depth, fate):
                await network.reorg(depth, fate=fate)
            case Restart(node):
                await network.stop_node(node)
                await network.start_node(node)
            case Cut((one, other), True):
                network.disconnect(one, other)
            case Cut((one, other), False):
                network.connect(one, other)
            case Open((opener, peer)):
                self._open(opener, peer)

    async def _pay(self, pay: Pay) -> None:
        payer, payee = (self.network.nodes[name] for name in pay.pair)
        invoice = await payee.hold_invoice(pay.amount_msat)
        self.sent.append((pay, invoice))
        request = to_pay(invoice.payment_request, fee_limit_msat=10_000_000, timeout_seconds=1)
        async with payer.router() as router:
            with allowed_to_end(ALREADY_EXISTS):
                await anext(aiter(router.SendPaymentV2(request)))

    async def _decide(self, nth: int, *, settles: bool) -> None:
        pay, invoice = self.sent[nth]
        payee = self.network.nodes[pay.pair[1]]
        # Too early, too late, or the other way already: lnd says so, and nothing moves.
        with allowed_to_end(UNKNOWN):
            await (payee.settle if settles else payee.cancel)(invoice)

    async def _close(self, node: LightningNode, nth: int, *, by_force: bool) -> None:
        channels = await node.channels()
        if nth < len(channels):
            with allowed_to_end(UNKNOWN):
                await node.close_channel(channels[nth].channel_point, force=by_force)

    def _open(self, opener: str, peer: str) -> None:
        with suppress(RpcError):  # the peer may be out of reach
            self.network.open_channel(opener, peer, push_sat=500_000)

    def assert_sound(self) -> None:
        self.network.ledger.assert_balanced()
        self.network.ledger.assert_settled_at_most_once()
        self.network.ledger.assert_no_overlapping_sends()

    async def finish(self) -> None:
        """Mends every link and decides every invoice, and waits until the chain is done.

        Every node starts anew meanwhile: what a reorg has made lnd give up, it takes up then.
        """
        for one, other in (("alice", "bob"), ("bob", "carol")):
            self.network.connect(one, other)
        for nth in range(len(self.sent)):
            await self._decide(nth, settles=False)
        for _ in range(2):
            await self.network.mine(LONG_BLOCKS)
            for name in topology.NODES:
                await self.network.stop_node(name)
                await self.network.start_node(name)
        await self.network.mine(FEW_BLOCKS)

    async def assert_agreed(self) -> None:
        """Payer, payee and ledger tell the same of every payment, wherever it was decided."""
        ledger = self.network.ledger
        for pay, invoice in self.sent:
            payer, payee = (self.network.nodes[name] for name in pay.pair)
            receipt = await payer.payment(invoice.payment_hash)
            assert receipt is not None
            assert receipt.status in {Payment.SUCCEEDED, Payment.FAILED}
            paid = receipt.status == Payment.SUCCEEDED
            settled = (await payee.lookup(invoice)).state == SETTLED
            assert paid == settled, receipt
            received_msat = ledger.received_msat(pay.pair[1], invoice.payment_hash)
            assert received_msat == (pay.amount_msat if settled else 0)
            expected_msat = pay.amount_msat + receipt.fee_msat if paid else 0
            assert ledger.sent_msat(pay.pair[0], invoice.payment_hash) == expected_msat
            assert ledger.sent_msat("bob", invoice.payment_hash) <= (
                expected_msat if pay.pair[0] == "bob" else 0
            )

    async def assert_quiet(self) -> None:
        """Nothing hangs, and nothing waits for the chain but an output too small to pay."""
        for node in self.network.nodes.values():
            assert not any(channel.pending_htlcs for channel in await node.channels())
            pending = await node.pending_channels()
            assert not pending.waiting_close_channels
            assert not pending.pending_force_closing_channels


FREE = ("alice", "bob")
FORWARDED = ("alice", "carol")
LATE = Mine(70)


# Histories that the incidents tell of, whatever chance finds after them.
@example(
    [Pay(FREE, 50_000_000), Close("alice", 0, by_force=True), Mine(3), Decide(0, settles=True)]
)
@example([Pay(FORWARDED, 50_000_000), Cut(FREE, is_cut=True), Decide(0, settles=True), LATE, LATE])
@example(
    [
        Pay(FORWARDED, 50_000_000),
        Close("bob", 2, by_force=True),
        Mine(3),
        Decide(0, settles=True),
        Mine(1),
        Reorg(1, Fate.DROPPED),
        Restart("bob"),
    ]
)
@example(
    [Pay(FREE, 1_000_000), Close("bob", 0, by_force=True), Mine(2), Reorg(2, Fate.DROPPED), LATE]
)
@example([Close("alice", 0, by_force=False), Mine(1), Reorg(1, Fate.MEMPOOL), Mine(3)])
@given(st.lists(a_step, min_size=3, max_size=20))
@settings(max_examples=60, derandomize=True)
async def test_coins_are_conserved_and_all_ends_agree(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with SimulatedNetwork(Path(folder)) as network:
            await network.mine(6)
            world = World(network)
            for step in steps:
                await world.take(step)
                world.assert_sound()
            await world.finish()
            world.assert_sound()
            await world.assert_agreed()
            await world.assert_quiet()
