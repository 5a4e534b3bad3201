"""The relays' document tells what they do: its examples run."""

from __future__ import annotations

from typing import Any

import pytest

from devnet.house import ROOT, House
from devnet.simulated import SimulatedNetwork
from fulgurite.relays.receipts import RelayWarning
from fulgurite.relays.states import RelayState
from starter.client import FulguriteClient
from tests.starter.test_docs import examples, in_python

from .telling import AMOUNT_MSAT, SIMULATED_ONLY, earned

DOCUMENT = (ROOT / "docs" / "relays.md").read_text()


@SIMULATED_ONLY
@pytest.mark.usefixtures("working", "oracle")
async def test_the_examples_in_python_relay_a_payment(
    home: House, client: FulguriteClient, simulated: SimulatedNetwork
) -> None:
    ask, receipt = examples(DOCUMENT, "python")
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    names: dict[str, Any] = {"client": client, "invoice": invoice.payment_request}
    await in_python(ask, names)
    simulated.receive("bob", invoice.payment_hash)
    await in_python(receipt, names)

    assert names["receipt"].status is RelayState.SETTLED
    assert names["receipt"].kept_msat == earned(home, "bob", invoice) == 17_000


def test_every_warning_is_explained() -> None:
    assert [each for each in RelayWarning if f"| `{each}` |" not in DOCUMENT] == []
