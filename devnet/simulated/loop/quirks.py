"""What can be ordered to go wrong between loopd and its server. Seen on the real ones."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Quirks:
    """Trouble for swaps to come. Calls are troubled by `devnet.simulated.faults`.

    `server_words`: how the server refuses the next swaps. `orphans`: so many of the next swaps
    are stored and not run, and their calls end as if they had been cut off. `hidden_lists`: the
    next so many lists leave the newest swap out, while it is under way.
    """

    server_words: deque[str] = field(default_factory=deque)
    server_away: bool = False
    withholds_htlc: bool = False  # out: it is paid, and publishes nothing
    withholds_payment: bool = False  # in: it sees our HTLC, and pays nothing
    orphans: int = 0
    hidden_lists: int = 0

    def clear(self) -> None:
        """Back to a world without trouble."""
        self.server_words.clear()
        self.server_away = self.withholds_htlc = self.withholds_payment = False
        self.orphans = self.hidden_lists = 0
