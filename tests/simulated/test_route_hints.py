"""Private channels, and the invoices that tell of them."""

from __future__ import annotations

import bolt11
from bolt11.models.routehint import Route

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .driving import Payment, Reason

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"


async def _add(node: LightningNode, **fields: object) -> tuple[str, lightning_pb2.Invoice]:
    async with node.lightning() as lightning:
        request = lightning_pb2.Invoice(**fields)  # type: ignore[arg-type]
        added = await lightning.AddInvoice(request)
        stored = await lightning.LookupInvoice(lightning_pb2.PaymentHash(r_hash=added.r_hash))
    return added.payment_request, stored


def _read_hints(text: str) -> list[list[Route]]:
    hints = bolt11.decode(text, ignore_exceptions=True).route_hints
    return [hint.routes for hint in hints or ()]


async def _open_private(
    network: SimulatedNetwork, opener: LightningNode, peer: LightningNode
) -> lightning_pb2.Channel:
    """A private channel with 300,000 sat on the opener's end and 200,000 on the peer's."""
    request = lightning_pb2.OpenChannelRequest(
        node_pubkey=bytes.fromhex((await peer.info()).identity_pubkey),
        local_funding_amount=500_000,
        push_sat=200_000,
        private=True,
    )
    async with opener.lightning() as lightning:
        await lightning.OpenChannelSync(request)
    await network.mine(3)
    return [channel for channel in await opener.channels() if channel.private][-1]


async def test_an_invoice_names_the_private_channels_of_its_node(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    channel = await _open_private(network, carol, bob)
    text, stored = await _add(carol, value=5, private=True)
    [hint] = stored.route_hints
    [hop] = hint.hop_hints
    assert (hop.node_id, hop.chan_id) == ((await bob.info()).identity_pubkey, channel.chan_id)
    assert (hop.fee_base_msat, hop.fee_proportional_millionths, hop.cltv_expiry_delta) == (
        1_000,
        1,
        80,
    )
    assert stored.private

    async with alice.lightning() as lightning:
        read = await lightning.DecodePayReq(lightning_pb2.PayReqString(pay_req=text))
    assert list(read.route_hints) == [hint]
    [[route]] = _read_hints(text)
    assert (route.public_key, route.base_fee, route.ppm_fee) == (hop.node_id, 1_000, 1)


async def test_no_hint_is_given_unasked_or_without_a_private_channel(
    network: SimulatedNetwork, carol: LightningNode, bob: LightningNode
) -> None:
    _, none = await _add(carol, value=5, private=True)
    assert (list(none.route_hints), none.private) == ([], False)
    await _open_private(network, carol, bob)
    _, unasked = await _add(carol, value=5)
    assert (list(unasked.route_hints), unasked.private) == ([], False)
    network.disconnect("bob", "carol")
    _, down = await _add(carol, value=5, private=True)
    assert list(down.route_hints) == []


async def test_hints_stop_where_they_carry_twice_the_amount(
    network: SimulatedNetwork, carol: LightningNode, bob: LightningNode
) -> None:
    for _ in range(3):
        await _open_private(network, carol, bob)
    for value_sat, count in ((100_000, 1), (100_001, 2), (200_001, 3), (0, 3)):
        _, stored = await _add(carol, value=value_sat, private=True)
        assert len(stored.route_hints) == count


async def test_a_private_channel_is_a_way_only_for_who_knows_of_it(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    await _open_private(network, alice, carol)
    network.disconnect("bob", "carol")
    text, _ = await _add(carol, value=5)
    assert (await bob.pay(text)).failure_reason == Reason.FAILURE_REASON_NO_ROUTE
    text, _ = await _add(carol, value=5, private=True)
    assert (await bob.pay(text)).status == Payment.SUCCEEDED
    text, _ = await _add(carol, value=5)
    assert (await alice.pay(text)).status == Payment.SUCCEEDED


async def test_a_hint_of_the_callers_is_written_as_it_is(alice: LightningNode) -> None:
    hint = lightning_pb2.RouteHint(
        hop_hints=[
            lightning_pb2.HopHint(
                node_id=(await alice.info()).identity_pubkey,
                chan_id=123 << 40 | 4 << 16 | number,
                fee_base_msat=1,
                fee_proportional_millionths=2,
                cltv_expiry_delta=3,
            )
            for number in range(2)
        ]
    )
    text, stored = await _add(alice, value=5, route_hints=[hint])
    assert (list(stored.route_hints), stored.private) == ([hint], True)
    [routes] = _read_hints(text)
    assert [route.short_channel_id for route in routes] == ["123x4x0", "123x4x1"]


async def test_a_description_hash_stands_in_for_the_memo(alice: LightningNode) -> None:
    text, stored = await _add(alice, memo="kept here", description_hash=b"\1" * 32, value=5)
    assert (stored.memo, stored.description_hash) == ("kept here", b"\1" * 32)
    read = bolt11.decode(text)
    assert (read.description, read.description_hash) == (None, "01" * 32)


async def test_a_fallback_address_is_written_into_the_invoice(
    alice: LightningNode, bob: LightningNode
) -> None:
    for address in (ADDRESS, TAPROOT):
        text, stored = await _add(alice, value=5, fallback_addr=address)
        assert stored.fallback_addr == address
        async with bob.lightning() as lightning:
            read = await lightning.DecodePayReq(lightning_pb2.PayReqString(pay_req=text))
        assert read.fallback_addr == address
        [tag] = [
            tag for tag in bolt11.decode(text, ignore_exceptions=True).tags if tag.char.value == "f"
        ]
        assert tag.data.witness_version == (1 if address == TAPROOT else 0)
