"""An invoice is made once for its key, and everything that is told about it is true."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.invoices import InvoiceActivities
from devnet.house import House
from devnet.node import OPEN, LightningNode
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay, DropAnswer, Fault, Refuse, RestartNode
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.bolt11 import read_invoice
from fulgurite.errors import KeyReusedError
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import Digest
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.states import InvoiceState
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from .receiving import (
    AMOUNT_MSAT,
    assert_true,
    in_lnd,
    lnd_has,
    shop_hears,
    to_receive,
    told_of,
)
from .telling import SIMULATED_ONLY

pytestmark = pytest.mark.usefixtures("working")

CALLERS = 50

# On regtest; the public key is that of BIP 173's examples.
FALLBACK_ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER_ADDRESS = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"


async def test_what_is_asked_for_is_what_lnd_writes(home: House, client: FulguriteClient) -> None:
    request = to_receive(
        expiry_seconds=1_234, cltv_expiry_blocks=55, fallback_address=FALLBACK_ADDRESS
    )
    created = await client.create_invoice(request)
    read = read_invoice(created.payment_request)
    told = await lnd_has(home, created, OPEN)

    assert created.request == request
    assert (read.payment_hash, read.amount) == (created.payment_hash, AMOUNT_MSAT)
    assert (read.created_at, read.expires_at) == (created.created_at, created.expires_at)
    assert (told.memo, told.expiry, told.cltv_expiry) == (request.memo, 1_234, 55)
    assert (told.payment_request, told.fallback_addr) == (
        created.payment_request,
        FALLBACK_ADDRESS,
    )
    # Made by us and given to LND: it settles without asking anybody.
    key = home.settings.unsealing_key()
    assert told.r_preimage == key.preimage_of(request.node, request.key).reveal()


async def test_a_description_may_be_given_by_its_hash_and_the_amount_left_to_the_payer(
    home: House, client: FulguriteClient
) -> None:
    digest = Digest("ab" * 32)
    created = await client.create_invoice(
        to_receive(memo="", description_hash=digest, amount_msat=None)
    )
    told = await lnd_has(home, created, OPEN)

    assert (told.description_hash, told.value_msat) == (digest.raw(), 0)
    assert read_invoice(created.payment_request).amount is None


async def test_the_same_request_gives_the_same_invoice(
    home: House, client: FulguriteClient
) -> None:
    request = to_receive()
    first = await client.create_invoice(request)
    again = await client.create_invoice(request)

    assert again == first
    await assert_made_once(home, first.payment_request)


async def test_a_key_of_one_node_makes_nothing_on_another(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """What one node has shown as a preimage must never be another's."""
    request = to_receive()
    await client.create_invoice(request)
    assert request.node != "bob"

    async def hashes_at_bob() -> set[bytes]:
        return {each.r_hash for each in await home.network.nodes["bob"].list_invoices()}

    before = await hashes_at_bob()

    async def is_indexed() -> bool:
        of_key = f"WorkflowType = 'InvoiceWorkflow' AND {attributes.KEY} = '{request.key}'"
        return [each.id async for each in temporal.list_workflows(of_key)] != []

    await eventually(is_indexed, what="an invoice in Temporal's index", timeout_seconds=110)
    with pytest.raises(KeyReusedError):
        await client.create_invoice(request.model_copy(update={"node": "bob"}))
    assert await hashes_at_bob() == before


async def test_fifty_callers_at_once_get_one_invoice(home: House, client: FulguriteClient) -> None:
    request = to_receive()
    every = await asyncio.gather(*(client.create_invoice(request) for _ in range(CALLERS)))

    assert len(set(map(repr, every))) == 1
    await assert_made_once(home, every[0].payment_request)


async def test_workers_that_make_it_at_once_call_off_nothing(
    home: House, temporal: Client, client: FulguriteClient
) -> None:
    """One has it written, and another has its workflow started."""
    nodes, webhooks = Nodes(home.settings.nodes), Webhooks(home.settings.webhooks)
    key = home.settings.unsealing_key()
    request = to_receive()

    async def made() -> CreatedInvoice:
        making = InvoiceActivities(nodes, key, temporal, webhooks)
        return await ActivityEnvironment().run(making.create, request)

    every = await asyncio.gather(*(made() for _ in range(10)))
    await nodes.close()
    await webhooks.close()

    assert len(set(map(repr, every))) == 1
    await lnd_has(home, every[0], OPEN)
    assert (await (await client.invoice(every[0].payment_hash)).view()).state is InvoiceState.OPEN


@pytest.mark.parametrize(
    "other",
    [
        {"amount_msat": AMOUNT_MSAT + 1},
        {"amount_msat": None},
        {"memo": "sand"},
        {"expiry_seconds": 60},
        {"node": "bob"},
        {"hold": {}},
        {"metadata": {"order": "2"}},
        {"late_watch_seconds": 7},
    ],
    ids="-".join,
)
async def test_a_key_belongs_to_one_request(
    home: House, client: FulguriteClient, other: dict[str, object]
) -> None:
    request = to_receive()
    created = await client.create_invoice(request)
    with pytest.raises(KeyReusedError):
        await client.create_invoice(to_receive(key=request.key, **other))

    assert await client.create_invoice(request) == created
    await assert_made_once(home, created.payment_request)


async def test_of_callers_that_differ_only_the_first_gets_an_invoice(
    home: House, client: FulguriteClient
) -> None:
    key = to_receive().key
    results = await asyncio.gather(
        *(client.create_invoice(to_receive(key=key, memo=f"caller {n}")) for n in range(CALLERS)),
        return_exceptions=True,
    )
    [created] = [each for each in results if not isinstance(each, BaseException)]
    assert sum(isinstance(each, KeyReusedError) for each in results) == CALLERS - 1
    assert (await lnd_has(home, created, OPEN)).memo == created.request.memo
    await assert_made_once(home, created.payment_request)


async def test_hints_that_lnd_had_no_channels_for_make_no_difference(
    client: FulguriteClient,
) -> None:
    """LND tells whether there are hints, and not whether they were asked for."""
    request = to_receive(private_channels=True)

    assert await client.create_invoice(request) == await client.create_invoice(request)


async def test_a_payer_is_told_the_way_through_a_private_channel(
    home: House, client: FulguriteClient
) -> None:
    """On real LND too, which alone chooses the channels that it tells of."""
    bob, carol = home.network.nodes["bob"], home.network.nodes["carol"]
    channel_id = await with_a_private_channel(home, carol, bob)
    unasked = await client.create_invoice(to_receive())
    request = to_receive(private_channels=True)
    created = await client.create_invoice(request)
    told = await lnd_has(home, created, OPEN)

    hops = [hop for hint in told.route_hints for hop in hint.hop_hints]
    assert [(hop.chan_id, hop.node_id) for hop in hops] == [
        (channel_id, (await bob.info()).identity_pubkey)
    ]
    assert not (await lnd_has(home, unasked, OPEN)).route_hints
    assert await client.create_invoice(request) == created
    await home.network.nodes["alice"].pay(created.payment_request)
    receipt = await (await client.invoice(request.key)).receipt()
    assert receipt.status is InvoiceState.SETTLED


async def with_a_private_channel(home: House, opener: LightningNode, peer: LightningNode) -> int:
    """Opens one that carries payments to the opener. Returns its id."""

    async def private() -> list[int]:
        return [each.chan_id for each in await opener.channels() if each.private and each.active]

    async def hinted() -> bool:
        async with opener.lightning() as lightning:
            added = await lightning.AddInvoice(lightning_pb2.Invoice(value=1, private=True))
            read = await lightning.DecodePayReq(
                lightning_pb2.PayReqString(pay_req=added.payment_request)
            )
        return bool(read.route_hints)

    async with opener.lightning() as lightning:
        await lightning.OpenChannelSync(
            lightning_pb2.OpenChannelRequest(
                node_pubkey=bytes.fromhex((await peer.info()).identity_pubkey),
                local_funding_amount=500_000,
                push_sat=200_000,
                private=True,
                sat_per_vbyte=2,
            )
        )
    await home.network.mine(6)
    [channel_id] = await eventually(private, what="an active private channel")
    # LND tells of a channel once it knows what its peer asks for forwarding through it.
    await eventually(hinted, what="the peer's fees")
    return channel_id


@pytest.mark.parametrize(
    "asked",
    [{}, {"cltv_expiry_blocks": 99, "fallback_address": FALLBACK_ADDRESS}],
    ids=["nothing special", "everything"],
)
async def test_temporal_may_forget_what_lnd_knows(
    home: House, client: FulguriteClient, temporal: Client, asked: dict[str, object]
) -> None:
    request = to_receive(**asked)
    created = await client.create_invoice(request)
    await forget(temporal, ids.invoice_id(created.payment_hash))

    others = {
        "amount_msat": 1,
        "memo": "sand",
        "expiry_seconds": 60,
        "hold": {},
        "cltv_expiry_blocks": 100,
        "fallback_address": OTHER_ADDRESS,
    }
    for other, value in others.items():
        with pytest.raises(KeyReusedError):
            await client.create_invoice(to_receive(key=request.key, **(asked | {other: value})))
    if asked:
        with pytest.raises(KeyReusedError):
            await client.create_invoice(
                to_receive(key=request.key, **(asked | {"fallback_address": None}))
            )
    assert await client.create_invoice(request) == created
    assert (await (await client.invoice(request.key)).view()).state is InvoiceState.OPEN
    await assert_made_once(home, created.payment_request)


async def test_what_temporal_forgot_is_told_again_under_the_same_id(
    home: House, client: FulguriteClient, temporal: Client, shop: Receiver
) -> None:
    """By which a receiver knows it."""
    request = to_receive()
    created = await client.create_invoice(request)
    await home.network.nodes["alice"].pay(created.payment_request)
    [told] = await shop_hears(shop, created.payment_hash, EventType.INVOICE_SETTLED)
    await (await client.invoice(request.key)).receipt()
    for forgotten in (ids.invoice_id(created.payment_hash), ids.event_id(told.id)):
        await forget(temporal, forgotten)

    assert await client.create_invoice(request) == created

    async def again() -> list[Event]:
        deliveries = told_of(shop, created.payment_hash)
        return [Event.model_validate_json(each.body) for each in deliveries]

    first, second = await eventually(again, lambda them: len(them) > 1, what="the same once more")
    assert (first.id, first.data["paid_msat"]) == (second.id, second.data["paid_msat"])


async def test_an_invoice_whose_workflow_was_ended_by_force_is_watched_again(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    request = to_receive()
    created = await client.create_invoice(request)
    workflow = temporal.get_workflow_handle(ids.invoice_id(created.payment_hash))
    await workflow.terminate("by an operator, by mistake")
    await home.network.nodes["alice"].pay(created.payment_request)
    with pytest.raises(KeyReusedError):
        await client.create_invoice(to_receive(key=request.key, metadata={"order": "2"}))

    assert await client.create_invoice(request) == created
    # Nobody else is going to tell it: whoever listens has told this settlement already.
    receipt = await (await client.invoice(request.key)).settled()
    assert receipt.status is InvoiceState.SETTLED
    await assert_true(home, receipt)


@SIMULATED_ONLY
@pytest.mark.parametrize("method", ["AddInvoice", "AddHoldInvoice", "LookupInvoice"])
@pytest.mark.parametrize(
    "fault",
    [
        Refuse(),
        Delay(1),
        DropAnswer(),
        RestartNode(after_effect=False),
        RestartNode(after_effect=True),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_call_that_goes_wrong_once_makes_no_second_invoice(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, method: str, fault: Fault
) -> None:
    request = to_receive(hold={} if method == "AddHoldInvoice" else None)
    simulated.faults.add("carol", method, fault)
    created = await client.create_invoice(request)

    assert await client.create_invoice(request) == created
    await assert_made_once(home, created.payment_request)
    await home.network.nodes["carol"].cancel(in_lnd(created))


async def forget(temporal: Client, workflow_id: str) -> None:
    """What Temporal does by itself when the time of its retention is over."""
    await temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )
    )

    async def is_forgotten() -> bool:
        try:
            await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await eventually(is_forgotten, what=f"a Temporal that has forgotten {workflow_id}")


async def assert_made_once(home: House, payment_request: str, node: str = "carol") -> None:
    every = await home.network.nodes[node].list_invoices()
    assert [each.payment_request for each in every].count(payment_request) == 1
