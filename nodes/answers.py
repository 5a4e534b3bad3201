"""How a daemon's table of errors is read. The tables are beside each daemon's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc

from fulgurite.errors import FulguriteError


@dataclass(frozen=True)
class Row:
    """An error and what its reader should do; `text` None matches by code alone."""

    code: grpc.StatusCode | None
    text: str | None
    error: type[FulguriteError]
    advice: str

    def says(self, code: grpc.StatusCode, text: str) -> bool:
        """`text` is a part of what the daemon said, in lower case."""
        return (self.code is None or self.code is code) and (self.text is None or self.text in text)


AnyRow = TypeVar("AnyRow", bound=Row)


def row_of(table: Sequence[AnyRow], error: grpc.aio.AioRpcError, *, unknown: AnyRow) -> AnyRow:
    """The first that fits."""
    code, text = error.code(), (error.details() or "").lower()
    return next((row for row in table if row.says(code, text)), unknown)


def message_of(whose: str, error: grpc.aio.AioRpcError, row: Row) -> str:
    """What was said, quoted, and what to do: the daemons put no secret into an error."""
    return f"{whose}: {error.details() or error.code().name}. {row.advice}".rstrip()


def told_by(
    domain_error: Callable[[str, grpc.aio.AioRpcError], FulguriteError],
) -> Callable[[str], AbstractContextManager[None]]:
    """A context that raises what gRPC raises inside as what it means to a node's daemon."""

    @contextmanager
    def domain_errors(node: str) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise domain_error(node, error) from error

    return domain_errors
