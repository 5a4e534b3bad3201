"""The real network does what the tests of everything else rely on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest

from devnet.node import ACCEPTED, SETTLED, LightningNode, TestInvoice
from devnet.regtest import RegtestNetwork
from devnet.topology import BASE_FEE_MSAT, CHANNELS, FEE_RATE_PPM, NODES
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.routerrpc import router_pb2

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(1800),  # the first time it builds btcd and lnd
]

ROOT = Path(__file__).resolve().parents[2]

KEYSEND_PREIMAGE_RECORD = 5482373484

IN_FLIGHT = lightning_pb2.Payment.IN_FLIGHT
SUCCEEDED = lightning_pb2.Payment.SUCCEEDED
FAILED = lightning_pb2.Payment.FAILED


@pytest.fixture(scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RegtestNetwork]:
    async with RegtestNetwork(tmp_path_factory.mktemp("regtest")) as network:
        yield network


@pytest.fixture
def alice(network: RegtestNetwork) -> LightningNode:
    return network.nodes["alice"]


@pytest.fixture
def carol(network: RegtestNetwork) -> LightningNode:
    return network.nodes["carol"]


async def _held(
    payer: LightningNode, payee: LightningNode
) -> tuple[TestInvoice, asyncio.Task[lightning_pb2.Payment]]:
    """A payment whose HTLC waits at `payee`, and the payer's call that waits for it."""
    invoice = await payee.hold_invoice(50_000_000)
    paying = asyncio.create_task(payer.pay(invoice.payment_request))
    await payee.wait_for_invoice(invoice, ACCEPTED)
    return invoice, paying


async def _verdict(payer: LightningNode, invoice: TestInvoice) -> lightning_pb2.Payment:
    """What `payer` holds for the final word on the payment, once it is one."""

    async def ask() -> lightning_pb2.Payment | None:
        return await payer.payment(invoice.payment_hash)

    payment = await eventually(
        ask,
        lambda found: found is not None and found.status != IN_FLIGHT,
        what=f"{payer.name}'s verdict",
    )
    assert payment is not None
    return payment


async def test_it_is_the_planned_topology(network: RegtestNetwork) -> None:
    assert network.kind == "regtest"
    assert tuple(network.nodes) == NODES
    for name, node in network.nodes.items():
        ends = [plan for plan in CHANNELS if name in (plan.opener, plan.peer)]
        channels = await node.channels()
        assert all(channel.active for channel in channels)
        assert sorted(c.capacity for c in channels) == sorted(p.capacity_sat for p in ends)
        assert all(min(c.local_balance, c.remote_balance) > 700_000 for c in channels)


@pytest.mark.parametrize(("payer", "payee"), [("alice", "carol"), ("carol", "alice")])
async def test_two_hops_cost_what_the_topology_says(
    network: RegtestNetwork, payer: str, payee: str
) -> None:
    invoice = await network.nodes[payee].invoice(20_000_000)

    payment = await network.nodes[payer].pay(invoice.payment_request)

    assert payment.status == SUCCEEDED
    assert payment.payment_preimage == invoice.preimage.hex()
    assert payment.fee_msat == BASE_FEE_MSAT + 20_000_000 * FEE_RATE_PPM // 1_000_000


async def test_more_than_a_channel_holds_goes_in_parts(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(1_500_000_000)
    payment = await alice.pay(invoice.payment_request, fee_limit_msat=10_000_000)
    assert payment.status == SUCCEEDED
    assert (
        sum(attempt.status == lightning_pb2.HTLCAttempt.SUCCEEDED for attempt in payment.htlcs) > 1
    )

    back = await alice.invoice(1_500_000_000)
    returned = await carol.pay(back.payment_request, fee_limit_msat=10_000_000)
    assert returned.status == SUCCEEDED


async def test_keysend_is_accepted(alice: LightningNode, carol: LightningNode) -> None:
    preimage = secrets.token_bytes(32)
    request = router_pb2.SendPaymentRequest(
        dest=bytes.fromhex((await carol.info()).identity_pubkey),
        payment_hash=hashlib.sha256(preimage).digest(),
        amt_msat=5_000_000,
        fee_limit_msat=100_000,
        timeout_seconds=30,
        dest_custom_records={KEYSEND_PREIMAGE_RECORD: preimage},
        no_inflight_updates=True,
    )
    async with alice.router() as router:
        (payment,) = [update async for update in router.SendPaymentV2(request)]

    assert payment.status == SUCCEEDED


async def test_a_hold_invoice_holds_until_it_is_settled(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice, paying = await _held(alice, carol)
    before = await alice.payment(invoice.payment_hash)
    assert before is not None
    assert before.status == IN_FLIGHT

    await carol.settle(invoice)

    assert (await paying).status == SUCCEEDED
    await carol.wait_for_invoice(invoice, SETTLED)


async def test_a_hold_invoice_that_is_cancelled_fails_the_payment(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice, paying = await _held(alice, carol)

    await carol.cancel(invoice)

    payment = await paying
    assert payment.status == FAILED
    assert payment.failure_reason == lightning_pb2.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS


@pytest.mark.parametrize("killed", NODES)
async def test_a_held_payment_outlives_the_kill_of_any_node(
    network: RegtestNetwork, alice: LightningNode, carol: LightningNode, killed: str
) -> None:
    invoice, paying = await _held(alice, carol)

    await network.stop_node(killed)
    await network.mine(1)
    await network.start_node(killed)
    await carol.settle(invoice)

    assert (await _verdict(alice, invoice)).status == SUCCEEDED
    if killed == "alice":
        with pytest.raises(grpc.aio.AioRpcError):
            await paying
    else:
        assert (await paying).status == SUCCEEDED


async def test_a_stopped_node_does_not_answer_and_nobody_routes_over_it(
    network: RegtestNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(1_000_000)
    await network.stop_node("bob")
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await network.nodes["bob"].info()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await alice.pay(invoice.payment_request)).status == FAILED
    finally:
        await network.start_node("bob")
    assert (await alice.pay(invoice.payment_request)).status == SUCCEEDED


async def test_every_node_has_seen_what_was_mined(network: RegtestNetwork) -> None:
    before = (await network.nodes["bob"].info()).block_height

    await network.mine(7)

    for node in network.nodes.values():
        info = await node.info()
        assert info.block_height == before + 7
        assert info.synced_to_chain


@pytest.mark.parametrize("role", ["admin", "pay", "invoice", "observe", "close"])
async def test_each_role_has_a_macaroon_for_its_own_calls(alice: LightningNode, role: str) -> None:
    macaroon = (alice.macaroon_dir / f"{role}.macaroon").read_bytes().hex()
    credentials = grpc.ssl_channel_credentials(alice.tls_cert_path.read_bytes())
    async with grpc.aio.secure_channel(alice.address, credentials) as channel:
        call = lightning_pb2_grpc.LightningStub(channel).AddInvoice(
            lightning_pb2.Invoice(value_msat=1_000), metadata=(("macaroon", macaroon),)
        )
        code, details = await call.code(), await call.details()

    if role in ("admin", "invoice"):
        assert code is grpc.StatusCode.OK
    else:
        # A plain Go error: the code says nothing, so lnd's words must.
        assert code is grpc.StatusCode.UNKNOWN
        assert "permission denied" in details


def _daemons_of(state_dir: Path) -> list[psutil.Process]:
    """Every process but the network's own whose command line names a file of `state_dir`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if f"{state_dir}/" in command and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


async def _serving(state_dir: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devnet.regtest", "--state-dir", str(state_dir)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_as_a_process_it_says_when_it_is_ready_and_ends_all_on_sigterm(
    tmp_path: Path,
) -> None:
    process = await _serving(tmp_path)
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"regtest ready after")

    described = json.loads((tmp_path / "network.json").read_text())
    assert described["kind"] == "regtest"
    assert tuple(described["nodes"]) == NODES
    for name, node in described["nodes"].items():
        told = LightningNode(
            name, node["address"], Path(node["tls_cert_path"]), Path(node["macaroon_dir"])
        )
        assert (await told.info()).alias == name
    assert len(_daemons_of(tmp_path)) == len(NODES) + 1  # btcd

    process.terminate()
    assert await process.wait() == 0
    assert not _daemons_of(tmp_path)
    assert not (tmp_path / "network.json").exists()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_ended_while_it_starts_it_leaves_no_daemon(
    tmp_path: Path, ending: signal.Signals
) -> None:
    process = await _serving(tmp_path)

    async def daemons() -> int:
        return len(_daemons_of(tmp_path))

    await eventually(daemons, lambda n: n == 1 + len(NODES), what="btcd and every lnd")
    process.send_signal(ending)
    await process.communicate()

    async def gone() -> bool:
        return not _daemons_of(tmp_path)

    await eventually(gone, what="the end of btcd and every lnd", timeout_seconds=10)
