"""Waiting for an invoice to be paid."""

from __future__ import annotations

import asyncio

from starter.cli import invoice_rendering
from starter.cli.documents import InvoiceOutcome
from starter.cli.exits import ExitCode
from starter.cli.progress import teller, wait_for
from starter.cli.running import err, out, print_json
from starter.errors import NotPaidError
from starter.invoice import Invoice


async def waited(invoice: Invoice, *, as_json: bool) -> ExitCode:
    """Waits until it is paid or nobody can pay it any more, and prints the receipt."""
    code = ExitCode.DONE
    try:
        with teller(err, quiet=as_json) as progress:
            receipt = await wait_for(
                invoice.settled(), invoice.watch, invoice_rendering.moment, progress
            )
    except NotPaidError as unpaid:
        receipt, code = unpaid.receipt, ExitCode.NOTHING_MOVED
    except asyncio.CancelledError:
        # Ctrl-C.
        err.print("\nLeft open: it is watched without this command.")
        if as_json:
            print_json(InvoiceOutcome(payment_hash=invoice.payment_hash, receipt=None))
        return ExitCode.NO_VERDICT
    if as_json:
        print_json(InvoiceOutcome(payment_hash=invoice.payment_hash, receipt=receipt))
    else:
        out.print(invoice_rendering.receipt(receipt), soft_wrap=True)
    return code
