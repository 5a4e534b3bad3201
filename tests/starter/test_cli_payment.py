"""`fulgurite payment …` and `fulgurite key …`: looking, deciding, proving."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from devnet.house import House
from devnet.node import TestInvoice
from devnet.processes import free_ports
from devnet.waiting import eventually
from fulgurite.payments.states import PaymentState
from fulgurite.sealing import SealingKey, UnsealingKey
from starter.cli import payments
from starter.client import FulguriteClient
from tests.commands import Command, valid
from tests.scenarios.telling import SIMULATED_ONLY, assert_nothing_moved, reaches, to_pay

pytestmark = SIMULATED_ONLY

NOBODY = "00" * 32


async def awaiting_approval(
    home: House, client: FulguriteClient, amount_msat: int = 10_000_000
) -> TestInvoice:
    invoice = await home.network.nodes["carol"].invoice(amount_msat)
    payment = await client.pay(to_pay(invoice, approval_above_msat=0))
    await reaches(payment, PaymentState.AWAITING_APPROVAL)
    return invoice


@pytest.mark.usefixtures("working")
async def test_shows_a_payment_with_its_timeline(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    invoice = await awaiting_approval(home, client)
    payment_hash = invoice.payment_hash.hex()
    shown = await fulgurite("payment", "show", payment_hash)
    view = valid(
        (await fulgurite("payment", "show", payment_hash, "--json")).stdout, "payment-view"
    )

    assert shown.exit_code == 0
    assert shown.stdout.startswith("AWAITING_APPROVAL  10,000 sat to ")
    assert payment_hash in shown.stdout
    assert "**" not in shown.stdout
    assert view["state"] == "AWAITING_APPROVAL"
    await fulgurite("payment", "reject", payment_hash)


@pytest.mark.usefixtures("working")
async def test_lists_payments_for_people_and_for_programs(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    invoice = await awaiting_approval(home, client)
    payment_hash = invoice.payment_hash.hex()
    arguments = ("payment", "list", "--state", "awaiting_approval", "--node", "alice")

    async def listed() -> str:
        return (await fulgurite(*arguments)).stdout

    listing = await eventually(listed, lambda text: payment_hash in text, what="the listing")
    assert "10,000 sat" in listing
    lines = (await fulgurite(*arguments, "--json")).stdout.splitlines()
    summaries = [valid(line, "payment-summary") for line in lines]
    assert payment_hash in {summary["payment_hash"] for summary in summaries}
    assert (
        len((await fulgurite("payment", "list", "--limit", "1", "--json")).stdout.splitlines()) == 1
    )
    await fulgurite("payment", "reject", payment_hash)


@pytest.mark.usefixtures("working")
async def test_an_approved_payment_is_paid(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    invoice = await awaiting_approval(home, client)
    payment_hash = invoice.payment_hash.hex()
    unsure = await fulgurite("payment", "approve", payment_hash, answer="\n")
    await assert_nothing_moved(home, invoice)
    approved = await fulgurite(
        *("payment", "approve", payment_hash, "--as", "ann", "--note", "once a month"),
        answer="yes\n",
    )
    watched = await fulgurite("payment", "watch", payment_hash)
    view = valid(
        (await fulgurite("payment", "show", payment_hash, "--json")).stdout, "payment-view"
    )

    assert unsure.exit_code == 3
    assert "Approve 10,000 sat from alice as ann?" in approved.stderr
    assert approved.exit_code == 0
    assert watched.exit_code == 0
    assert watched.stdout.startswith("SUCCEEDED")
    assert any("approved by ann once a month" in line for line in view["timeline"])


@pytest.mark.usefixtures("working")
async def test_a_rejected_payment_ends_with_3(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    invoice = await awaiting_approval(home, client)
    payment_hash = invoice.payment_hash.hex()
    rejected = await fulgurite("payment", "reject", payment_hash, "--reason", "too dear", "--json")
    watched = await fulgurite("payment", "watch", payment_hash, "--json")
    again = await fulgurite("payment", "reject", payment_hash)

    assert rejected.exit_code == 0
    valid(rejected.stdout, "payment-view")
    assert watched.exit_code == 3
    assert valid(watched.stdout, "outcome")["receipt"]["status"] == "REJECTED"
    assert (again.exit_code, "REJECTED" in again.stderr) == (2, True)
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("working")
async def test_a_canceled_payment_in_flight_is_still_told_as_it_ends(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice))
    await reaches(payment, PaymentState.IN_FLIGHT)
    canceled = await fulgurite("payment", "cancel", payment.payment_hash)
    shown = await fulgurite("payment", "show", payment.payment_hash)
    await carol.settle(invoice)
    watched = await fulgurite("payment", "watch", payment.payment_hash)

    assert canceled.exit_code == 0
    assert "LND ends" in canceled.stdout
    assert "1 HTLC" in shown.stdout
    assert "cancel requested" in shown.stdout
    assert watched.exit_code == 0


@pytest.mark.usefixtures("working")
async def test_a_proof_is_opened_after_a_yes_and_printed_nowhere_else(
    home: House, fulgurite: Command, client: FulguriteClient, tmp_path: Path
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    payment = await client.pay(to_pay(invoice))
    await payment.receipt()
    command = ("payment", "proof", payment.payment_hash)
    refused = await fulgurite(*command, answer="n\n")
    opened = await fulgurite(*command, answer="y\n")
    document = valid((await fulgurite(*command, "--force", "--json")).stdout, "proof")
    (tmp_path / "other.key").write_text(UnsealingKey.generate().secret_text())
    wrong = await fulgurite(*command, "--force", "--key", str(tmp_path / "other.key"))

    preimage = invoice.preimage.hex()
    assert (refused.exit_code, preimage in refused.output) == (3, False)
    assert (opened.exit_code, opened.stdout) == (0, f"{preimage}\n")
    assert preimage not in opened.stderr
    assert document["preimage"] == preimage
    assert (wrong.exit_code, preimage in wrong.output) == (2, False)
    assert "another key" in wrong.stderr


@pytest.mark.usefixtures("working")
async def test_there_is_no_proof_of_what_is_not_settled(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    invoice = await awaiting_approval(home, client)
    payment_hash = invoice.payment_hash.hex()
    result = await fulgurite("payment", "proof", payment_hash, "--force")
    assert (result.exit_code, "AWAITING_APPROVAL" in result.stderr) == (2, True)
    await fulgurite("payment", "reject", payment_hash)


@pytest.mark.parametrize("verb", ["show", "watch", "approve", "reject", "cancel", "proof"])
async def test_an_unknown_payment_is_told_as_that(fulgurite: Command, verb: str) -> None:
    result = await fulgurite("payment", verb, NOBODY, "--json")
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "NotRetainedError")
    assert "check the hash" in problem["message"]


async def test_a_temporal_that_is_not_there_ends_with_5(fulgurite: Command) -> None:
    [port] = free_ports(1)
    away = Command(fulgurite.environment | {"FULGURITE_TEMPORAL_ADDRESS": f"127.0.0.1:{port}"})
    result = await away("payment", "list", "--json")
    problem = valid(result.stdout, "problem")
    assert result.exit_code == 5
    assert problem["retryable"] is True
    assert "FULGURITE_TEMPORAL_ADDRESS" in problem["message"]


async def test_a_defect_never_looks_like_a_failed_payment(
    fulgurite: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> FulguriteClient:
        raise KeyError("defect")

    monkeypatch.setattr(payments, "connected", broken)
    result = await fulgurite("payment", "watch", NOBODY)
    assert result.exit_code == 70
    assert "says nothing about any payment" in result.stderr


async def test_a_new_key_is_private_and_never_overwritten(
    fulgurite: Command, tmp_path: Path
) -> None:
    path = tmp_path / "unsealing.key"
    made = await fulgurite("key", "new", str(path), "--json")
    again = await fulgurite("key", "new", str(path))
    shown = await fulgurite("key", "show", str(path))
    secret = path.read_text().strip()

    assert (made.exit_code, again.exit_code, shown.exit_code) == (0, 2, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert valid(made.stdout, "public-key")["sealing_key"] == shown.stdout.strip()
    assert shown.stdout.strip() == UnsealingKey(secret).sealing_key.text
    assert path.read_text().strip() == secret, "the second command has not touched it"
    assert secret not in made.output + again.output + shown.output


async def test_shows_the_public_half_of_the_configured_key(home: House, fulgurite: Command) -> None:
    result = await fulgurite("key", "show")
    assert SealingKey(result.stdout).text == home.settings.public_sealing_key().text


@pytest.mark.parametrize("content", [b"\xff\xfe", b"not a key", None])
async def test_a_file_that_holds_no_key_is_refused_without_showing_it(
    fulgurite: Command, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    result = await fulgurite("key", "show", str(path))
    assert result.exit_code == 2
    assert "not a key" not in result.output
