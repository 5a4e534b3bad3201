"""The configured nodes, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from fulgurite.errors import (
    CredentialError,
    FulguriteError,
    UnknownNodeError,
    UnsupportedVersionError,
    WrongNetworkError,
)
from nodes.config import LndConfig
from nodes.lnd.chain import LndChain
from nodes.lnd.channels import LndChannels
from nodes.lnd.closing import LndClosing
from nodes.lnd.connection import LndConnection
from nodes.lnd.forwarding import LndForwarding
from nodes.lnd.invoices import LndInvoices
from nodes.lnd.payments import LndPayments
from nodes.lnd.routes import LndRoutes
from nodes.loop.connection import LoopConnection
from nodes.loop.swaps import LoopSwaps
from nodes.pool.connection import PoolConnection
from nodes.pool.trader import PoolTrader
from nodes.roles import Role


class Nodes:
    """Connections for as long as the process lives. Each is made when first asked for."""

    def __init__(self, configs: Mapping[str, LndConfig]) -> None:
        self._connections = {name: LndConnection(name, config) for name, config in configs.items()}
        self._payments: dict[str, LndPayments] = {}
        self._invoices: dict[str, LndInvoices] = {}
        self._chains: dict[str, LndChain] = {}
        self._channels: dict[str, LndChannels] = {}
        self._closings: dict[str, LndClosing] = {}
        self._routes: dict[str, LndRoutes] = {}
        self._loops = {
            name: LoopSwaps(LoopConnection(name, config.loop))
            for name, config in configs.items()
            if config.loop is not None
        }
        self._pools = {
            name: PoolTrader(PoolConnection(name, config.pool))
            for name, config in configs.items()
            if config.pool is not None
        }

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

    def chain(self, name: str) -> LndChain:
        """Raises UnknownNodeError, and CredentialError without an observe macaroon."""
        if name not in self._chains:
            self._chains[name] = LndChain(self.connection(name))
        return self._chains[name]

    def channels(self, name: str) -> LndChannels:
        """Raises UnknownNodeError, and CredentialError without an observe macaroon."""
        if name not in self._channels:
            self._channels[name] = LndChannels(self.connection(name))
        return self._channels[name]

    def forwarding(self, name: str) -> LndForwarding:
        """Raises UnknownNodeError, and CredentialError without an observe macaroon."""
        return LndForwarding(self.connection(name))

    def closing(self, name: str) -> LndClosing:
        """Raises UnknownNodeError, and CredentialError without both macaroons it needs."""
        if name not in self._closings:
            self._closings[name] = LndClosing(self.connection(name))
        return self._closings[name]

    def routes(self, name: str) -> LndRoutes:
        """Raises UnknownNodeError, and CredentialError without a pay macaroon."""
        if name not in self._routes:
            self._routes[name] = LndRoutes(self.connection(name))
        return self._routes[name]

    def loop(self, name: str) -> LoopSwaps:
        """Raises UnknownNodeError, and CredentialError where the node has no loopd."""
        self.connection(name)
        try:
            return self._loops[name]
        except KeyError:
            raise CredentialError(
                f"{name}: no loopd is configured: set nodes.{name}.loop, with its tls_cert_path "
                "and macaroon_path"
            ) from None

    def pool(self, name: str) -> PoolTrader:
        """Raises UnknownNodeError, and CredentialError where the node has no poold."""
        self.connection(name)
        try:
            return self._pools[name]
        except KeyError:
            raise CredentialError(
                f"{name}: no poold is configured: set nodes.{name}.pool, with its tls_cert_path "
                "and macaroon_path"
            ) from None

    def paying(self) -> list[str]:
        """The nodes whose pay credential this process holds."""
        return [name for name, node in self._connections.items() if node.holds(Role.PAY)]

    def receiving(self) -> list[str]:
        """The nodes whose invoice credential this process holds."""
        return [name for name, node in self._connections.items() if node.holds(Role.INVOICE)]

    def observing(self) -> list[str]:
        """The nodes whose observe credential this process holds."""
        return [name for name, node in self._connections.items() if node.holds(Role.OBSERVE)]

    def closing_nodes(self) -> list[str]:
        """The nodes whose close credential this process holds, and the observe one besides."""
        return [
            name
            for name, node in self._connections.items()
            if node.holds(Role.CLOSE) and node.holds(Role.OBSERVE)
        ]

    def rebalancing(self) -> list[str]:
        """The nodes whose pay, invoice and observe credentials this process holds."""
        needed = (Role.PAY, Role.INVOICE, Role.OBSERVE)
        return [name for name, node in self._connections.items() if all(map(node.holds, needed))]

    def swapping(self) -> list[str]:
        """The nodes whose loop credential this process holds, and the observe one besides."""
        return [name for name in self._loops if self._connections[name].holds(Role.OBSERVE)]

    def leasing(self) -> list[str]:
        """The nodes whose pool credential this process holds, and the observe one besides."""
        return [name for name in self._pools if self._connections[name].holds(Role.OBSERVE)]

    async def check(self) -> dict[str, str]:
        """For each node "ok", or what is wrong with it and what to do."""
        return await _words(self._connections)

    async def check_loops(self) -> dict[str, str]:
        """The same for each loopd."""
        return await _words({name: loop.connection for name, loop in self._loops.items()})

    async def check_pools(self) -> dict[str, str]:
        """The same for each poold."""
        return await _words({name: pool.connection for name, pool in self._pools.items()})

    async def refuse_strangers(self) -> None:
        """Raises when a node that answers is of another network or too old to pay once."""
        checks = (connection.check() for connection in self._connections.values())
        for outcome in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(outcome, WrongNetworkError | UnsupportedVersionError):
                raise outcome

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        for loop in self._loops.values():
            await loop.connection.close()
        for pool in self._pools.values():
            await pool.connection.close()
        for made in (
            *(self._payments, self._invoices),
            *(self._chains, self._channels, self._closings, self._routes),
        ):
            made.clear()


class _Checked(Protocol):
    async def check(self) -> object: ...


async def _words(connections: Mapping[str, _Checked]) -> dict[str, str]:
    async def word(connection: _Checked) -> str:
        try:
            await connection.check()
        except FulguriteError as error:
            return str(error)
        return "ok"

    words = await asyncio.gather(*map(word, connections.values()))
    return dict(zip(connections, words, strict=True))
