"""The command `fulgurite`, as tests run it, and what it prints held against its schema."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import jsonschema
from typer.testing import CliRunner, Result

from devnet.house import ROOT
from starter.cli.main import app
from starter.schemas import FOLDER


@dataclass(frozen=True)
class Command:
    """`fulgurite`, configured for the house."""

    environment: dict[str, str]

    async def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """Runs it in this process. `answer` is what stdin holds; None: nothing, at once."""
        return await asyncio.to_thread(
            CliRunner(env=self.environment).invoke, app, list(arguments), input=answer
        )

    async def process(self, *arguments: str) -> asyncio.subprocess.Process:
        """Starts it as a process of its own, to be interrupted."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter.cli", *arguments),
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def until_it_says(command: asyncio.subprocess.Process, words: str) -> str:
    """What a command under way has written to stderr, up to and with these words."""
    assert command.stderr
    said = ""
    while words not in said:
        line = await command.stderr.readline()
        assert line, f"it ended without {words!r}: {said}"
        said += line.decode()
    return said


def valid(text: str, name: str) -> Any:
    """The JSON document, valid by the published schema `name`."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    document = json.loads(text)
    jsonschema.validate(
        document, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return document
