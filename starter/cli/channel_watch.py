"""`fulgurite channel watch`: what happens to a node's channels, as it happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

import settings as configuration
from fulgurite.channels.watch import WatchState, WatchView
from fulgurite.identity import ChannelPoint
from starter.cli import channel_rendering
from starter.cli.exits import ExitCode
from starter.cli.options import only_node
from starter.cli.rendering import fields, time_of
from starter.cli.running import Json, command, connected, err, out, print_json
from starter.client import FulguriteClient
from starter.errors import NotRetainedError, TemporalUnavailableError, WorkerUnavailableError

_PAUSE_AFTER_TROUBLE_SECONDS = 2.0

_COLORS: dict[WatchState, str] = {
    WatchState.WATCHING: "green",
    WatchState.BACKUP_FAILING: "bold red",
}

Lines = list[Text]


@command
async def watch(
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="Whose channels. Not needed where one node is configured.",
        ),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Tells of closures, of peers that are away, and of the backup, until Ctrl-C.

    With --json one document a line, whenever something has changed.
    """
    client = await connected()
    watched = client.channel_watch(node or only_node(configuration.load(), "is watched"))
    before: WatchView | None = None
    with suppress(asyncio.CancelledError):  # Ctrl-C
        while True:
            try:
                async for view in watched.watch():
                    if as_json:
                        print_json(view)
                    else:
                        await _tell(client, before, view)
                    before = view
            except (TemporalUnavailableError, WorkerUnavailableError) as error:
                err.print(f"{error}", style="yellow", soft_wrap=True)
                await asyncio.sleep(_PAUSE_AFTER_TROUBLE_SECONDS)
    return ExitCode.DONE


async def _tell(client: FulguriteClient, before: WatchView | None, view: WatchView) -> None:
    if before is None:
        out.print(_picture(view), soft_wrap=True)
    closing = set(before.watched.closing) if before else set()
    for point in sorted(set(view.watched.closing) - closing):
        await _tell_closing(client, view, point, "is closing")
    if before is None:
        return
    for point in sorted(closing - set(view.watched.closing)):
        await _tell_closing(client, view, point, "has closed")
    for line in _differences(before, view):
        _say(line)


async def _tell_closing(
    client: FulguriteClient, view: WatchView, point: ChannelPoint, words: str
) -> None:
    _say(Text.assemble((words, "bold yellow"), f"  {point}"))
    # Its own workflow may not have begun yet, or be forgotten.
    with suppress(NotRetainedError):
        closing = await client.channel_close(point, node=view.node)
        out.print(channel_rendering.closing(await closing.view()), soft_wrap=True)


def _differences(before: WatchView, view: WatchView) -> Lines:
    """What two looks after each other tell, beside what closes."""
    was, now = before.watched, view.watched
    lines = [Text(f"new       {point}", "green") for point in sorted({*now.open} - {*was.open})]
    lines += [
        Text(f"away      {point}, its peer does not answer", "bold yellow")
        for point in sorted({*now.away_since} - {*was.away_since})
    ]
    lines += [
        Text(f"back      {point}", "green")
        for point in sorted(({*was.away_since} - {*now.away_since}) & {*now.open})
    ]
    if before.backup_fails_since is None and view.backup_fails_since:
        lines.append(Text(f"backup    {_backup(view)}", "bold red"))
    elif view.backed_up_at != before.backed_up_at:
        lines.append(Text(f"backup    {_backup(view)}", "green"))
    return lines


def _picture(view: WatchView) -> Text:
    """How the watch stands when somebody begins to look."""
    watched = view.watched
    away = ", ".join(f"{point} since {time_of(at)}" for point, at in watched.away_since.items())
    return Text("\n").join(
        [
            Text.assemble(
                (view.state, _COLORS.get(view.state, "cyan")), f"  channels of {view.node}"
            ),
            fields(
                [
                    ("open", f"{len(watched.open):,}"),
                    ("opening", f"{len(watched.opening):,}" if watched.opening else None),
                    ("closing", f"{len(watched.closing):,}, {view.closings:,} seen in all"),
                    ("away", away),
                    ("backup", _backup(view)),
                ]
            ),
        ]
    )


def _backup(view: WatchView) -> str:
    """Whether what would be restored from is up to date."""
    last = view.backup
    if last is None:
        return "none yet"
    if not last.wanted:
        return "none wanted: the node has no channel_backup_url"
    kept = f"kept {time_of(view.backed_up_at)}" if view.backed_up_at else "never kept"
    if view.backup_fails_since:
        return f"failing since {time_of(view.backup_fails_since)}: {last.because}; {kept}"
    return f"{last.channels} channels, {kept}, {last.place}"


def _say(line: Text) -> None:
    out.print(Text(f"{datetime.now(UTC):%H:%M:%S}  ", "dim") + line, soft_wrap=True)
