"""The documents tell what the programs do: their examples run, their tables are complete."""

from __future__ import annotations

import asyncio
import json
import os
import re

import pytest
import typer
from typer.core import TyperGroup

from devnet.daemons import find
from devnet.house import ROOT, House
from devnet.waiting import eventually
from fulgurite import attributes, errors, ids
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.states import PAYMENT
from starter.cli.exits import MEANINGS
from starter.cli.main import app
from starter.schemas import FOLDER
from tests.scenarios.telling import SIMULATED_ONLY

from .conftest import valid

API = (FOLDER / "README.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
SECTION = re.compile(r"^## `fulgurite (.*?)`\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_the_examples_for_the_temporal_cli_pay_an_invoice(home: House) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000)
    temporal = await asyncio.to_thread(find, "temporal")
    environment = {
        "PATH": f"{temporal.parent}:{os.environ['PATH']}",
        "HOME": str(home.state_dir),
        "TEMPORAL_ADDRESS": home.settings.temporal_address,
        "INVOICE": invoice.payment_request,
        "PAYMENT_HASH": invoice.payment_hash.hex(),
    }

    async def run(example: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", example),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        return stdout.decode()

    start, view, approve, result, found = re.findall(r"```sh\n(.*?)```", API, re.DOTALL)
    await run(start)
    await eventually(
        lambda: run(view), lambda text: "AWAITING_APPROVAL" in text, what="a person being asked"
    )
    await run(start)  # once more: it joins
    assert "AWAITING_APPROVAL" in await run(approve)
    receipt = json.loads(await run(result))["result"]
    assert receipt["warnings"] is None, "the temporal CLI's form of an empty list; said there"
    receipt["warnings"] = []
    valid(json.dumps(receipt), "receipt")
    assert (receipt["status"], receipt["initiated_by_this_run"]) == ("SUCCEEDED", True)
    await eventually(
        lambda: run(found), lambda text: invoice.payment_hash.hex() in text, what="the listing"
    )


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
