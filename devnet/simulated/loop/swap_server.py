"""The server's side of swaps: a node behind bob that holds invoices and publishes HTLCs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from coincurve import PrivateKey

from devnet.simulated.chain import Chain
from devnet.simulated.channels import FeePolicy
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Settled, Switch
from devnet.simulated.invoice_database import ACCEPTED, CANCELED, SETTLED, Invoice
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.loop.quirks import Quirks
from devnet.simulated.misbehavior import Misbehavior
from devnet.simulated.onchain.transactions import (
    Draw,
    HtlcTerms,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)
from devnet.simulated.onchain.wallets import START_WALLET_SAT
from devnet.simulated.onchain.weights import fee_sat
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.payments import PaymentEngine
from devnet.simulated.requests import read_intent
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

NAME: Final = "swap-server"
NEIGHBOUR: Final = "bob"

MIN_SWAP_SAT, MAX_SWAP_SAT = 50_000, 600_000
PREPAY_SAT: Final = 1_337
FEE_PPM: Final = 5_000
MIN_CLTV_DELTA: Final = 100
LOOP_IN_CLTV_DELTA: Final = 300
# What the hold invoice outlives the HTLC on chain by.
_HOLD_BEYOND_BLOCKS: Final = 40
_CAPACITY_SAT: Final = 40_000_000

_HTLC_WEIGHT: Final = 612
_CLAIM_WEIGHT: Final = 608


@dataclass(eq=False)
class Deal:
    """One swap, as the server has it in its journal."""

    payment_hash: bytes
    is_out: bool
    amount_sat: int
    client: str
    expiry_height: int
    invoice: Invoice | None = field(default=None, repr=False)
    prepay: Invoice | None = field(default=None, repr=False)
    swap_invoice: str = ""  # in: what it pays
    htlc: Outpoint | None = None
    is_over: bool = False


class SwapServer:
    """It plays fair, unless a quirk says otherwise. Joins the network with the first swap."""

    def __init__(
        self,
        *,
        chain: Chain,
        graph: Graph,
        switch: Switch,
        ledger: Ledger,
        codec: PaymentRequestCodec,
        policy: FeePolicy,
        quirks: Quirks,
        name: str = NAME,
    ) -> None:
        self.name = name
        self._chain = chain
        self._graph = graph
        self._switch = switch
        self._ledger = ledger
        self._codec = codec
        self._policy = policy
        self._quirks = quirks
        self._key = PrivateKey()
        self.public_key = self._key.public_key.format()
        self._invoices: InvoiceRegistry | None = None
        self._payments: PaymentEngine | None = None
        self.deals: dict[bytes, Deal] = {}
        self.on_move: Callable[[], None] = lambda: None

    @property
    def has_joined(self) -> bool:
        """Whether there is such a node in the network."""
        return self._invoices is not None

    def fee_sat(self, amount_sat: int) -> int:
        return amount_sat * FEE_PPM // 1_000_000

    def check(self, amount_sat: int) -> None:
        """Refuses as the server does, in words that loopd passes on."""
        if self._quirks.server_away:
            raise RpcError("cannot initiate swap: rpc error: code = Unavailable desc = away")
        if self._quirks.server_words:
            words = self._quirks.server_words.popleft()
            raise RpcError(f"cannot initiate swap: rpc error: code = Unknown desc = {words}")
        if not MIN_SWAP_SAT <= amount_sat <= MAX_SWAP_SAT:
            raise RpcError("cannot initiate swap: rpc error: code = Unknown desc = amount")

    def sell(self, payment_hash: bytes, amount_sat: int, client: str, cltv_blocks: int) -> Deal:
        """A Loop Out: a hold invoice for the swap, and a plain one in advance."""
        self.check(amount_sat)
        invoices, _ = self._join()
        total_sat = amount_sat + self.fee_sat(amount_sat)
        hold = invoices_pb2.AddHoldInvoiceRequest(
            hash=payment_hash,
            value=total_sat - PREPAY_SAT,
            cltv_expiry=cltv_blocks + _HOLD_BEYOND_BLOCKS,
            memo="swap",
        )
        preimage = secrets.token_bytes(32)
        prepay = lightning_pb2.Invoice(value=PREPAY_SAT, memo="prepay")
        deal = Deal(
            payment_hash,
            is_out=True,
            amount_sat=amount_sat,
            client=client,
            expiry_height=self._chain.height + cltv_blocks,
            invoice=invoices.add(read_terms(hold), payment_hash, None),
            prepay=invoices.add(read_terms(prepay), _sha256(preimage), preimage),
        )
        self.deals[payment_hash] = deal
        return deal

    def buy(self, payment_hash: bytes, amount_sat: int, client: str, swap_invoice: str) -> Deal:
        """A Loop In: the client publishes, and the server pays its invoice."""
        self.check(amount_sat)
        self._join()
        deal = Deal(
            payment_hash,
            is_out=False,
            amount_sat=amount_sat,
            client=client,
            expiry_height=self._chain.height + LOOP_IN_CLTV_DELTA,
            swap_invoice=swap_invoice,
        )
        self.deals[payment_hash] = deal
        return deal

    def cancel(self, deal: Deal) -> None:
        """The client will not go on: what it has sent goes back."""
        invoices, _ = self._join()
        if deal.invoice is not None and deal.invoice.state not in (SETTLED, CANCELED):
            invoices.cancel(deal.payment_hash)

    def advance(self) -> None:
        """Does what every open deal is ready for."""
        if not self.has_joined:
            return
        for deal in list(self.deals.values()):
            if not deal.is_over:
                (self._advance_out if deal.is_out else self._advance_in)(deal)

    def _advance_out(self, deal: Deal) -> None:
        invoices, _ = self._join()
        assert deal.invoice is not None
        assert deal.prepay is not None
        height = self._chain.height
        if deal.htlc is None:
            paid = deal.invoice.state == ACCEPTED and deal.prepay.state == SETTLED
            if paid and not self._quirks.withholds_htlc and height < deal.expiry_height:
                deal.htlc = self._publish_htlc(deal)
            elif height >= deal.expiry_height:
                self.cancel(deal)
                deal.is_over = True
            return
        spender = self._chain.spender(deal.htlc)
        if spender is None:
            if height >= deal.expiry_height:
                self._take_back(deal)
            return
        preimage = spender.spends[0].preimage
        if preimage is not None and deal.invoice.state == ACCEPTED:
            invoices.settle(preimage)
        if self._chain.is_spent(deal.htlc):
            if preimage is None:
                self.cancel(deal)
            deal.is_over = True

    def _advance_in(self, deal: Deal) -> None:
        _, payments = self._join()
        if deal.htlc is None or self._chain.height_of(deal.htlc.txid) is None:
            return
        if self._chain.is_spent(deal.htlc):
            deal.is_over = True
            return
        payment = payments.find(deal.payment_hash)
        if payment is None:
            if self._quirks.withholds_payment or self._chain.height >= deal.expiry_height - 100:
                return
            payment = payments.initiate(
                read_intent(
                    router_pb2.SendPaymentRequest(
                        payment_request=deal.swap_invoice,
                        fee_limit_msat=1_000_000,
                        timeout_seconds=60,
                    ),
                    self._codec,
                    self.public_key.hex(),
                )
            )
            payment.listeners.append(self.on_move)
            payments.launch(payment)
        outcomes = (attempt.outcome for attempt in payment.settled)
        preimage = next((each.preimage for each in outcomes if isinstance(each, Settled)), None)
        if preimage is not None and self._chain.spender(deal.htlc) is None:
            self._claim(deal, preimage)

    def _publish_htlc(self, deal: Deal) -> Outpoint:
        fee = fee_sat(self._chain.fees.estimate_sat_per_kw(6), _HTLC_WEIGHT)
        transaction = Transaction(
            publisher=self.name,
            label="swap htlc",
            spends=(),
            draws=(Draw(self.name, deal.amount_sat + fee),),
            outputs=(htlc_output(deal, payer=self.name, payee=deal.client),),
            fee_sat=fee,
            weight=_HTLC_WEIGHT,
            salt=len(self.deals),
        )
        self._chain.publish(transaction)
        return transaction.outpoint(0)

    def _take_back(self, deal: Deal) -> None:
        self._spend(deal, None, lock_height=deal.expiry_height)

    def _claim(self, deal: Deal, preimage: bytes) -> None:
        self._spend(deal, preimage)

    def _spend(self, deal: Deal, preimage: bytes | None, *, lock_height: int = 0) -> None:
        assert deal.htlc is not None
        fee = fee_sat(self._chain.fees.estimate_sat_per_kw(6), _CLAIM_WEIGHT)
        self._chain.publish(
            Transaction(
                publisher=self.name,
                label="swap claim",
                spends=(Spend(deal.htlc, self.name, preimage),),
                draws=(),
                outputs=(Output(OutputKind.WALLET, self.name, deal.amount_sat - fee),),
                fee_sat=fee,
                weight=_CLAIM_WEIGHT,
                lock_height=lock_height,
            )
        )

    def _join(self) -> tuple[InvoiceRegistry, PaymentEngine]:
        if self._invoices is None or self._payments is None:
            self._graph.add_node(self.name, self.public_key.hex())
            self._graph.set_running(self.name, running=True)
            self._invoices = InvoiceRegistry(
                self.name,
                key=self._key,
                codec=self._codec,
                graph=self._graph,
                switch=self._switch,
                ledger=self._ledger,
                height=lambda: self._chain.height,
            )
            self._invoices.start()
            self._payments = PaymentEngine(
                self.name,
                graph=self._graph,
                switch=self._switch,
                ledger=self._ledger,
                misbehavior=Misbehavior(),
                height=lambda: self._chain.height,
            )
            self._ledger.coins_given(self.name, START_WALLET_SAT)
            channel = self._graph.add_channel(
                self.name,
                NEIGHBOUR,
                funding_txid=_sha256(self.name.encode()).hex(),
                block_height=self._chain.height,
                capacity_sat=_CAPACITY_SAT,
                push_sat=_CAPACITY_SAT // 2,
                policies={self.name: self._policy, NEIGHBOUR: self._policy},
                is_funded=False,
            )
            self._ledger.channel_opened(channel.channel_id, channel.balances_msat)
        return self._invoices, self._payments

    def stop(self) -> None:
        """The network ends."""
        if self._invoices is not None and self._payments is not None:
            self._invoices.stop()
            self._payments.stop()


def htlc_output(deal: Deal, *, payer: str, payee: str) -> Output:
    """The output that both sides of a deal hang on."""
    terms = HtlcTerms(payer, payee, deal.payment_hash, deal.amount_sat * 1_000, deal.expiry_height)
    return Output(OutputKind.HTLC, payer, deal.amount_sat, htlc=terms)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
