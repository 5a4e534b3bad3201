"""The lnd that the server lives on: its wallet, its invoices, its payments, its signatures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bech32
import grpc

from devnet.macaroons import macaroon_interceptors
from devnet.swapserver.htlc import Leaves
from devnet.swapserver.journal import Key
from devnet.swapserver.transactions import Output, Transaction
from protos.chainrpc import chainnotifier_pb2_grpc
from protos.invoicesrpc import invoices_pb2, invoices_pb2_grpc
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.routerrpc import router_pb2, router_pb2_grpc
from protos.signrpc import signer_pb2, signer_pb2_grpc
from protos.walletrpc import walletkit_pb2, walletkit_pb2_grpc

_HRP = "bcrt"
_OP_0 = b"\x00"
_KEY_FAMILY = 99  # Loop's own on either side
_SAT_PER_KW = 500
_CALL_TIMEOUT_SECONDS = 30
_MAX_FEE_PPM = 10_000
_NEW = -1  # with what is not in a block yet

MUSIG2 = signer_pb2.MUSIG2_VERSION_V100RC2

# A restarted lnd is found again at once.
_RECONNECTING = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True)
class CombinedKey:
    """The key of an HTLC's output and what it was before the scripts were added; x only."""

    output: bytes
    internal: bytes


class Lnd:
    """One connection for as long as the server runs; every call raises AioRpcError."""

    def __init__(self, address: str, tls_cert_path: Path, macaroon_path: Path) -> None:
        self._channel = grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(tls_cert_path.read_bytes()),
            options=_RECONNECTING,
            interceptors=macaroon_interceptors(macaroon_path.read_bytes()),
        )
        self._lightning = lightning_pb2_grpc.LightningStub(self._channel)
        self._router = router_pb2_grpc.RouterStub(self._channel)
        self._invoices = invoices_pb2_grpc.InvoicesStub(self._channel)
        self._wallet = walletkit_pb2_grpc.WalletKitStub(self._channel)
        self.signer = signer_pb2_grpc.SignerStub(self._channel)
        self.notifier = chainnotifier_pb2_grpc.ChainNotifierStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    # The chain, and keys.

    async def info(self) -> lightning_pb2.GetInfoResponse:
        return await self._lightning.GetInfo(
            lightning_pb2.GetInfoRequest(), timeout=_CALL_TIMEOUT_SECONDS
        )

    async def height(self) -> int:
        return (await self.info()).block_height

    async def new_key(self) -> Key:
        described = await self._wallet.DeriveNextKey(
            walletkit_pb2.KeyReq(key_family=_KEY_FAMILY), timeout=_CALL_TIMEOUT_SECONDS
        )
        where = described.key_loc
        return Key(described.raw_key_bytes.hex(), where.key_family, where.key_index)

    async def new_script(self) -> bytes:
        """An output script of the wallet's own, a P2WKH one."""
        address = await self._lightning.NewAddress(
            lightning_pb2.NewAddressRequest(type=lightning_pb2.WITNESS_PUBKEY_HASH),
            timeout=_CALL_TIMEOUT_SECONDS,
        )
        version, program = bech32.decode(_HRP, address.address)
        if version != 0 or program is None:
            raise ValueError(f"lnd's {address.address} is no P2WKH address of regtest")
        return _OP_0 + bytes([len(program), *program])

    async def combined_key(self, keys: list[bytes], leaves: Leaves) -> CombinedKey:
        combined = await self.signer.MuSig2CombineKeys(
            signer_pb2.MuSig2CombineKeysRequest(
                all_signer_pubkeys=keys,
                taproot_tweak=signer_pb2.TaprootTweakDesc(script_root=leaves.root),
                version=MUSIG2,
            ),
            timeout=_CALL_TIMEOUT_SECONDS,
        )
        return CombinedKey(combined.combined_key, combined.taproot_internal_key)

    async def signature(
        self, key: Key, transaction: Transaction, leaf: bytes, spent: Output
    ) -> bytes:
        """By one leaf of the output that the transaction's only input spends."""
        output = signer_pb2.TxOut(value=spent.amount_sat, pk_script=spent.script)
        signed = await self.signer.SignOutputRaw(
            signer_pb2.SignReq(
                raw_tx_bytes=transaction.serialize(),
                sign_descs=[
                    signer_pb2.SignDescriptor(
                        key_desc=signer_pb2.KeyDescriptor(key_loc=located(key)),
                        witness_script=leaf,
                        output=output,
                        sign_method=signer_pb2.SIGN_METHOD_TAPROOT_SCRIPT_SPEND,
                    )
                ],
                prev_outputs=[output],
            ),
            timeout=_CALL_TIMEOUT_SECONDS,
        )
        return signed.raw_sigs[0]

    # The wallet.

    async def paid_to(self, script: bytes, since: int) -> Transaction | None:
        """A transaction of the wallet's with an output to `script`, in a block or not."""
        found = await self._lightning.GetTransactions(
            lightning_pb2.GetTransactionsRequest(start_height=since, end_height=_NEW),
            timeout=_CALL_TIMEOUT_SECONDS,
        )
        for each in found.transactions:
            if any(output.pk_script == script.hex() for output in each.output_details):
                return Transaction.parse(bytes.fromhex(each.raw_tx_hex))
        return None

    async def pay_to(self, script: bytes, amount_sat: int, label: str) -> Transaction:
        """Not idempotent: ask `paid_to` first, also after an error."""
        sent = await self._wallet.SendOutputs(
            walletkit_pb2.SendOutputsRequest(
                sat_per_kw=_SAT_PER_KW,
                outputs=[signer_pb2.TxOut(value=amount_sat, pk_script=script)],
                label=label,
                # Several swaps at once would else wait for each other's change.
                min_confs=0,
                spend_unconfirmed=True,
            ),
            timeout=_CALL_TIMEOUT_SECONDS,
        )
        return Transaction.parse(sent.raw_tx)

    async def publish(self, raw: bytes, label: str) -> None:
        await self._wallet.PublishTransaction(
            walletkit_pb2.Transaction(tx_hex=raw, label=label), timeout=_CALL_TIMEOUT_SECONDS
        )

    # Invoices and payments.

    async def add_invoice(self, amount_sat: int, memo: str) -> lightning_pb2.AddInvoiceResponse:
        return await self._lightning.AddInvoice(
            lightning_pb2.Invoice(value=amount_sat, memo=memo), timeout=_CALL_TIMEOUT_SECONDS
        )

    async def add_hold_invoice(
        self, payment_hash: bytes, amount_sat: int, memo: str, cltv_expiry: int
    ) -> invoices_pb2.AddHoldInvoiceResp:
        return await self._invoices.AddHoldInvoice(
            invoices_pb2.AddHoldInvoiceRequest(
                hash=payment_hash, value=amount_sat, memo=memo, cltv_expiry=cltv_expiry
            ),
            timeout=_CALL_TIMEOUT_SECONDS,
        )

    async def invoice(self, payment_hash: bytes) -> lightning_pb2.Invoice:
        return await self._lightning.LookupInvoice(
            lightning_pb2.PaymentHash(r_hash=payment_hash), timeout=_CALL_TIMEOUT_SECONDS
        )

    async def settle(self, preimage: bytes) -> None:
        """Idempotent."""
        await self._invoices.SettleInvoice(
            invoices_pb2.SettleInvoiceMsg(preimage=preimage), timeout=_CALL_TIMEOUT_SECONDS
        )

    async def cancel(self, payment_hash: bytes) -> None:
        """Idempotent, and content with one that is settled, which it leaves so."""
        invoice = await self.invoice(payment_hash)
        if invoice.state not in {lightning_pb2.Invoice.SETTLED, lightning_pb2.Invoice.CANCELED}:
            await self._invoices.CancelInvoice(
                invoices_pb2.CancelInvoiceMsg(payment_hash=payment_hash),
                timeout=_CALL_TIMEOUT_SECONDS,
            )

    async def decoded(self, payment_request: str) -> lightning_pb2.PayReq:
        return await self._lightning.DecodePayReq(
            lightning_pb2.PayReqString(pay_req=payment_request), timeout=_CALL_TIMEOUT_SECONDS
        )

    async def payment(self, payment_hash: bytes) -> lightning_pb2.Payment | None:
        """Its present state; None when it was never begun."""
        call = self._router.TrackPaymentV2(
            router_pb2.TrackPaymentRequest(payment_hash=payment_hash),
            timeout=_CALL_TIMEOUT_SECONDS,
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
        self, payment_request: str, amount_sat: int, *, last_hop: bytes, cltv_limit: int = 0
    ) -> None:
        """Begins a payment, or finds it begun or done; `payment` tells what becomes of it.

        `cltv_limit` is in blocks; 0 leaves it to the node.
        """
        call = self._router.SendPaymentV2(
            router_pb2.SendPaymentRequest(
                payment_request=payment_request,
                fee_limit_msat=amount_sat * 1_000 * _MAX_FEE_PPM // 1_000_000,
                timeout_seconds=_CALL_TIMEOUT_SECONDS,
                last_hop_pubkey=last_hop,
                cltv_limit=cltv_limit,
                max_parts=5,
            ),
        )
        try:
            async for _ in call:
                call.cancel()  # which ends the call, and not the payment
                return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise


def located(key: Key) -> signer_pb2.KeyLocator:
    return signer_pb2.KeyLocator(key_family=key.family, key_index=key.index)
