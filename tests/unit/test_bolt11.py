"""Invoices say what BOLT 11 says they say, and anything else is refused in one way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bolt11
import pytest
from bolt11.models.tags import TagChar
from hypothesis import given
from hypothesis import strategies as st

from fulgurite.bolt11 import ChainNetwork, read_invoice
from fulgurite.errors import MalformedInvoiceError
from tests.unit.invoices import PAYEE_PUBKEY, written

# The standard's own examples. Three are left out: one with fields to be ignored, which the
# bech32 library does not accept; and two invalid ones, of an unknown required feature and
# without a payment secret, because what a payment can use is LND's to know.
EXAMPLES = json.loads(Path(__file__).with_name("bolt11_examples.json").read_text())
AN_INVOICE = written()


def _titled(examples: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(example, id=example["title"][:40]) for example in examples]


@pytest.mark.parametrize("example", _titled(EXAMPLES["valid"]))
def test_the_standards_examples_are_read_as_it_says(example: dict[str, Any]) -> None:
    invoice = read_invoice(example["invoice"])

    assert invoice.network == example["network"]
    assert invoice.payment_hash == example["payment_hash"]
    assert invoice.amount == example["amount_msat"]
    assert invoice.description == example["description"]
    assert invoice.created_at == datetime.fromtimestamp(example["created_at"], tz=UTC)
    assert invoice.expires_at - invoice.created_at == timedelta(seconds=example["expiry_seconds"])
    if example["destination"]:
        assert invoice.destination == example["destination"]


@pytest.mark.parametrize("example", _titled(EXAMPLES["invalid"]))
def test_the_standards_counterexamples_are_refused(example: dict[str, Any]) -> None:
    with pytest.raises(MalformedInvoiceError, match="copied whole"):
        read_invoice(example["invoice"])


@pytest.mark.parametrize(
    ("currency", "network"),
    [
        ("bc", ChainNetwork.MAINNET),
        ("tb", ChainNetwork.TESTNET),
        ("tbs", ChainNetwork.SIGNET),
        ("bcrt", ChainNetwork.REGTEST),
    ],
)
@pytest.mark.parametrize("amount_msat", [None, 1, 999, 1_000, 50_000_000, 2_500_000_000_000])
def test_an_invoice_of_every_network_is_read(
    currency: str, network: ChainNetwork, amount_msat: int | None
) -> None:
    invoice = read_invoice(written(currency, amount_msat=amount_msat))

    assert (invoice.network, invoice.amount) == (network, amount_msat)
    assert invoice.destination == PAYEE_PUBKEY


def test_every_network_that_a_node_can_be_on_has_invoices() -> None:
    read = {read_invoice(written(currency)).network for currency in ("bc", "tb", "tbs", "bcrt")}

    assert read == set(ChainNetwork)


@pytest.mark.parametrize("currency", ["sb", "xx", ""])
def test_an_invoice_of_an_unknown_network_is_refused(currency: str) -> None:
    with pytest.raises(MalformedInvoiceError):
        read_invoice(written(currency))


@pytest.mark.parametrize(
    "text",
    [
        AN_INVOICE.upper(),
        f"lightning:{AN_INVOICE}",
        f"LIGHTNING:{AN_INVOICE.upper()}",
        f"  {AN_INVOICE}\n",
    ],
)
def test_what_people_paste_is_read_too(text: str) -> None:
    assert read_invoice(text) == read_invoice(AN_INVOICE)
    assert read_invoice(text).payment_request == AN_INVOICE


def test_without_an_expiry_an_invoice_lives_for_an_hour() -> None:
    invoice = read_invoice(written(expiry_seconds=None))

    assert invoice.expires_at - invoice.created_at == timedelta(hours=1)


def test_the_last_hops_blocks_are_read_and_have_the_standards_default() -> None:
    given = bolt11.decode(written())
    assert read_invoice(written()).final_cltv_delta_blocks == 18
    given.tags.add(TagChar.min_final_cltv_expiry, 1_009)
    assert read_invoice(bolt11.encode(given, "11" * 32)).final_cltv_delta_blocks == 1_009


def test_an_empty_description_is_read_because_lnd_writes_it() -> None:
    assert read_invoice(written(description="")).description == ""


@given(st.text(max_size=80))
def test_any_other_text_is_refused_in_the_same_way(text: str) -> None:
    with pytest.raises(MalformedInvoiceError):
        read_invoice(text)


@given(st.integers(0, len(AN_INVOICE) - 1), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l1b"))
def test_one_wrong_character_is_noticed(position: int, character: str) -> None:
    if AN_INVOICE[position] == character:
        return
    broken = AN_INVOICE[:position] + character + AN_INVOICE[position + 1 :]

    with pytest.raises(MalformedInvoiceError):
        read_invoice(broken)


@given(st.integers(0, len(AN_INVOICE) - 1))
def test_a_cut_off_invoice_is_noticed(length: int) -> None:
    with pytest.raises(MalformedInvoiceError):
        read_invoice(AN_INVOICE[:length])
