"""What a person reads of events and of their deliveries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.text import Text

from fulgurite.events.delivery import DeliveryState, DeliveryStatus, EventReceipt
from starter.cli.rendering import Columns, ended_by_force, fields, time_of
from starter.event import Replayed
from starter.replay import EventReplay
from starter.summaries import EventState, EventSummary

_COLORS: dict[str, str] = {
    EventState.DELIVERED: "green",
    EventState.DEAD: "bold red",
    EventState.SENDING: "cyan",
    DeliveryState.WAITING: "cyan",
}

_STATE_WIDTH = max(map(len, DeliveryState))

_WORDS: dict[Replayed, str] = {
    Replayed.STARTED_AGAIN: "told again",
    Replayed.SENT_NOW: "under way, sent now",
    Replayed.LEFT_ALONE: "left alone",
}


def summaries(found: Iterable[EventSummary]) -> Columns:
    """One line an event."""
    rows = Columns("at (UTC)", "state", "node", "id")
    for event in found:
        state = _colored(event.state)
        state.append_text(ended_by_force(event.workflow_status))
        rows.add_row(f"{event.started_at:%m-%d %H:%M:%S}", state, event.node or "", event.id)
    return rows


def receipt(receipt: EventReceipt) -> Text:
    """An event, and how each of its deliveries stands."""
    event = receipt.event
    return Text("\n").join(
        [
            Text.assemble((event.type, "bold"), f"  {event.node}"),
            fields([("id", event.id), ("of", event.resource), ("at", time_of(event.timestamp))]),
            Text(),
            *(delivery(each) for each in receipt.deliveries),
        ]
    )


def delivery(status: DeliveryStatus) -> Text:
    """One endpoint's, with what went wrong and when the next try is."""
    words = [f"{status.tries} {'try' if status.tries == 1 else 'tries'}"]
    if status.delivered_at:
        words.append(time_of(status.delivered_at))
    if status.next_try_at:
        words.append(f"next {time_of(status.next_try_at)}")
    state = _colored(status.state)
    state.pad_right(_STATE_WIDTH - state.cell_len)
    line = Text.assemble("  ", state, f"  {status.endpoint}  {', '.join(words)}")
    if status.last_problem and status.state is not DeliveryState.DELIVERED:
        line.append(f"\n    {status.last_problem}", style="dim")
    return line


def replayed(events: Sequence[EventReplay], *, dry_run: bool) -> Text:
    """What a replay did or would do; and why it did nothing where it did not."""
    if not events:
        return Text("No such events.")
    if dry_run:
        would = f"{len(events):,} would be told again. This was a dry run: nobody has been told."
        return Text("\n").join([*(Text(event.id) for event in events), Text(would, style="dim")])
    did = Counter(_WORDS[event.did] for event in events if event.did)
    lines = [Text(f"{count:,} {words}") for words, count in did.items()]
    lines += [Text(f"{each.id}: {each.problem}", style="red") for each in events if each.problem]
    return Text("\n").join(lines)


def _colored(state: EventState | DeliveryState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))
