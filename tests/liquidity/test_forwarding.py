"""What a node has forwarded, as LND tells it page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from devnet.house import House, configured
from devnet.node import LightningNode
from devnet.waiting import eventually
from fulgurite.liquidity.flows import Forward
from nodes.lnd.connection import LndConnection
from nodes.lnd.forwarding import LndForwarding
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2
from tests.rebalances.ring import Ring

pytestmark = pytest.mark.timeout(300)

_SATS = (1_000, 2_000, 3_000)


@pytest.mark.usefixtures("ring")
async def test_every_forward_is_told_once_whatever_the_size_of_a_page(home: House) -> None:
    """alice pays carol; bob is in between, and keeps his fee."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    out = await Ring(home).channel_to("bob")
    began = datetime.now(UTC) - timedelta(seconds=1)
    for sat in _SATS:
        invoice = await carol.invoice(sat * 1_000)
        await _pay_over(alice, out.chan_id, invoice.payment_request)
    settings = configured(home.state_dir / "bob", {"bob": bob}, "nowhere:1")
    connection = LndConnection("bob", settings.nodes["bob"])

    async def told() -> list[list[Forward]]:
        until = datetime.now(UTC) + timedelta(seconds=1)
        pages = LndForwarding(connection, page=2).pages(began, until)
        return [list(page) async for page in pages]

    def ours(pages: list[list[Forward]]) -> list[Forward]:
        """What an earlier scenario forwarded may fall into the same second."""
        return [each for page in pages for each in page][-len(_SATS) :]

    pages = await eventually(
        told,
        lambda pages: [each.amount_out_msat // 1_000 for each in ours(pages)] == list(_SATS),
        what="forwards",
    )
    forwards = ours(pages)
    assert [len(page) for page in pages[:-1]] == [2] * (len(pages) - 1)
    assert [each.amount_out_msat for each in forwards] == [sat * 1_000 for sat in _SATS]
    assert all(each.fee_msat == 1_000 + each.amount_out_msat // 10_000 for each in forwards)
    assert {each.incoming.number for each in forwards} == {out.chan_id}
    await connection.close()


async def _pay_over(node: LightningNode, channel_id: int, payment_request: str) -> None:
    """There is another way around the ring."""
    async with node.router() as router:
        call = router.SendPaymentV2(
            router_pb2.SendPaymentRequest(
                payment_request=payment_request,
                outgoing_chan_ids=[channel_id],
                fee_limit_msat=100_000,
                timeout_seconds=60,
                no_inflight_updates=True,
            )
        )
        [payment] = [update async for update in call]
    assert payment.status == lightning_pb2.Payment.SUCCEEDED
