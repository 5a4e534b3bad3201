"""What a person at a node's keyboard could do, over lnd's own API and the admin macaroon.

Both networks serve the same protos, so this one driver stands before simulated and real
nodes alike. Tests, the demo and the bench act as the rest of the world through it; the
product never imports it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from devnet.macaroons import macaroon_interceptors
from devnet.topology import CLTV_EXPIRY_DELTA_BLOCKS
from devnet.waiting import eventually
from protos.chainrpc import chainnotifier_pb2_grpc
from protos.invoicesrpc import invoices_pb2, invoices_pb2_grpc
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc, stateservice_pb2_grpc
from protos.routerrpc import router_pb2, router_pb2_grpc
from protos.walletrpc import walletkit_pb2_grpc

# lnd's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

OPEN = lightning_pb2.Invoice.OPEN
SETTLED = lightning_pb2.Invoice.SETTLED
CANCELED = lightning_pb2.Invoice.CANCELED
ACCEPTED = lightning_pb2.Invoice.ACCEPTED

# What every invoice of lnd's says of its payee, for a payment that does not read it there.
_INVOICE_FEATURES = (
    lightning_pb2.TLV_ONION_OPT,
    lightning_pb2.PAYMENT_ADDR_OPT,
    lightning_pb2.MPP_OPT,
)


@dataclass(frozen=True)
class TestInvoice:
    """An invoice of a devnet node, with the secret that a test may settle it by."""

    __test__ = False

    payment_request: str
    payment_hash: bytes
    preimage: bytes = field(repr=False)


@dataclass(frozen=True)
class LightningNode:
    """A devnet node: where it is, and the credentials the devnet wrote for it.

    `macaroon_dir` holds `admin.macaroon` and one `<role>.macaroon` for each role that
    the product uses. `host:port` of `address` is loopback always.
    """

    name: str
    address: str
    tls_cert_path: Path
    macaroon_dir: Path

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A fresh connection with the admin macaroon, so a restarted node is no surprise."""
        macaroon = (self.macaroon_dir / "admin.macaroon").read_bytes()
        async with grpc.aio.secure_channel(
            self.address,
            grpc.ssl_channel_credentials(self.tls_cert_path.read_bytes()),
            interceptors=macaroon_interceptors(macaroon),
        ) as channel:
            yield channel

    @asynccontextmanager
    async def lightning(self) -> AsyncIterator[lightning_pb2_grpc.LightningAsyncStub]:
        async with self.channel() as channel:
            yield lightning_pb2_grpc.LightningStub(channel)

    @asynccontextmanager
    async def router(self) -> AsyncIterator[router_pb2_grpc.RouterAsyncStub]:
        async with self.channel() as channel:
            yield router_pb2_grpc.RouterStub(channel)

    @asynccontextmanager
    async def invoices(self) -> AsyncIterator[invoices_pb2_grpc.InvoicesAsyncStub]:
        async with self.channel() as channel:
            yield invoices_pb2_grpc.InvoicesStub(channel)

    @asynccontextmanager
    async def state(self) -> AsyncIterator[stateservice_pb2_grpc.StateAsyncStub]:
        async with self.channel() as channel:
            yield stateservice_pb2_grpc.StateStub(channel)

    @asynccontextmanager
    async def notifier(self) -> AsyncIterator[chainnotifier_pb2_grpc.ChainNotifierAsyncStub]:
        async with self.channel() as channel:
            yield chainnotifier_pb2_grpc.ChainNotifierStub(channel)

    @asynccontextmanager
    async def wallet_kit(self) -> AsyncIterator[walletkit_pb2_grpc.WalletKitAsyncStub]:
        async with self.channel() as channel:
            yield walletkit_pb2_grpc.WalletKitStub(channel)

    async def info(self) -> lightning_pb2.GetInfoResponse:
        async with self.lightning() as lightning:
            return await lightning.GetInfo(lightning_pb2.GetInfoRequest())

    async def channels(self) -> list[lightning_pb2.Channel]:
        async with self.lightning() as lightning:
            answer = await lightning.ListChannels(lightning_pb2.ListChannelsRequest())
            return list(answer.channels)

    async def pending_channels(self) -> lightning_pb2.PendingChannelsResponse:
        async with self.lightning() as lightning:
            return await lightning.PendingChannels(lightning_pb2.PendingChannelsRequest())

    async def closed_channels(self) -> list[lightning_pb2.ChannelCloseSummary]:
        async with self.lightning() as lightning:
            answer = await lightning.ClosedChannels(lightning_pb2.ClosedChannelsRequest())
            return list(answer.channels)

    async def close_channel(
        self, channel_point: str, *, force: bool = False, sat_per_vbyte: int = 0
    ) -> str:
        """Begins to close a channel, and returns the closing transaction's id."""
        txid, _, index = channel_point.partition(":")
        request = lightning_pb2.CloseChannelRequest(
            channel_point=lightning_pb2.ChannelPoint(
                funding_txid_str=txid, output_index=int(index)
            ),
            force=force,
            sat_per_vbyte=sat_per_vbyte,
        )
        async with self.lightning() as lightning:
            call = lightning.CloseChannel(request)
            async for update in call:
                if update.HasField("close_pending"):
                    call.cancel()
                    return update.close_pending.txid[::-1].hex()
        raise RuntimeError("lnd ended the stream before the close was broadcast")

    async def charge(self, *, base_fee_msat: int, fee_rate_ppm: int) -> None:
        """What the node asks from now on for forwarding over any of its channels."""
        async with self.lightning() as lightning:
            request = lightning_pb2.PolicyUpdateRequest(
                base_fee_msat=base_fee_msat,
                fee_rate_ppm=fee_rate_ppm,
                time_lock_delta=CLTV_EXPIRY_DELTA_BLOCKS,
            )
            setattr(request, "global", True)  # a word that Python keeps for itself
            await lightning.UpdateChannelPolicy(request)

    async def transactions(self) -> list[lightning_pb2.Transaction]:
        """Every transaction that the wallet knows, the unconfirmed ones included."""
        async with self.lightning() as lightning:
            answer = await lightning.GetTransactions(
                lightning_pb2.GetTransactionsRequest(end_height=-1)
            )
            return list(answer.transactions)

    async def balance(self) -> lightning_pb2.WalletBalanceResponse:
        async with self.lightning() as lightning:
            return await lightning.WalletBalance(lightning_pb2.WalletBalanceRequest())

    async def invoice(
        self, amount_msat: int = 0, *, memo: str = "", expiry_seconds: int = 3600
    ) -> TestInvoice:
        """A normal invoice; amount 0 lets the payer choose."""
        preimage = secrets.token_bytes(32)
        async with self.lightning() as lightning:
            added = await lightning.AddInvoice(
                lightning_pb2.Invoice(
                    memo=memo, r_preimage=preimage, value_msat=amount_msat, expiry=expiry_seconds
                )
            )
        return TestInvoice(added.payment_request, added.r_hash, preimage)

    async def hold_invoice(
        self, amount_msat: int, *, memo: str = "", expiry_seconds: int = 3600
    ) -> TestInvoice:
        """An invoice whose HTLCs hang until `settle` or `cancel`."""
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        async with self.invoices() as invoices:
            added = await invoices.AddHoldInvoice(
                invoices_pb2.AddHoldInvoiceRequest(
                    memo=memo, hash=payment_hash, value_msat=amount_msat, expiry=expiry_seconds
                )
            )
        return TestInvoice(added.payment_request, payment_hash, preimage)

    async def settle(self, invoice: TestInvoice) -> None:
        async with self.invoices() as invoices:
            await invoices.SettleInvoice(invoices_pb2.SettleInvoiceMsg(preimage=invoice.preimage))

    async def cancel(self, invoice: TestInvoice) -> None:
        async with self.invoices() as invoices:
            await invoices.CancelInvoice(
                invoices_pb2.CancelInvoiceMsg(payment_hash=invoice.payment_hash)
            )

    async def lookup(self, invoice: TestInvoice) -> lightning_pb2.Invoice:
        async with self.lightning() as lightning:
            return await lightning.LookupInvoice(
                lightning_pb2.PaymentHash(r_hash=invoice.payment_hash)
            )

    async def list_invoices(self, *, page_size: int = 1_000) -> list[lightning_pb2.Invoice]:
        """Every invoice the node remembers, whatever became of it, oldest first."""
        invoices: list[lightning_pb2.Invoice] = []
        request = lightning_pb2.ListInvoiceRequest(num_max_invoices=page_size)
        async with self.lightning() as lightning:
            while page := (await lightning.ListInvoices(request)).invoices:
                invoices.extend(page)
                request.index_offset = page[-1].add_index
        return invoices

    async def wait_for_invoice(
        self,
        invoice: TestInvoice,
        state: lightning_pb2.Invoice.InvoiceState.ValueType,
        timeout_seconds: float = 60,
    ) -> lightning_pb2.Invoice:
        """Waits until the invoice is in `state`; asks, because lnd streams not every state."""
        return await eventually(
            lambda: self.lookup(invoice),
            lambda found: found.state == state,
            what=f"invoice of {self.name} in state {state}",
            timeout_seconds=timeout_seconds,
        )

    async def payments(self) -> list[lightning_pb2.Payment]:
        """Every payment the node remembers, whatever became of it."""
        async with self.lightning() as lightning:
            answer = await lightning.ListPayments(
                lightning_pb2.ListPaymentsRequest(include_incomplete=True, max_payments=100_000)
            )
            return list(answer.payments)

    async def payment(self, payment_hash: bytes) -> lightning_pb2.Payment | None:
        """The node's present word on one payment; None when it never heard of it."""
        async with self.router() as router:
            call = router.TrackPaymentV2(
                router_pb2.TrackPaymentRequest(payment_hash=payment_hash), timeout=10
            )
            try:
                async for payment in call:
                    call.cancel()
                    return payment
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
        return None

    async def pay(
        self,
        payment_request: str,
        *,
        amount_msat: int = 0,
        fee_limit_msat: int = 100_000,
        timeout_seconds: int = 60,
        over: Sequence[int] = (),
    ) -> lightning_pb2.Payment:
        """Pays as a stranger to the product would, and returns the last word on it.

        `over`: the ids of the channels that it may leave by; none: any.
        """
        return await self._send(
            router_pb2.SendPaymentRequest(
                payment_request=payment_request,
                amt_msat=amount_msat,
                fee_limit_msat=fee_limit_msat,
                timeout_seconds=timeout_seconds,
                outgoing_chan_ids=over,
            )
        )

    async def pay_unread(
        self, payment_request: str, *, amount_msat: int = 0, fee_limit_msat: int = 100_000
    ) -> lightning_pb2.Payment:
        """Pays as a wallet does that looks neither at an invoice's expiry nor at its amount.

        `amount_msat` 0 is what the invoice asks for.
        """
        async with self.lightning() as lightning:
            read = await lightning.DecodePayReq(lightning_pb2.PayReqString(pay_req=payment_request))
        return await self._send(
            router_pb2.SendPaymentRequest(
                dest=bytes.fromhex(read.destination),
                payment_hash=bytes.fromhex(read.payment_hash),
                payment_addr=read.payment_addr,
                amt_msat=amount_msat or read.num_msat,
                final_cltv_delta=read.cltv_expiry,
                fee_limit_msat=fee_limit_msat,
                timeout_seconds=60,
                dest_features=_INVOICE_FEATURES,
            )
        )

    async def _send(self, request: router_pb2.SendPaymentRequest) -> lightning_pb2.Payment:
        request.no_inflight_updates = True
        async with self.router() as router:
            return [update async for update in router.SendPaymentV2(request)][-1]
