"""Which calls were made of which node, so that a test can say how many that were."""

from __future__ import annotations

from collections import Counter


class Calls:
    """Every call that reached a node that was ready, refused ones included.

    A stream counts once, when it begins. Methods go by their short names.
    """

    def __init__(self) -> None:
        self._made: Counter[tuple[str, str]] = Counter()

    def made(self, node: str, method: str) -> None:
        self._made[node, method] += 1

    def count(self, node: str | None = None, method: str | None = None) -> int:
        """How many; of one node, of one method, or of all."""
        return sum(
            count
            for (at, of), count in self._made.items()
            if node in (None, at) and method in (None, of)
        )

    def by_method(self, node: str | None = None) -> Counter[str]:
        """How many of each method, at one node or at all."""
        methods: Counter[str] = Counter()
        for (at, method), count in self._made.items():
            if node in (None, at):
                methods[method] += count
        return methods

    def forget(self) -> None:
        """Counts from zero again."""
        self._made.clear()
