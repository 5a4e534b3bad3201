"""What stands between the examples is finished, and could be typed as it stands."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from enum import StrEnum
from pathlib import Path

import pytest

import fulgurite
from devnet.house import ROOT
from starter.client import FulguriteClient

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def words_of_ours() -> set[str]:
    """Every state, kind and reason that there is."""
    for module in pkgutil.walk_packages(fulgurite.__path__, "fulgurite."):
        importlib.import_module(module.name)
    return {str(word) for kind in StrEnum.__subclasses__() for word in kind}


@every_page
def test_no_figure_is_still_to_come(page: Path) -> None:
    """A word in capitals, alone in its line or cell, waits for what somebody would measure."""
    alone = re.findall(r"^\s*([A-Z][A-Z_]{3,})\s*$", prose(page), re.MULTILINE)
    in_cells = re.findall(r"(?<=\|) *([A-Z][A-Z_]{3,}) *(?=\|)", prose(page))
    assert (alone, set(in_cells) - words_of_ours()) == ([], set())


@every_page
def test_what_is_said_of_the_client_in_passing_awaits_what_must_be_awaited(page: Path) -> None:
    for said in re.findall(r"`([^`\n]*\bclient\.[^`\n]*)`", prose(page)):
        code = ast.parse(said, mode="eval", feature_version=(3, 11))
        awaited = {each.value for each in ast.walk(code) if isinstance(each, ast.Await)}
        for used in ast.walk(code):
            if isinstance(used, ast.Attribute) and isinstance(used.value, ast.Call):
                assert used.value in awaited or not is_coroutine(used.value), said


def is_coroutine(call: ast.Call) -> bool:
    """Whether it is a call of a client's method that is a coroutine function."""
    asked = call.func
    return isinstance(asked, ast.Attribute) and inspect.iscoroutinefunction(
        getattr(FulguriteClient, asked.attr, None)
    )
