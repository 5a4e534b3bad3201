"""alice's loopd, the swap server on carol's lnd, and the chain between them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from devnet.loopd import LoopNode
from devnet.node import LightningNode
from devnet.regtest import RegtestNetwork
from devnet.swapserver.transactions import Transaction
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.looprpc import client_pb2

AMOUNT_SAT = 250_000
FEE_PPM = 5_000
PREPAY_SAT = 1_337
OUT_DELTA_BLOCKS = 100
CERTAIN_BLOCKS = 3


@dataclass(frozen=True)
class Swapping:
    """The network, as both sides of a swap see it."""

    network: RegtestNetwork

    @property
    def alice(self) -> LightningNode:
        return self.network.nodes["alice"]

    @property
    def carol(self) -> LightningNode:
        return self.network.nodes["carol"]

    @property
    def loop(self) -> LoopNode:
        return self.network.loops["alice"]

    # What alice asks for.

    async def out(
        self,
        amount_sat: int = AMOUNT_SAT,
        *,
        max_routing_sat: int = 1_000,
        htlc_confirmations: int = 1,
        label: str = "",
    ) -> bytes:
        """A Loop Out; its hash."""
        async with self.loop.client() as client:
            begun = await client.LoopOut(
                client_pb2.LoopOutRequest(
                    amt=amount_sat,
                    max_swap_routing_fee=max_routing_sat,
                    max_prepay_routing_fee=max_routing_sat,
                    max_swap_fee=amount_sat * FEE_PPM // 1_000_000,
                    max_prepay_amt=PREPAY_SAT,
                    max_miner_fee=50_000,
                    htlc_confirmations=htlc_confirmations,
                    label=label,
                ),
                timeout=30,
            )
        return begun.id_bytes

    async def into(self, amount_sat: int = AMOUNT_SAT, *, label: str = "") -> bytes:
        """A Loop In; its hash."""
        async with self.loop.client() as client:
            begun = await client.LoopIn(
                client_pb2.LoopInRequest(
                    amt=amount_sat,
                    max_swap_fee=amount_sat * FEE_PPM // 1_000_000,
                    max_miner_fee=50_000,
                    label=label,
                ),
                timeout=60,
            )
        return begun.id_bytes

    # What the server says of it.

    def journal(self, direction: str, swap_hash: bytes) -> dict[str, Any]:
        """What the server has written of a swap; empty before it has."""
        file = self.network.swap_server.journal / direction / f"{swap_hash.hex()}.json"
        told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return told

    async def server_says(self, direction: str, swap_hash: bytes, state: str) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            return self.journal(direction, swap_hash)

        return await eventually(
            look,
            lambda told: told.get("state") == state,
            what=f"{state} of {swap_hash.hex()[:12]} in the server's journal",
        )

    # The chain.

    async def bitcoin(self, method: str, *parameters: object) -> Any:
        return await self.network._btcd._call(method, *parameters)

    async def waiting(self) -> list[Transaction]:
        """What the next block is to hold."""
        found = []
        for txid in await self.bitcoin("getrawmempool"):
            raw = await self.bitcoin("getrawtransaction", txid)
            found.append(Transaction.parse(bytes.fromhex(raw)))
        return found

    async def sent_to(self, script: str) -> Transaction:
        """The transaction that pays to a script, once it waits for a block."""

        async def look() -> Transaction | None:
            paying = bytes.fromhex(script)
            return next(
                (each for each in await self.waiting() if each.output_to(paying) is not None), None
            )

        found = await eventually(look, what="a payment to the HTLC's script")
        assert found is not None
        return found

    async def spender(self, told: dict[str, Any]) -> Transaction:
        """The transaction that spends a swap's HTLC, once it waits for a block."""
        outpoint = bytes.fromhex(told["outpoint_txid"]), told["outpoint_index"]

        async def look() -> Transaction | None:
            for each in await self.waiting():
                if outpoint in [(one.txid, one.index) for one in each.inputs]:
                    return each
            return None

        found = await eventually(look, what="a spend of the HTLC")
        assert found is not None
        return found

    # What everybody has.

    async def wallet_sat(self, node: LightningNode) -> int:
        return (await node.balance()).confirmed_balance

    async def channels_sat(self, node: LightningNode) -> int:
        """What of its channels is a node's own, what hangs not counted."""
        return sum(channel.local_balance for channel in await node.channels())

    async def nothing_hangs(self) -> None:
        """Waits until no channel has an HTLC, so that balances can be compared."""

        async def hanging() -> list[lightning_pb2.HTLC]:
            return [
                htlc
                for node in self.network.nodes.values()
                for channel in await node.channels()
                for htlc in channel.pending_htlcs
            ]

        await eventually(hanging, lambda found: not found, what="channels without an HTLC")
