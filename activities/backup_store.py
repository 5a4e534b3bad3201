"""Where static channel backups are kept: a folder, or a bucket of an S3-compatible store.

Credentials come from the environment, as the store's own tools read them (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT`, `AWS_REGION`, …), and never from a URL.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from temporalio import activity

from fulgurite.errors import BackupError
from fulgurite.identity import NodeName

# What a person looks for: lnd's own name for it.
LATEST: Final = "channel.backup"
# Every backup is kept beside it, because one of a node that has lost its channels is smaller
# than the one that would have saved them.
KEPT: Final = 100

_RETRYING: Final = timedelta(seconds=30)


class BackupStore:
    """One node's folder, `<url>/<node>/`. Each object is replaced whole or not at all."""

    def __init__(self, url: str, node: NodeName) -> None:
        """Raises BackupError where the store cannot be used at all."""
        self._node = node
        try:
            self._store = _store(url)
        except (BaseError, OSError, ValueError) as error:
            raise BackupError(f"the backup store cannot be opened: {_line(error)}") from error

    async def keep(self, backup: bytes, at: datetime) -> tuple[bytes, str]:
        """Stores it; what is there now, read back, and under which name. Raises BackupError."""
        name = f"{self._node}/{at.astimezone(UTC):%Y-%m-%dT%H%M%S.%fZ}.backup"
        latest = f"{self._node}/{LATEST}"
        try:
            await obstore.put_async(self._store, name, backup)
            # Only what is certainly there may take the place of the one before.
            if await self._read(name) == backup:
                await obstore.put_async(self._store, latest, backup)
            there = await self._read(latest)
        except (BaseError, OSError, ValueError) as error:
            raise BackupError(f"the backup cannot be stored: {_line(error)}") from error
        if there != backup:
            raise BackupError("the store gives back something else than was stored")
        await self._tidy_up()
        return there, latest

    async def _read(self, name: str) -> bytes:
        found = await obstore.get_async(self._store, name)
        return bytes(await found.bytes_async())

    async def _tidy_up(self) -> None:
        """The oldest go. That they stay is no reason for anything."""
        try:
            listed = await obstore.list(self._store, self._node).collect_async()
            names = sorted(each["path"] for each in listed)
            dated = [name for name in names if name != f"{self._node}/{LATEST}"]
            if old := dated[:-KEPT]:
                await obstore.delete_async(self._store, old)
        except (BaseError, OSError, ValueError) as error:
            activity.logger.warning("old backups stay", extra={"because": _line(error)})


def _store(url: str) -> LocalStore | S3Store:
    if url.startswith("file:"):
        return LocalStore(Path(unquote(urlsplit(url).path)), mkdir=True)
    # Nothing of the client's own options: they would take the place of the environment's.
    return S3Store.from_url(url, retry_config={"max_retries": 3, "retry_timeout": _RETRYING})


def _line(error: Exception) -> str:
    """The store's library explains itself on many lines."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
