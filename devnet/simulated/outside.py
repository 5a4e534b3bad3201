"""Payments from outside the network: one HTLC each, and no search for a route.

A thousand invoices are paid in a second, so that what receives them is what a test waits
for. To the payee they are payments like any other, with channels, balances and a ledger
that agree.
"""

from __future__ import annotations

from coincurve import PrivateKey

from devnet.simulated.chain import Chain
from devnet.simulated.channels import Channel, FeePolicy
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Onion, Outcome, RoutedHtlc, Switch
from devnet.simulated.ledger import Ledger
from devnet.simulated.pathfinding import BLOCK_PADDING
from devnet.simulated.payment_requests import PaymentRequest
from devnet.simulated.routes import Hop, Route

NAME = "outside"

# All on the outside's end, and more of them as one fills up: of its coins nobody keeps count.
CAPACITY_SAT = 1_000_000_000
FREE = FeePolicy(base_fee_msat=0, fee_rate_ppm=0, cltv_expiry_delta_blocks=80)


class Outside:
    """A payer that knows every invoice, and has a private channel to whomever it pays."""

    def __init__(self, chain: Chain, graph: Graph, switch: Switch, ledger: Ledger) -> None:
        self._chain = chain
        self._graph = graph
        self._switch = switch
        self._ledger = ledger
        graph.add_node(NAME, PrivateKey().public_key.format().hex())
        graph.set_running(NAME, running=True)

    def pay(self, payee: str, request: PaymentRequest, amount_msat: int) -> Outcome | None:
        """Sends one HTLC; None while the payee holds it. No look at the invoice's expiry."""
        channel = self._channel_to(payee, amount_msat)
        expiry_height = self._chain.height + request.final_cltv_delta_blocks + BLOCK_PADDING
        hop = Hop(channel, NAME, payee, amount_msat, amount_msat, expiry_height)
        htlc = RoutedHtlc(
            request.payment_hash,
            Route((hop,)),
            Onion(amount_msat, request.payment_addr),
            on_resolved=lambda _: None,
        )
        self._switch.send(htlc)
        return htlc.outcome

    def _channel_to(self, payee: str, amount_msat: int) -> Channel:
        for channel in self._graph.between(NAME, payee):
            if not channel.active or channel.spendable_msat(NAME) >= amount_msat:
                return channel
        opened = self._graph.add_channel(
            NAME,
            payee,
            funding_txid=f"{len(self._graph.channels) + 1:064x}",
            block_height=self._chain.height,
            capacity_sat=CAPACITY_SAT,
            push_sat=0,
            policies={NAME: FREE, payee: FREE},
            private=True,
            is_funded=False,
        )
        self._ledger.channel_opened(opened.channel_id, opened.balances_msat)
        return opened
