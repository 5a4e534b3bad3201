"""The other side of a payment, for playing: what carol would type while alice pays.

    python -m devnet.neighbour pay carol lnbcrt…       pays alice's invoice; - reads it
    python -m devnet.neighbour invoice carol 50000     an invoice over 50,000 sat
    python -m devnet.neighbour hold carol 1000         one whose HTLC hangs …
    python -m devnet.neighbour settle carol HASH       … until it is settled
    python -m devnet.neighbour cancel carol HASH       … or canceled

The invoice goes to stdout, for a pipe into `fulgurite pay -`; the rest to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tomllib
from pathlib import Path

from devnet.node import LightningNode, TestInvoice
from devnet.progress import say
from devnet.up import STATE_DIR, description
from fulgurite.money import MSAT_PER_SAT
from protos.lnrpc import lightning_pb2


def _node(state_dir: Path, name: str) -> LightningNode:
    """The node as the house's configuration describes it."""
    told = description(state_dir)
    if not told:
        raise SystemExit("no house is up: `make up` builds one")
    nodes = tomllib.loads(Path(str(told["config"])).read_text())["nodes"]
    if name not in nodes:
        raise SystemExit(f"there is no {name}: {', '.join(nodes)}")
    node = nodes[name]
    return LightningNode(
        name, node["address"], Path(node["tls_cert_path"]), Path(node["macaroon_dir"])
    )


async def _act(verb: str, node: LightningNode, what: str, held: Path) -> None:
    match verb:
        case "pay":
            paid = await node.pay(_payment_request(sys.stdin.read() if what == "-" else what))
            say(lightning_pb2.Payment.PaymentStatus.Name(paid.status))
        case "invoice":
            invoice = await node.invoice(int(what) * MSAT_PER_SAT)
            sys.stdout.write(invoice.payment_request + "\n")
        case "hold":
            invoice = await node.hold_invoice(int(what) * MSAT_PER_SAT)
            _keep(held / invoice.payment_hash.hex(), invoice.preimage)
            say(f"payment hash {invoice.payment_hash.hex()}")
            sys.stdout.write(invoice.payment_request + "\n")
        case "settle":
            invoice = TestInvoice("", bytes.fromhex(what), (held / what).read_bytes())
            await node.settle(invoice)
            say("settled")
        case "cancel":
            await node.cancel(TestInvoice("", bytes.fromhex(what), b""))
            say("canceled")


def _payment_request(text: str) -> str:
    """As it is, or out of the JSON of `fulgurite invoice create`."""
    if text.lstrip().startswith("{"):
        return str(json.loads(text)["payment_request"])
    return text.strip()


def _keep(file: Path, preimage: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(preimage)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m devnet.neighbour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=("pay", "invoice", "hold", "settle", "cancel"))
    parser.add_argument("node")
    parser.add_argument("what", help="satoshis, a payment hash, or an invoice")
    parser.add_argument("--state-dir", type=Path, default=STATE_DIR)
    asked = parser.parse_args()
    node = _node(asked.state_dir, asked.node)
    asyncio.run(_act(asked.verb, node, asked.what, asked.state_dir / "held"))


if __name__ == "__main__":
    main()
