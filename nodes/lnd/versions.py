"""Which LND we can work with, and which feature asks for it."""

from __future__ import annotations

import re
from typing import NamedTuple

from fulgurite.errors import UnsupportedVersionError


class Version(NamedTuple):
    """lnd's major.minor.patch; suffixes such as -beta carry no order that matters here."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


# Feature → the first version that has it as we use it.
NEEDED_FOR: dict[str, Version] = {
    "the State service, to tell a node that is starting from one that is down": Version(0, 13, 0),
    "several outgoing channels for one payment": Version(0, 11, 0),
    "time preference between fee and reliability": Version(0, 15, 0),
    "ALREADY_EXISTS for a payment under way, on which paying once rests": Version(0, 18, 0),
}


def parse(text: str) -> Version:
    """From GetInfo's `version`, such as `0.21.2-beta commit=v0.21.2-beta`."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if not found:
        raise UnsupportedVersionError(f"cannot read LND's version from {text!r}")
    return Version(*map(int, found.groups()))


def require(node: str, text: str) -> Version:
    """The node's version, when it has everything we use; else UnsupportedVersionError."""
    version = parse(text)
    for feature, needed in NEEDED_FOR.items():
        if version < needed:
            raise UnsupportedVersionError(
                f"{node} runs LND {version}; {feature} needs {needed}: upgrade the node"
            )
    return version
