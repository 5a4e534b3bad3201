"""The configured nodes, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from fulgurite.errors import (
    FulguriteError,
    UnknownNodeError,
    UnsupportedVersionError,
    WrongNetworkError,
)
from nodes.config import LndConfig
from nodes.lnd.connection import LndConnection
from nodes.lnd.invoices import LndInvoices
from nodes.lnd.payments import LndPayments
from nodes.roles import Role


class Nodes:
    """Connections for as long as the process lives. Each is made when first asked for."""

    def __init__(self, configs: Mapping[str, LndConfig]) -> None:
        self._connections = {name: LndConnection(name, config) for name, config in configs.items()}
        self._payments: dict[str, LndPayments] = {}
        self._invoices: dict[str, LndInvoices] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._connections)

    def connection(self, name: str) -> LndConnection:
        """Raises UnknownNodeError, which names the nodes there are."""
        try:
            return self._connections[name]
        except KeyError:
            known = ", ".join(sorted(self._connections)) or "none"
            raise UnknownNodeError(
                f"no node {name!r} is configured (known: {known}): check FULGURITE_NODES__…"
            ) from None

    def payments(self, name: str) -> LndPayments:
        """Raises UnknownNodeError, and CredentialError without a pay macaroon."""
        if name not in self._payments:
            self._payments[name] = LndPayments(self.connection(name))
        return self._payments[name]

    def invoices(self, name: str) -> LndInvoices:
        """Raises UnknownNodeError, and CredentialError without an invoice macaroon."""
        if name not in self._invoices:
            self._invoices[name] = LndInvoices(self.connection(name))
        return self._invoices[name]

    def paying(self) -> list[str]:
        """The nodes whose pay credential this process holds."""
        return [name for name, node in self._connections.items() if node.holds(Role.PAY)]

    def receiving(self) -> list[str]:
        """The nodes whose invoice credential this process holds."""
        return [name for name, node in self._connections.items() if node.holds(Role.INVOICE)]

    async def check(self) -> dict[str, str]:
        """For each node "ok", or what is wrong with it and what to do."""

        async def word(connection: LndConnection) -> str:
            try:
                await connection.check()
            except FulguriteError as error:
                return str(error)
            return "ok"

        words = await asyncio.gather(*map(word, self._connections.values()))
        return dict(zip(self._connections, words, strict=True))

    async def refuse_strangers(self) -> None:
        """Raises when a node that answers is of another network or too old to pay once."""
        checks = (connection.check() for connection in self._connections.values())
        for outcome in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(outcome, WrongNetworkError | UnsupportedVersionError):
                raise outcome

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        self._payments.clear()
        self._invoices.clear()
