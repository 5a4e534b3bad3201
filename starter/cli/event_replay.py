"""`fulgurite events replay`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import Progress

from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType
from starter.cli import event_rendering
from starter.cli.documents import ReplayReport
from starter.cli.exits import ExitCode
from starter.cli.options import moment
from starter.cli.progress import busy
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    print_json,
    wide,
    wide_err,
)
from starter.replay import EventReplay, replay_each
from starter.summaries import EventState

Type = Annotated[
    EventType | None,
    typer.Option("--type", metavar="TYPE", help="Only of this type, such as invoice.settled."),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 2026-01-31T12:00Z, or 2h for two hours ago."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then. [now]")]


@command
async def replay(
    event_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="One event; or give --since.")
    ] = None,
    *,
    type_: Type = None,
    since: Since = None,
    until: Until = None,
    dead_only: Annotated[
        bool, typer.Option("--dead", help="Only what is dead, to those who never took it.")
    ] = False,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only to this endpoint.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which events it would be, and do nothing.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Tells events again, by id or by time, under the ids that they had.

    A receiver that has one already knows it by its webhook-id. What is still being told has
    its next tries made at once.
    """
    if (event_id is None) == (since is None) or (event_id and (until or type_)):
        raise InvalidRequestError("give an event's id, or --since with --until and --type")
    client = await connected()
    if event_id:
        news = client.event(event_id)
        view = await news.view()
        if dry_run:
            return _told([EventReplay(id=news.event_id)], dry_run=True, as_json=as_json)
        if not force:
            err.print(event_rendering.receipt(view), soft_wrap=True)
        confirm(f"Tell it again to {endpoint or 'its endpoints'}?", force=force)
        did = await news.replay(endpoint=endpoint, dead_only=dead_only)
        return _told([EventReplay(id=news.event_id, did=did)], dry_run=False, as_json=as_json)

    async with busy(err, "looking for events", hint="Still looking.", quiet=as_json):
        found = [
            event
            async for event in client.events(
                type=type_,
                state=EventState.DEAD if dead_only else None,
                since=moment("--since", since),
                # What is told again begins anew, and must not be found by this search.
                until=moment("--until", until) or datetime.now(UTC),
                limit=None,
            )
        ]
    if dry_run or not found:
        return _told(
            [EventReplay(id=event.id) for event in found], dry_run=dry_run, as_json=as_json
        )
    if not force:
        wide_err.print(event_rendering.summaries(found))
    confirm(f"Tell these {len(found):,} again to {endpoint or 'their endpoints'}?", force=force)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("telling again", total=len(found))
        done = await replay_each(
            client,
            found,
            endpoint=endpoint,
            dead_only=dead_only,
            on_each=lambda _: progress.advance(bar),
        )
    return _told(done, dry_run=False, as_json=as_json)


def _told(events: Sequence[EventReplay], *, dry_run: bool, as_json: bool) -> ExitCode:
    if as_json:
        print_json(ReplayReport(dry_run=dry_run, events=tuple(events)))
    else:
        wide.print(event_rendering.replayed(events, dry_run=dry_run))
    return ExitCode.DONE
