"""The book of one node's turns: sets of channels, granted whole, first come first served.

An ask is granted when none of its channels is another's, and nobody who came before it waits
for any of them. So a set is taken at once or not at all, which leaves no room for two who each
have what the other waits for; and whoever wants many channels is not passed by those who want
one, for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from fulgurite.turns.requests import Ask, Turn, Wanted


class Book(BaseModel):
    """Who holds and who waits. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    held: dict[str, Turn] = {}  # by holder
    waiting: list[Ask] = []  # in the order in which they are served

    def ask(self, ask: Ask, at: datetime) -> Turn | None:
        """Hears an ask. The turn, where its holder has it already: it is renewed.

        A holder has one turn and one place: the same ask again keeps both, and another set of
        channels gives both back.
        """
        self.expire(at)
        turn = self.held.get(ask.holder)
        if turn and turn.ask.channels == ask.channels:
            until = at + timedelta(seconds=ask.seconds)
            renewed = Turn(ask=ask, since=turn.since, until=until)
            self.held[ask.holder] = renewed
            return renewed
        self.held.pop(ask.holder, None)
        for place, other in enumerate(self.waiting):
            if other.holder == ask.holder:
                if (other.channels, other.urgent) == (ask.channels, ask.urgent):
                    self.waiting[place] = ask
                    return None
                del self.waiting[place]
                break
        self.waiting.insert(self._place(ask), ask)
        return None

    def give_back(self, holder: str) -> None:
        """The turn, and the place of who waits."""
        self.held.pop(holder, None)
        self.waiting = [ask for ask in self.waiting if ask.holder != holder]

    def expire(self, at: datetime) -> None:
        """Takes the turns whose time is over: their holders have ended without a word."""
        self.held = {holder: turn for holder, turn in self.held.items() if not turn.over(at)}

    def grant(self, at: datetime) -> list[Turn]:
        """Everybody whose turn it is now, in order."""
        self.expire(at)
        taken = {point for turn in self.held.values() for point in turn.ask.channels}
        granted, still_waiting = [], []
        for ask in self.waiting:
            if taken.isdisjoint(ask.channels):
                until = at + timedelta(seconds=ask.seconds)
                self.held[ask.holder] = Turn(ask=ask, since=at, until=until)
                granted.append(self.held[ask.holder])
            else:
                still_waiting.append(ask)
            # What somebody waits for is as good as taken for who comes after.
            taken.update(ask.channels)
        self.waiting = still_waiting
        return granted

    def in_the_way(self) -> dict[str, Wanted]:
        """The holders for whose channels somebody waits, and who does; the most urgent one."""
        wanted: dict[str, Wanted] = {}
        for ask in self.waiting:
            for holder, turn in self.held.items():
                if set(turn.ask.channels) & set(ask.channels):
                    wanted.setdefault(holder, Wanted(by=ask.holder, urgent=ask.urgent))
        return wanted

    def next_end(self) -> datetime | None:
        """When the first turn is over by itself."""
        return min((turn.until for turn in self.held.values()), default=None)

    @property
    def empty(self) -> bool:
        return not self.held and not self.waiting

    def _place(self, ask: Ask) -> int:
        """At the end; who is urgent, behind the others who are."""
        if not ask.urgent:
            return len(self.waiting)
        return sum(other.urgent for other in self.waiting)
