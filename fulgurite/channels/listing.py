"""A node's channels at this moment, for a person who asks."""

from __future__ import annotations

from fulgurite.calls import Call
from fulgurite.channels.watch import Sight
from fulgurite.identity import NodeName
from fulgurite.model import Model


class ListChannels(Model):
    """Say which channels the node has now."""

    node: NodeName


LIST_CHANNELS = Call("channels.list", ListChannels, Sight)
