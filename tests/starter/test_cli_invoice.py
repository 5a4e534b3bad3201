"""`fulgurite invoice …`: making, looking, waiting, deciding."""

from __future__ import annotations

import getpass
import secrets
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devnet.house import House
from devnet.waiting import eventually
from fulgurite.identity import Preimage
from fulgurite.invoices.requests import InvoiceCancellation
from fulgurite.invoices.states import InvoiceState
from starter.cli import invoices
from starter.client import FulguriteClient
from tests.commands import Command, valid
from tests.scenarios.receiving import being_paid, reaches, to_hold, to_receive
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = SIMULATED_ONLY

NOBODY = "00" * 32
AT_CAROL = ("--node", "carol", "--amount-sat", "20000")
FALLBACK_ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def new_key() -> str:
    return f"order-{secrets.token_hex(8)}"


@pytest.mark.usefixtures("working")
async def test_prints_the_payment_request_alone_so_that_it_can_be_piped(
    fulgurite: Command,
) -> None:
    made = await fulgurite("invoice", "create", *AT_CAROL, "--memo", "coffee & cake")
    paid = await fulgurite(
        *("pay", "-", "--node", "alice", "--max-fee-sat", "20", "--force"), answer=made.stdout
    )

    assert made.exit_code == 0
    assert made.stdout.startswith("lnbcrt200u1")
    assert made.stdout.count("\n") == 1
    assert "coffee & cake" in made.stderr
    assert "20,000 sat" in made.stderr
    assert "█" not in made.output, "nobody looks on"
    assert paid.exit_code == 0
    key = next(line.split()[1] for line in made.stderr.splitlines() if "key " in line)
    watched = await fulgurite("invoice", "watch", key)
    assert watched.exit_code == 0
    assert watched.stdout.startswith("SETTLED  20,000 sat to carol")


@pytest.mark.usefixtures("working")
async def test_the_same_key_gives_the_same_invoice_and_another_request_is_refused(
    fulgurite: Command,
) -> None:
    command = ("invoice", "create", *AT_CAROL, "--key", new_key(), "--json")
    first, again = await fulgurite(*command), await fulgurite(*command)
    other = await fulgurite(*command, "--memo", "something else")

    assert valid(first.stdout, "created-invoice") == valid(again.stdout, "created-invoice")
    assert first.stderr == ""
    assert other.exit_code == 2
    assert valid(other.stdout, "problem")["error"] == "KeyReusedError"


@pytest.mark.usefixtures("working")
async def test_every_option_reaches_the_request(fulgurite: Command) -> None:
    key = new_key()
    result = await fulgurite(
        *("invoice", "create", "--node", "carol", "--any-amount", "--key", key, "--json"),
        *("--description-hash", "ab" * 32, "--expiry", "15m", "--late-watch", "2h"),
        *("--private", "--cltv-blocks", "150", "--metadata", "order=17", "--metadata", "of=a=b"),
        *("--fallback-address", FALLBACK_ADDRESS),
        *("--hold", "amount", "--hold-min-sat", "5", "--hold-max-sat", "7"),
        *("--hold-for", "10m", "--hold-default", "settle", "--notify-workflow", "shop/17"),
    )
    request = valid(result.stdout, "created-invoice")["request"]

    assert result.exit_code == 0
    assert request == {
        "key": key,
        "node": "carol",
        "amount_msat": None,
        "memo": "",
        "description_hash": "ab" * 32,
        "expiry_seconds": 900,
        "private_channels": True,
        "fallback_address": FALLBACK_ADDRESS,
        "cltv_expiry_blocks": 150,
        "hold": {
            "decide_by": "AMOUNT",
            "min_msat": 5_000,
            "max_msat": 7_000,
            "callback": None,
            "workflow_id": None,
            "decide_within_seconds": 600,
            "default": "SETTLE",
            "payment_hash": None,
        },
        "late_watch_seconds": 7_200,
        "metadata": {"order": "17", "of": "a=b"},
        "notify_workflow_id": "shop/17",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--node", "carol"), "--any-amount"),
        ((*AT_CAROL, "--any-amount"), "--any-amount"),
        ((*AT_CAROL, "--amount-msat", "5"), "--any-amount"),
        (("--amount-sat", "5"), "which node receives? Give --node"),
        ((*AT_CAROL, "--expiry", "soon"), "--expiry is a time such as"),
        ((*AT_CAROL, "--expiry", "0s"), "expiry_seconds"),
        ((*AT_CAROL, "--hold-for", "1h"), "go with --hold"),
        ((*AT_CAROL, "--hold", "callback"), "callback"),
        ((*AT_CAROL, "--metadata", "order"), "NAME=VALUE"),
        ((*AT_CAROL, "--memo", "x", "--description-hash", "ab" * 32), "not both"),
        ((*AT_CAROL, "--key", "no spaces"), "key"),
    ],
)
async def test_wrong_input_is_refused_before_anything_is_asked_for(
    fulgurite: Command, arguments: tuple[str, ...], words: str
) -> None:
    result = await fulgurite("invoice", "create", *arguments, "--json")
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "InvalidRequestError")
    assert words in problem["message"]


@pytest.mark.usefixtures("working")
async def test_a_qr_code_is_drawn_where_it_is_asked_for(fulgurite: Command) -> None:
    drawn = await fulgurite("invoice", "create", *AT_CAROL, "--qr")
    assert "▀" in drawn.stderr
    assert drawn.stdout.count("\n") == 1


@pytest.mark.usefixtures("working")
async def test_waits_until_it_is_paid_and_gives_the_request_away_before(
    home: House, fulgurite: Command
) -> None:
    waiting = await fulgurite.process("invoice", "create", *AT_CAROL, "--wait", "--json")
    assert waiting.stdout is not None
    created = valid((await waiting.stdout.readline()).decode(), "created-invoice")
    await home.network.nodes["alice"].pay(created["payment_request"])
    rest, _ = await waiting.communicate()
    outcome = valid(rest.decode(), "invoice-outcome")

    assert waiting.returncode == 0
    assert outcome["receipt"]["status"] == "SETTLED"
    assert outcome["receipt"]["paid_msat"] == 20_000_000


@pytest.mark.usefixtures("working")
async def test_ctrl_c_leaves_the_invoice_open(fulgurite: Command, client: FulguriteClient) -> None:
    created = await client.create_invoice(to_receive())
    key = created.request.key
    waiting = await fulgurite.process("invoice", "create", *AT_CAROL, "--wait", "--key", new_key())
    assert waiting.stdout is not None
    assert await waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = await waiting.communicate()
    view = await (await client.invoice(key)).view()

    assert (waiting.returncode, stdout) == (4, b"")
    assert "Left open" in stderr.decode()
    assert view.state is InvoiceState.OPEN


@pytest.mark.usefixtures("working")
async def test_an_invoice_that_nobody_paid_ends_with_3(
    fulgurite: Command, client: FulguriteClient
) -> None:
    created = await client.create_invoice(to_receive(expiry_seconds=1))
    told = await fulgurite("invoice", "watch", created.payment_hash)
    as_json = await fulgurite("invoice", "watch", created.payment_hash, "--json")

    assert told.exit_code == as_json.exit_code == 3
    assert told.stdout.startswith("EXPIRED  20,000 sat to carol")
    assert "ago)" in told.stdout
    outcome = valid(as_json.stdout, "invoice-outcome")
    assert outcome["receipt"]["status"] == "EXPIRED"
    shown = await fulgurite("invoice", "show", created.payment_hash)
    assert "late payers are looked out for" in shown.stdout


@pytest.mark.usefixtures("working")
async def test_shows_an_invoice_by_key_and_by_hash(
    fulgurite: Command, client: FulguriteClient
) -> None:
    created = await client.create_invoice(to_receive())
    for name in (created.request.key, created.payment_hash):
        shown = await fulgurite("invoice", "show", name)
        assert shown.exit_code == 0
        assert shown.stdout.startswith("OPEN  20,000 sat to carol")
        assert created.payment_request in shown.stdout
    as_json = await fulgurite("invoice", "show", created.request.key, "--json")
    assert valid(as_json.stdout, "invoice-view")["state"] == "OPEN"


@pytest.mark.usefixtures("working")
async def test_lists_invoices_for_people_and_for_programs(
    fulgurite: Command, client: FulguriteClient
) -> None:
    created = await client.create_invoice(to_receive(node="bob", amount_msat=None))
    arguments = ("invoice", "list", "--node", "bob", "--state", "open")

    async def listed() -> str:
        return (await fulgurite(*arguments)).stdout

    listing = await eventually(listed, lambda text: created.request.key in text, what="the listing")
    lines = (await fulgurite(*arguments, "--json")).stdout.splitlines()
    nobody = await fulgurite("invoice", "list", "--node", "nobody")

    assert "any amount" in listing
    keys = {valid(line, "invoice-summary")["key"] for line in lines}
    assert created.request.key in keys
    assert (nobody.exit_code, nobody.stdout) == (0, "")
    assert "No invoices" in nobody.stderr


@pytest.mark.usefixtures("working")
async def test_a_held_invoice_is_settled_after_a_yes(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    created = await client.create_invoice(to_hold())
    key = created.request.key
    invoice = await client.invoice(key)
    async with being_paid(home.network.nodes["alice"], created):
        await reaches(invoice, InvoiceState.ACCEPTED)
        shown = await fulgurite("invoice", "show", key)
        unsure = await fulgurite("invoice", "settle", key, answer="\n")
        held = await invoice.view()
        settled = await fulgurite("invoice", "settle", key, "--as", "ann", answer="yes\n")
        watched = await fulgurite("invoice", "watch", key)
    again = await fulgurite("invoice", "settle", key, "--force", "--json")
    too_late = await fulgurite("invoice", "cancel", key, "--force", "--json")

    assert "held: settle or cancel it" in shown.stdout
    assert f"and block {held.decide_before_height}, else CANCEL" in shown.stdout
    assert (unsure.exit_code, held.state) == (3, InvoiceState.ACCEPTED)
    assert "Settle 20,000 sat as ann?" in settled.stderr
    assert settled.exit_code == 0
    assert (watched.exit_code, watched.stdout.split()[0]) == (0, "SETTLED")
    view = await invoice.view()
    assert any("by ann" in line for line in view.timeline)
    assert again.exit_code == 0
    assert valid(again.stdout, "invoice-view")["state"] == "SETTLED"
    assert too_late.exit_code == 2
    assert "SETTLED" in valid(too_late.stdout, "problem")["message"]


@pytest.mark.usefixtures("working")
async def test_a_canceled_invoice_is_paid_by_nobody(
    fulgurite: Command, client: FulguriteClient
) -> None:
    created = await client.create_invoice(to_receive())
    key = created.request.key
    unsure = await fulgurite("invoice", "cancel", key, answer="no\n")
    canceled = await fulgurite(
        *("invoice", "cancel", key, "--reason", "sold out", "--as", "ann", "--force", "--json")
    )
    watched = await fulgurite("invoice", "watch", key, "--json")

    assert (unsure.exit_code, canceled.exit_code, watched.exit_code) == (3, 0, 3)
    valid(canceled.stdout, "invoice-view")
    assert valid(watched.stdout, "invoice-outcome")["receipt"]["status"] == "CANCELED"
    shown = await fulgurite("invoice", "show", key)
    assert "by ann sold out" in shown.stdout


@pytest.mark.usefixtures("working")
async def test_somebody_elses_preimage_comes_from_a_file_and_stands_nowhere(
    home: House, fulgurite: Command, client: FulguriteClient, tmp_path: Path
) -> None:
    preimage, other = Preimage.generate(), Preimage.generate()
    secret, file, wrong = preimage.reveal().hex(), tmp_path / "preimage", tmp_path / "wrong"
    file.write_text(f"{secret.upper()}\n")
    wrong.write_text(other.reveal().hex())
    created = await client.create_invoice(to_hold(hold={"payment_hash": preimage.hash()}))
    key = created.request.key
    settle = ("invoice", "settle", key, "--force", "--preimage-file")
    async with being_paid(home.network.nodes["alice"], created):
        await reaches(await client.invoice(key), InvoiceState.ACCEPTED)
        without = await fulgurite(*settle[:-1])
        of_another = await fulgurite(*settle, str(wrong))
        of_nothing = await fulgurite(*settle, str(tmp_path))
        nonsense = await fulgurite(*settle, "-", answer="not hex")
        settled = await fulgurite(*settle, str(file))
        watched = await fulgurite("invoice", "watch", key)

    refused = [without, of_another, of_nothing, nonsense]
    assert [result.exit_code for result in refused] == [2, 2, 2, 2]
    assert "--preimage-file" in without.stderr
    assert "its SHA-256 is another" in of_another.stderr
    assert "cannot read" in of_nothing.stderr
    assert "a preimage is 64 hex characters" in nonsense.stderr
    assert (settled.exit_code, watched.exit_code) == (0, 0)
    told = "".join(result.output for result in [*refused, settled, watched])
    assert secret not in told.lower()
    assert other.reveal().hex() not in told.lower()
    assert "not hex" not in told


@pytest.mark.usefixtures("working")
async def test_a_preimage_is_asked_for_where_somebody_can_answer(
    home: House, fulgurite: Command, client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    preimage = Preimage.generate()
    created = await client.create_invoice(to_hold(hold={"payment_hash": preimage.hash()}))
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(invoices, "sys", terminal)
    monkeypatch.setattr(getpass, "getpass", lambda _: preimage.reveal().hex())
    async with being_paid(home.network.nodes["alice"], created):
        await reaches(await client.invoice(created.payment_hash), InvoiceState.ACCEPTED)
        settled = await fulgurite("invoice", "settle", created.request.key, "--force")
    assert settled.exit_code == 0


@pytest.mark.usefixtures("working")
async def test_a_preimage_for_an_invoice_of_our_own_is_refused(
    fulgurite: Command, client: FulguriteClient, tmp_path: Path
) -> None:
    created = await client.create_invoice(to_hold())
    result = await fulgurite(
        *("invoice", "settle", created.request.key, "--force"),
        *("--preimage-file", str(tmp_path / "none")),
    )
    assert (result.exit_code, "leave --preimage-file out" in result.stderr) == (2, True)


@pytest.mark.usefixtures("working")
async def test_advice_is_given_from_the_invoices_that_ended(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    paid = await client.create_invoice(to_receive(node="bob"))
    await home.network.nodes["alice"].pay(paid.payment_request)
    await (await client.invoice(paid.payment_hash)).receipt()
    unpaid = await client.create_invoice(to_receive(node="bob"))
    invoice = await client.invoice(unpaid.payment_hash)
    await invoice.cancel(InvoiceCancellation(by="ann"))
    await invoice.receipt()

    async def advised() -> Any:
        result = await fulgurite("invoice", "advice", "--node", "bob", "--json")
        return valid(result.stdout, "late-payers")

    figures = await eventually(advised, lambda each: each["payers"] > 0, what="a payer")
    told = await fulgurite("invoice", "advice", "--node", "bob")
    nobody = await fulgurite("invoice", "advice", "--node", "nobody")

    assert figures["in_time"] == figures["payers"] >= 1
    assert "95 % of the payers came within" in told.stdout
    assert "leave it so" in told.stdout
    assert "0 invoices have ended, and nobody came to pay one" in nobody.stdout


@pytest.mark.parametrize("verb", ["show", "watch", "settle", "cancel"])
@pytest.mark.parametrize("name", [NOBODY, "no-such-order"])
async def test_an_unknown_invoice_is_told_as_that(fulgurite: Command, verb: str, name: str) -> None:
    result = await fulgurite("invoice", verb, name, "--json")
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "NotRetainedError")
    assert "check the hash or key" in problem["message"]


async def test_an_invoice_that_no_worker_makes_is_left_to_be_made(
    fulgurite: Command, client: FulguriteClient
) -> None:
    key = new_key()
    making = await fulgurite.process("invoice", "create", *AT_CAROL, "--key", key)
    assert making.stderr is not None
    told = ""
    while "is a worker running" not in told:
        line = await making.stderr.readline()
        assert line, told
        told += line.decode()
    making.send_signal(signal.SIGINT)
    stdout, stderr = await making.communicate()

    assert (making.returncode, stdout) == (4, b"")
    assert f"--key {key}" in stderr.decode()
    await client._client.get_workflow_handle(f"invoice-key/{key}").terminate()
