"""The ring of four as tests use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from devnet.house import House
from devnet.topology import BASE_FEE_MSAT, FEE_RATE_PPM
from devnet.waiting import eventually
from fulgurite.rebalances.requests import RebalanceRequest
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

# Of a million: what alice is short of towards dave, for a half.
CAPACITY_SAT = 1_000_000
HALF_PPM = 500_000
# Over bob, carol and dave: three forward, each for its base fee and its rate.
FORWARDERS = 3
FULL_SAT, EMPTY_SAT = 950_000, 50_000
# lnd takes the opener's commitment fee and anchors from its balance.
TOLERANCE_SAT = 10_000


class Ring:
    """alice's two channels, and how they are brought back to where they were."""

    def __init__(self, home: House) -> None:
        self._home = home
        self.alice = home.network.nodes["alice"]

    async def channel_to(self, name: str) -> lightning_pb2.Channel:
        key = (await self._home.network.nodes[name].info()).identity_pubkey
        [found] = [each for each in await self.alice.channels() if each.remote_pubkey == key]
        return found

    async def request(self, **changes: Any) -> RebalanceRequest:
        """From bob's channel to dave's, until it is half full, with a cap that is enough."""
        out, back = await self.channel_to("bob"), await self.channel_to("dave")
        fields: dict[str, Any] = {
            "key": self.new_key(),
            "node": "alice",
            "from_channels": [out.channel_point],
            "to_channels": [back.channel_point],
            "cap": {"sat": 1_000, "ppm": 1_000},
        }
        if "amount_msat" not in changes:
            fields["target_local_ppm"] = HALF_PPM
        return RebalanceRequest.model_validate(fields | changes)

    def new_key(self) -> str:
        return f"ring-{uuid4().hex[:12]}"

    async def local_sat(self, name: str) -> int:
        return (await self.channel_to(name)).local_balance

    async def reset(self) -> None:
        """Brings the money back the way it came, and everybody's fees to what they were."""
        await self.everybody_charges(base_fee_msat=BASE_FEE_MSAT, fee_rate_ppm=FEE_RATE_PPM)
        async with self.alice.router() as router:
            await router.ResetMissionControl(router_pb2.ResetMissionControlRequest())
        surplus = await self.local_sat("dave") - EMPTY_SAT
        if surplus > TOLERANCE_SAT:
            await self._go_back(surplus)

    async def _go_back(self, sat: int) -> None:
        invoice = await self.alice.invoice(sat * 1_000, memo="back")
        await self.pay_around(invoice.payment_request, out="dave", back="bob")

    async def pay_around(self, payment_request: str, *, out: str, back: str) -> None:
        """alice pays herself, out over the one and back over the other, beside the product."""
        leaves, returns = await self.channel_to(out), await self.channel_to(back)
        async with self.alice.router() as router:
            call = router.SendPaymentV2(
                router_pb2.SendPaymentRequest(
                    payment_request=payment_request,
                    allow_self_payment=True,
                    outgoing_chan_ids=[leaves.chan_id],
                    last_hop_pubkey=bytes.fromhex(returns.remote_pubkey),
                    fee_limit_msat=10_000_000,
                    timeout_seconds=30,
                    no_inflight_updates=True,
                )
            )
            payment = [update async for update in call][-1]
        assert payment.status == lightning_pb2.Payment.SUCCEEDED, payment
        await self.settled()

    async def everybody_charges(self, *, base_fee_msat: int, fee_rate_ppm: int) -> None:
        for name in ("bob", "carol", "dave"):
            await self._home.network.nodes[name].charge(
                base_fee_msat=base_fee_msat, fee_rate_ppm=fee_rate_ppm
            )

        async def known() -> bool:
            return all(
                hop.fee_msat == base_fee_msat + hop.amt_to_forward_msat * fee_rate_ppm // 1_000_000
                for hop in await self._offered()
            )

        await eventually(known, what="fees that alice knows")

    async def _offered(self) -> list[lightning_pb2.Hop]:
        """The hops that forward, of the way around that alice is offered for a small amount."""
        out, back = await self.channel_to("bob"), await self.channel_to("dave")
        own = (await self.alice.info()).identity_pubkey
        async with self.alice.lightning() as lightning:
            answer = await lightning.QueryRoutes(
                lightning_pb2.QueryRoutesRequest(
                    pub_key=own,
                    amt_msat=1_000_000,
                    outgoing_chan_ids=[out.chan_id],
                    last_hop_pubkey=bytes.fromhex(back.remote_pubkey),
                    fee_limit=lightning_pb2.FeeLimit(fixed_msat=1_000_000_000),
                )
            )
        return list(answer.routes[0].hops[:-1])

    @asynccontextmanager
    async def drained(self, sat: int) -> AsyncIterator[None]:
        """So much less that bob can forward to carol, for as long as the block lasts."""
        await self._moves("bob", "carol", sat)
        try:
            yield
        finally:
            await self._moves("carol", "bob", sat)

    async def _moves(self, payer: str, payee: str, sat: int) -> None:
        """Straight over their own channel: nothing else has room."""
        nodes = self._home.network.nodes
        invoice = await nodes[payee].invoice(sat * 1_000)
        payment = await nodes[payer].pay(invoice.payment_request)
        assert payment.status == lightning_pb2.Payment.SUCCEEDED, payment

    async def settled(self) -> None:
        """Waits until nothing is pending on alice's channels."""

        async def pending() -> int:
            return sum(len(each.pending_htlcs) for each in await self.alice.channels())

        await eventually(pending, lambda count: count == 0, what="channels at rest")
