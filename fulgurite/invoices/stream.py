"""What a node's invoice stream must not forget.

An index is a hint and the list is the truth: settle_index has been seen reset by a
migration, add_index has gaps, and a cursor that is ahead of the node makes lnd drop what is
new. So every (re)connection lists first what could have been missed.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName
from fulgurite.model import Model


class Cursor(Model):
    """How far a node's invoices are known. Carried by heartbeats and by continue-as-new."""

    add_index: int = Field(default=0, description="the highest seen")
    settle_index: int = Field(default=0, description="the highest seen")
    pending_from: int = Field(
        default=0, description="below this add_index every invoice has ended and was told"
    )
    settled_through: datetime = Field(
        description="settlements before this, by LND's clock, have been told; later ones may have"
    )


class Listen(Model):
    """Listen to a node's invoices until `until`."""

    node: NodeName
    cursor: Cursor
    until: datetime


class Listened(Model):
    """How far it came, and what happened on the way."""

    cursor: Cursor
    settlements: int = Field(default=0, description="told, duplicates not counted")
    reconnections: int = 0
    resets: int = Field(default=0, description="the node's indices went back")


LISTEN = Call("invoices.listen", Listen, Listened)
