"""`fulgurite pay`: what it asks, prints and ends with."""

from __future__ import annotations

import hashlib
import signal

import pytest

from devnet.house import House
from devnet.node import ACCEPTED
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from tests.commands import Command, until_it_says, valid
from tests.scenarios.telling import SIMULATED_ONLY, assert_nothing_moved, reaches

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working")]

FEE = ("--max-fee-sat", "20")
FROM_ALICE = ("--node", "alice", *FEE)


async def test_pays_after_a_yes_and_prints_the_receipt(home: House, fulgurite: Command) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000, memo="coffee & cake")
    result = await fulgurite("pay", invoice.payment_request, *FROM_ALICE, answer="y\n")

    assert result.exit_code == 0
    assert "coffee & cake" in result.stderr
    assert "Pay 10,000 sat from alice? [y/N]" in result.stderr
    assert result.stdout.startswith("SUCCEEDED  10,000 sat to ")
    assert invoice.payment_hash.hex() in result.stdout
    assert "2 sat (at most 20 sat)" in result.stdout
    assert invoice.preimage.hex() not in result.output


async def test_json_on_stdout_is_one_document_of_the_published_schema(
    home: House, fulgurite: Command
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    result = await fulgurite("pay", invoice.payment_request, *FROM_ALICE, "--force", "--json")
    outcome = valid(result.stdout, "outcome")

    assert result.exit_code == 0
    assert result.stderr == ""
    assert outcome["payment_hash"] == invoice.payment_hash.hex()
    assert outcome["attached"] is False
    assert outcome["receipt"]["status"] == "SUCCEEDED"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 3), ("", 2)])
async def test_pays_nothing_without_a_yes(
    home: House, fulgurite: Command, answer: str, code: int
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    result = await fulgurite("pay", invoice.payment_request, *FROM_ALICE, answer=answer)

    assert result.exit_code == code
    assert "confirmed" in result.stderr
    await assert_nothing_moved(home, invoice)


async def test_reads_an_invoice_from_stdin(home: House, fulgurite: Command) -> None:
    invoice = await home.network.nodes["bob"].invoice(10_000_000)
    given = f"  {invoice.payment_request.upper()}\n"
    result = await fulgurite("pay", "-", *FROM_ALICE, "--force", answer=given)
    assert result.exit_code == 0


async def test_every_option_reaches_the_request(home: House, fulgurite: Command) -> None:
    carol, alice = home.network.nodes["carol"], home.network.nodes["alice"]
    bob = (await home.network.nodes["bob"].info()).identity_pubkey
    channels = [each for each in await alice.channels() if each.remote_pubkey == bob]
    invoice = await carol.invoice()
    result = await fulgurite(
        *("pay", invoice.payment_request, "--node", "alice", "--force", "--json"),
        *("--amount-msat", "10000000", "--max-fee-percent", "0.02"),
        *("--max-parts", "2", "--last-hop", bob, "--time-preference", "-1"),
        *("--outgoing-channel", str(channels[0].chan_id)),
        *("--timeout", "30", "--deadline", "40", "--stuck-after", "50"),
        *("--approval-above-sat", "10000", "--approval-expires", "60"),
        *("--wait-for-liquidity", "20"),
    )
    receipt = valid(result.stdout, "outcome")["receipt"]

    assert result.exit_code == 0
    assert receipt["amount_msat"] == 10_000_000
    assert receipt["fee_limit_msat"] == 2_000


async def test_a_payment_that_lnd_fails_ends_with_1_and_says_what_to_do(
    home: House, fulgurite: Command
) -> None:
    invoice = await home.network.nodes["carol"].invoice(90_000_000_000)
    result = await fulgurite("pay", invoice.payment_request, *FROM_ALICE, "--force")

    assert result.exit_code == 1
    assert "INSUFFICIENT_BALANCE" in result.stdout
    assert "liquidity" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("lnbcrt1nonsense", *FROM_ALICE), "MalformedInvoiceError", "copied whole"),
        (("INVOICE", "--node", "alice"), "InvalidRequestError", "fee limit once"),
        (("INVOICE", *FROM_ALICE, "--max-fee-ppm", "3"), "InvalidRequestError", "fee limit once"),
        (("INVOICE", *FEE), "InvalidRequestError", "--node"),
        (("INVOICE", "--node", "Alice", *FEE), "InvalidRequestError", "node"),
        (("INVOICE", *FROM_ALICE, "--amount-sat", "5"), "AmountError", "amount"),
        (("INVOICE", *FROM_ALICE, "--max-parts", "0"), "InvalidRequestError", "max_parts"),
        (
            ("INVOICE", *FROM_ALICE, "--outgoing-channel", "1x2"),
            "InvalidRequestError",
            "a channel id looks like",
        ),
        (
            ("INVOICE", "--node", "alice", "--max-fee-percent", "0.00001"),
            "InvalidRequestError",
            "four decimal places",
        ),
        (
            ("INVOICE", "--node", "alice", "--max-fee-percent", "much"),
            "InvalidRequestError",
            "such as 0.5",
        ),
        (
            ("INVOICE", *FROM_ALICE, "--amount-sat", "5", "--amount-msat", "5"),
            "InvalidRequestError",
            "not both",
        ),
        (FROM_ALICE, "InvalidRequestError", "exactly one"),
        ((*FROM_ALICE, "--keysend", "02ab"), "InvalidRequestError", "--keysend"),
        ((*FROM_ALICE, "--keysend", f"02{'ab' * 32}"), "InvalidRequestError", "amount_msat"),
    ],
)
async def test_wrong_input_is_refused_with_what_to_do(
    home: House, fulgurite: Command, arguments: tuple[str, ...], error: str, words: str
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    given = [invoice.payment_request if each == "INVOICE" else each for each in arguments]
    result = await fulgurite("pay", *given, "--force", "--json")
    problem = valid(result.stdout, "problem")

    assert result.exit_code == 2
    assert problem["error"] == error
    assert words in problem["message"]
    assert problem["retryable"] is False
    await assert_nothing_moved(home, invoice)


async def test_what_the_worker_refuses_is_told_in_the_same_way(
    home: House, fulgurite: Command
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    result = await fulgurite("pay", invoice.payment_request, "--node", "zoe", *FEE, "--force")

    assert result.exit_code == 2
    assert "UnknownNode: no node 'zoe'" in result.stderr
    assert "Traceback" not in result.output


async def test_keysend_pays_a_node_without_an_invoice(home: House, fulgurite: Command) -> None:
    bob = (await home.network.nodes["bob"].info()).identity_pubkey
    result = await fulgurite(
        "pay", "--keysend", bob, *FROM_ALICE, "--amount-sat", "7", "--force", "--json"
    )
    receipt = valid(result.stdout, "outcome")["receipt"]
    assert (receipt["status"], receipt["amount_msat"]) == ("SUCCEEDED", 7_000)


async def test_not_waiting_ends_with_4_and_a_second_command_joins(
    home: House, fulgurite: Command
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    first = await fulgurite(
        "pay", invoice.payment_request, *FROM_ALICE, "--force", "--no-wait", "--json"
    )
    left = valid(first.stdout, "outcome")
    second = await fulgurite.process(
        "pay", invoice.payment_request, *FROM_ALICE, "--force", "--json"
    )
    await until_it_says(second, "joined it")
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await carol.settle(invoice)
    stdout, _ = await second.communicate()
    outcome = valid(stdout.decode(), "outcome")

    assert first.exit_code == 4
    assert (left["attached"], left["receipt"]) == (False, None)
    assert second.returncode == 0
    assert outcome["attached"] is True


async def test_ctrl_c_leaves_the_payment_under_way(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    waiting = await fulgurite.process("pay", invoice.payment_request, *FROM_ALICE, "--force")
    payment = client.payment(invoice.payment_hash.hex())
    assert waiting.stderr is not None
    told = ""
    while "IN_FLIGHT" not in told:
        line = await waiting.stderr.readline()
        assert line, told
        told += line.decode()
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = await waiting.communicate()

    assert waiting.returncode == 4
    assert stdout == b""
    assert f"fulgurite payment watch {payment.payment_hash}" in stderr.decode()
    view = await reaches(payment, PaymentState.IN_FLIGHT)
    assert not view.cancel_requested

    await carol.settle(invoice)
    result = await fulgurite("payment", "watch", payment.payment_hash, "--json")
    outcome = valid(result.stdout, "outcome")
    assert (result.exit_code, outcome["receipt"]["status"]) == (0, "SUCCEEDED")


async def test_the_receipt_of_a_payment_made_elsewhere_says_that_it_was_not_paid_again(
    home: House, fulgurite: Command
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    await home.network.nodes["alice"].pay(invoice.payment_request)
    result = await fulgurite("pay", invoice.payment_request, *FROM_ALICE, "--force")

    assert result.exit_code == 0
    assert "not paid again" in result.stdout
    assert hashlib.sha256(invoice.preimage).hexdigest() in result.stdout
