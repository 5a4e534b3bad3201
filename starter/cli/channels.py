"""`fulgurite channel …`: channels open, closing, and watched."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

import settings as configuration
from starter.channels import NodeChannels
from starter.cli import channel_rendering
from starter.cli.channel_close import close
from starter.cli.channel_looking import present_channels
from starter.cli.channel_watch import watch
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.options import only_node
from starter.cli.running import Json, command, connected, err, print_json, wide

app = typer.Typer(help="Channels: what they hold, and how they end.", no_args_is_help=True)
app.command(epilog=EPILOG)(close)
app.command(epilog=EPILOG)(watch)


@app.command("list", epilog=EPILOG)
@command
async def list_(
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="Whose channels. Not needed where one node is configured.",
        ),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Lists a node's channels, open, opening and closing, as LND has them now."""
    client = await connected()
    name = node or only_node(configuration.load(), "has them")
    found = await present_channels(client, name, must=True, quiet=as_json)
    assert found is not None  # it must be had
    if as_json:
        print_json(found)
    else:
        _show(found)
    return ExitCode.DONE


def _show(found: NodeChannels) -> None:
    tip = found.tip.height if found.tip else None
    if found.open:
        wide.print(channel_rendering.open_channels(found.open, tip))
    else:
        err.print(f"{found.node} has no open channel.")
    for point in found.opening:
        wide.print(Text(f"opening   {point}", "cyan"))
    if found.closing:
        wide.print(Text(), channel_rendering.closings(found.closing), sep="\n")
    if tip is not None:
        err.print(f"at block {tip:,}", style="dim")
