"""What who wants a turn asks of the world."""

from __future__ import annotations

from fulgurite.calls import Call
from fulgurite.identity import NodeName
from fulgurite.model import Model
from fulgurite.turns.requests import Ask


class AskForTurn(Model):
    """Hand the ask to `turns/<node>`, which is started where it does not run."""

    node: NodeName
    ask: Ask


class Asked(Model):
    """The ask is in the book, or soon will be: it cannot be lost any more."""


ASK_FOR_TURN = Call("turns.ask", AskForTurn, Asked)
