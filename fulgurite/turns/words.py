"""A node's turns in words, for who looks."""

from __future__ import annotations

from fulgurite.turns.book import Book


def details(book: Book) -> str:
    """Markdown for the Temporal UI."""
    lines = [
        f"- **{holder}** has {_channels(len(turn.ask.channels))} since "
        f"{turn.since.isoformat(timespec='seconds')}, at most until "
        f"{turn.until.isoformat(timespec='seconds')}"
        for holder, turn in book.held.items()
    ]
    lines += [
        f"- {ask.holder} waits for {_channels(len(ask.channels))}" + ", urgently" * ask.urgent
        for ask in book.waiting
    ]
    return "\n".join(lines) or "nobody has a turn"


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"
