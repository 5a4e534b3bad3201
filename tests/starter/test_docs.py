"""The documents tell what the programs do: their examples run, their tables are complete."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
from collections.abc import Coroutine
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from devnet.daemons import find
from devnet.house import ROOT, House
from devnet.waiting import eventually
from docs import generate
from fulgurite import attributes, errors, ids
from fulgurite.channels.states import CloseState
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType
from fulgurite.payments.states import PAYMENT, PaymentStatus
from fulgurite.stuck.states import LadderState
from starter.cli.exits import MEANINGS
from starter.cli.main import app
from starter.client import FulguriteClient
from starter.schemas import FOLDER
from tests.commands import valid
from tests.scenarios.telling import SIMULATED_ONLY

from .hanging import HangingNode, climbs, closes

API = (FOLDER / "README.md").read_text()
INVOICES = (ROOT / "docs" / "invoices.md").read_text()
EVENTS = (ROOT / "docs" / "events.md").read_text()
STUCK = (ROOT / "docs" / "stuck.md").read_text()
CHANNELS = (ROOT / "docs" / "channels.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECTION = re.compile(r"^## `fulgurite (.*?)`\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_the_examples_for_the_temporal_cli_pay_an_invoice(home: House) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    environment = await with_temporal(home) | {
        "INVOICE": invoice.payment_request,
        "PAYMENT_HASH": invoice.payment_hash.hex(),
    }

    async def run(example: str) -> str:
        return await in_a_shell(example, environment)

    start, view, approve, result, found = re.findall(r"```sh\n(.*?)```", API, re.DOTALL)
    await run(start)
    await eventually(
        lambda: run(view), lambda text: "AWAITING_APPROVAL" in text, what="a person being asked"
    )
    await run(start)  # once more: it joins
    assert "AWAITING_APPROVAL" in await run(approve)
    receipt = json.loads(await run(result))["result"]
    for lists in ("warnings", "budgets"):
        assert receipt[lists] is None, "the temporal CLI's form of an empty list; said there"
        receipt[lists] = []
    valid(json.dumps(receipt), "receipt")
    assert (receipt["status"], receipt["initiated_by_this_run"]) == ("SUCCEEDED", True)
    await eventually(
        lambda: run(found), lambda text: invoice.payment_hash.hex() in text, what="the listing"
    )


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_the_examples_for_the_temporal_cli_make_and_settle_an_invoice(home: House) -> None:
    environment = await with_temporal(home)
    start, result, view, settle, receipt, found = examples(INVOICES, "sh")
    await in_a_shell(start, environment)
    created = json.loads(await in_a_shell(result, environment))["result"]
    await in_a_shell(start, environment)  # once more: the same one
    again = json.loads(await in_a_shell(result, environment))["result"]
    environment["PAYMENT_HASH"] = created["payment_hash"]
    paying = asyncio.create_task(home.network.nodes["alice"].pay(created["payment_request"]))
    await eventually(
        lambda: in_a_shell(view, environment), lambda text: "ACCEPTED" in text, what="it is held"
    )
    await in_a_shell(settle, environment)
    told = json.loads(await in_a_shell(receipt, environment))["result"]
    await paying

    assert again["payment_request"] == created["payment_request"]
    assert (told["status"], told["paid_msat"]) == ("SETTLED", 20_000_000)
    await eventually(
        lambda: in_a_shell(found, environment),
        lambda text: created["payment_hash"] in text,
        what="the listing",
    )


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_the_examples_in_python_receive_hold_and_replay(
    home: House, client: FulguriteClient
) -> None:
    create, settled, hold, watch = examples(INVOICES, "python")
    [replay] = examples(EVENTS, "python")
    alice = home.network.nodes["alice"]
    names: dict[str, Any] = {"client": client}
    await in_python(create, names)
    await alice.pay(names["created"].payment_request)
    await in_python(settled, names)
    await in_python(replay, names)
    replayed = await names["event"].receipt()

    assert names["receipt"].status == "SETTLED"
    assert names["before"].event.type == replayed.event.type == "invoice.settled"
    assert [each.state for each in replayed.deliveries] == ["DELIVERED"]

    await in_python(hold, names)
    paying = asyncio.create_task(alice.pay(names["created"].payment_request))
    await in_python(watch, names)
    await paying
    assert names["view"].state == "SETTLED"


@SIMULATED_ONLY
async def test_the_examples_in_python_end_what_hangs(
    node: HangingNode, client: FulguriteClient
) -> None:
    begin, decide = (
        each.replace('"alice"', f'"{node.name}"') for each in examples(STUCK, "python")
    )
    payment_hash, point = node.hangs()
    names: dict[str, Any] = {"client": client, "payment_hash": payment_hash}
    await in_python(begin, names)
    deciding = asyncio.create_task(in_python(decide, names))
    await climbs(names["ladder"], LadderState.CONFIRMING)
    node.confirms(point)
    node.ends(payment_hash, PaymentStatus.FAILED)
    node.sweeps(point)
    await deciding

    assert names["receipt"].status == "RESOLVED_ON_CHAIN"


@SIMULATED_ONLY
async def test_the_example_in_python_closes_a_channel(
    node: HangingNode, client: FulguriteClient
) -> None:
    [close] = examples(CHANNELS, "python")
    point = node.channel()
    names: dict[str, Any] = {"client": client, "channel_point": point}
    closing = asyncio.create_task(in_python(close.replace('"alice"', f'"{node.name}"'), names))
    await eventually(lambda: asyncio.sleep(0, node.asked), what="the order")
    await closes(await client.channel_close(point), CloseState.WAITING_CLOSE)
    node.confirms(point)
    node.sweeps(point)
    await closing

    assert names["receipt"].status == "CLOSED"


def test_the_generated_parts_are_fresh() -> None:
    stale = [
        page.name
        for page in generate.PAGES
        if generate.filled(page.read_text()) != page.read_text()
    ]
    assert stale == []


def test_every_page_has_the_parts_that_are_made_for_it() -> None:
    pages = "".join(page.read_text() for page in generate.PAGES)
    assert [part for part in generate.PARTS if f"<!-- /{part} -->" not in pages] == []


def test_the_events_document_links_every_schema_of_an_event() -> None:
    schemas = [path.name for path in (FOLDER / "events").glob("*.schema.json")]
    assert len(schemas) == len(EventType)
    assert [name for name in schemas if f"(api/events/{name})" not in EVENTS] == []


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda page: page.name
)
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text())
    broken = [
        f"{path}#{anchor}"
        for path, anchor in links
        if not (page.parent / path).exists()
        or (anchor and anchor not in _anchors(page.parent / path if path else page))
    ]
    assert broken == []


def test_the_api_document_names_what_there_is() -> None:
    names = [
        *(path.name for path in FOLDER.glob("*.schema.json")),
        *(f"| `{name}` | {kind} |" for name, kind in attributes.REGISTRY.items()),
        *(f"`{state}`" for state in PAYMENT.terminal - {"REFUSED"}),
        f"| task queue | `{ids.TASK_QUEUE}` |",
    ]
    assert [name for name in names if name not in API] == []


def test_the_api_document_names_every_refusal() -> None:
    refusals = {InvalidRequestError.__name__} | {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, InvalidRequestError)
    }
    assert {name for name in refusals if f"| `{name}` |" not in API} == set()


def test_the_cli_document_has_every_command_with_every_option() -> None:
    sections = dict(SECTION.findall(CLI))
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    options = _options(command)

    assert sections.keys() == options.keys()
    missing = {
        f"fulgurite {name} {option}"
        for name, given in options.items()
        for option in given - {"--help"}
        if option not in sections[name]
    }
    assert missing == set()


def test_the_cli_document_has_every_exit_code() -> None:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    assert [row for row in rows if row not in CLI] == []


def examples(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


async def with_temporal(home: House) -> dict[str, str]:
    """The environment of a shell that has the `temporal` CLI and finds the house's server."""
    temporal = await asyncio.to_thread(find, "temporal")
    return {
        "PATH": f"{temporal.parent}:{os.environ['PATH']}",
        "HOME": str(home.state_dir),
        "TEMPORAL_ADDRESS": home.settings.temporal_address,
    }


async def in_a_shell(example: str, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", example),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


async def in_python(example: str, names: dict[str, Any]) -> None:
    """Runs it as a person at an asyncio prompt would; what it defines stays in `names`."""
    code = compile(example, "the document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = FunctionType(code, names)()
    if isinstance(running, Coroutine):
        await running


def _anchors(page: Path) -> set[str]:
    """What headings of a page are called in links, by GitHub's rules."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def _options(group: TyperGroup, path: str = "") -> dict[str, set[str]]:
    """Command → its long options."""
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():
        here = f"{path} {name}".strip()
        if isinstance(command, TyperGroup):
            found |= _options(command, here)
        else:
            every = {option for parameter in command.params for option in parameter.opts}
            found[here] = {option for option in every if option.startswith("--")}
    return found
