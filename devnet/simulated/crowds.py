"""Many payments that hang at once, without a call for each of them."""

from __future__ import annotations

import hashlib
import secrets
from itertools import cycle, islice

from devnet.node import TestInvoice
from devnet.simulated.channels import Channel
from devnet.simulated.invoice_terms import FINAL_CLTV_DELTA_BLOCKS, read_terms
from devnet.simulated.node import SimulatedNode
from devnet.simulated.requests import MAX_CLTV_BLOCKS, PaymentIntent
from protos.invoicesrpc import invoices_pb2

# Enough for its part of the crowd, and few enough coins that a wallet can open many.
CHANNEL_SAT = 2_000_000


def hang(
    payer: SimulatedNode,
    payee: SimulatedNode,
    channels: list[Channel],
    *,
    count: int,
    amount_msat: int,
    timeout_seconds: int,
) -> list[TestInvoice]:
    """Sends `count` payments to hold invoices, spread evenly over the channels."""
    invoices: list[TestInvoice] = []
    for channel in islice(cycle(channels), count):
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        terms = read_terms(
            invoices_pb2.AddHoldInvoiceRequest(hash=payment_hash, value_msat=amount_msat)
        )
        invoice = payee.invoices.add(terms, payment_hash, None)
        invoices.append(TestInvoice(invoice.payment_request, payment_hash, preimage))
        payment = payer.payments.initiate(
            PaymentIntent(
                destination=payee.public_key,
                payment_hash=payment_hash,
                payment_addr=invoice.request.payment_addr,
                keysend_preimage=None,
                amount_msat=amount_msat,
                fee_limit_msat=0,
                timeout_seconds=timeout_seconds,
                max_parts=1,
                final_cltv_delta_blocks=FINAL_CLTV_DELTA_BLOCKS,
                cltv_limit_blocks=MAX_CLTV_BLOCKS,
                outgoing_channel_ids=frozenset((channel.channel_id,)),
                last_hop=None,
                payment_request=invoice.payment_request,
            )
        )
        payer.payments.launch(payment)
    return invoices
