"""A node's channels, asked for by a command."""

from __future__ import annotations

from fulgurite.errors import FulguriteError
from starter.channels import NodeChannels
from starter.cli.progress import busy
from starter.cli.running import err
from starter.client import FulguriteClient


async def present_channels(
    client: FulguriteClient, node: str, *, must: bool, quiet: bool
) -> NodeChannels | None:
    """LND's present word. Unless it `must` be had, None where it cannot, and a line that says so.

    Raises what `FulguriteClient.channels` does.
    """
    try:
        async with busy(err, "asking the node", hint="The node has to answer.", quiet=quiet):
            return await client.channels(node)
    except FulguriteError as error:
        if must:
            raise
        err.print(f"What is at stake cannot be shown: {error}", soft_wrap=True)
        return None
