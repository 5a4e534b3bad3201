"""`fulgurite events …`: what happened, who was told, and telling it again."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from starter.cli import event_rendering
from starter.cli.event_replay import Since, Type, Until, replay
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.lists import Limit, listed
from starter.cli.options import moment
from starter.cli.running import Json, command, connected, err, out, print_json
from starter.summaries import EventState

app = typer.Typer(help="Events, their webhooks, and replay.", no_args_is_help=True)
app.command(epilog=EPILOG)(replay)


@app.command("list", epilog=EPILOG)
@command
async def list_(
    *,
    type_: Type = None,
    state: Annotated[
        EventState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists events: those being told, then the latest ended. With --json one document a line."""
    client = await connected()
    found = client.events(
        type=type_,
        state=state,
        since=moment("--since", since),
        until=moment("--until", until),
        limit=limit,
    )
    return await listed(
        found,
        limit,
        event_rendering.summaries,
        nothing="No events: nothing happened, or no endpoint wanted it. Temporal's index may be "
        "a second behind.",
        as_json=as_json,
    )


@app.command(epilog=EPILOG)
@command
async def dead(
    *,
    type_: Type = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists dead letters, with what went wrong. With --json one document a line."""
    client = await connected()
    found = client.events(
        type=type_,
        state=EventState.DEAD,
        since=moment("--since", since),
        until=moment("--until", until),
        limit=limit,
    )
    count = 0
    async for summary in found:
        receipt = await client.event(summary.id).view()
        count += 1
        if as_json:
            print_json(receipt)
        else:
            out.print(event_rendering.receipt(receipt), Text(), sep="\n", soft_wrap=True)
    if not as_json:
        err.print("To tell one again: fulgurite events replay ID" if count else "No dead letters.")
    return ExitCode.DONE


@app.command(epilog=EPILOG)
@command
async def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    as_json: Json = False,
) -> ExitCode:
    """Shows an event and its deliveries; with --json also what it says."""
    receipt = await (await connected()).event(event_id).view()
    if as_json:
        print_json(receipt)
    else:
        out.print(event_rendering.receipt(receipt), soft_wrap=True)
    return ExitCode.DONE
