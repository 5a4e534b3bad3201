"""What these tests share: the command, in this process and in one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from devnet.house import ROOT, House
from settings import CONFIG_VARIABLE
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


@pytest.fixture
def fulgurite(home: House) -> Command:
    return Command({CONFIG_VARIABLE: str(home.config_path)})


def valid(text: str, name: str) -> Any:
    """The JSON document, valid by the published schema `name`."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    document = json.loads(text)
    jsonschema.validate(
        document, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return document
