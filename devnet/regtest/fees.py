"""What lnd is told that a block takes: by itself it knows nothing of a chain without traffic."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from devnet.processes import free_ports

# What lnd takes for granted where btcd cannot tell; so nothing changes until somebody says so.
USUAL_SAT_PER_VBYTE: Final = 25
_LEAST_SAT_PER_VBYTE: Final = 1
_VBYTES: Final = 1_000


class FeeSource:
    """The web page of lnd's `fee.url`, on loopback. On regtest lnd reads it each time."""

    def __init__(self) -> None:
        [self._port] = free_ports(1)
        self.sat_per_vbyte = USUAL_SAT_PER_VBYTE
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        page = web.Application()
        page.router.add_get("/", self._told)
        self._runner = web.AppRunner(page, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _told(self, _: web.Request) -> web.Response:
        """The same for every number of blocks."""
        return web.json_response(
            {
                "fee_by_block_target": {"1": self.sat_per_vbyte * _VBYTES},
                "min_relay_feerate": _LEAST_SAT_PER_VBYTE * _VBYTES,
            }
        )
