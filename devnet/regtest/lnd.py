"""One lnd: its configuration, its life, and the credentials that the product is given."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import grpc

from devnet.node import LightningNode
from devnet.processes import Daemon, free_ports
from devnet.regtest.bitcoin import Btcd
from devnet.topology import BASE_FEE_MSAT, CLTV_EXPIRY_DELTA_BLOCKS, FEE_RATE_PPM
from devnet.waiting import eventually
from nodes.roles import PERMISSIONS, ROOT_KEY_IDS
from protos.lnrpc import lightning_pb2, stateservice_pb2, stateservice_pb2_grpc

_CALL_TIMEOUT_SECONDS = 10


class Lnd:
    """An lnd in `state_dir/<name>`, on ports that stay its own while it is down."""

    def __init__(
        self, name: str, program: Path, chain: Btcd, state_dir: Path, *, fee_url: str = ""
    ) -> None:
        """`fee_url`: who tells it what a block takes; without, btcd does."""
        self._chain = chain
        self._fee_url = fee_url
        self._dir = state_dir / name
        rpc, rest, listen = free_ports(3)
        self.peer_address = f"127.0.0.1:{listen}"
        self._rest_address = f"127.0.0.1:{rest}"
        self.node = LightningNode(
            name=name,
            address=f"127.0.0.1:{rpc}",
            tls_cert_path=self._dir / "tls.cert",
            macaroon_dir=self._dir / "macaroons",
        )
        self.pubkey = ""  # hex, from the first start on
        self._daemon = Daemon(
            name,
            [program, f"--lnddir={self._dir}", f"--configfile={self._dir / 'lnd.conf'}"],
            state_dir=state_dir,
        )

    @property
    def running(self) -> bool:
        return self._daemon.running

    async def start(self) -> None:
        """Starts it; returns when it serves and is in step with the chain."""
        if not self._dir.exists():
            self._write_configuration()
        self._daemon.start()
        await self._daemon.until(
            self._ready, what="serving and synced to the chain", timeout_seconds=180
        )
        self.pubkey = (await self.node.info()).identity_pubkey

    async def kill(self) -> None:
        await self._daemon.kill()

    async def reached(self, height: int) -> None:
        """Waits until it has that block, and is in step with the chain."""
        await eventually(
            self.node.info,
            lambda info: info.block_height >= height and info.synced_to_chain,
            what=f"{self.node.name} at height {height}",
        )

    async def has_coins(self, sat: int) -> None:
        """Waits until so much is confirmed in its wallet."""
        await eventually(
            self.node.balance,
            lambda balance: balance.confirmed_balance == sat,
            what=f"{self.node.name}'s coins",
        )

    async def new_address(self) -> str:
        """A fresh P2WKH address of its wallet."""
        async with self.node.lightning() as lightning:
            answer = await lightning.NewAddress(
                lightning_pb2.NewAddressRequest(type=lightning_pb2.WITNESS_PUBKEY_HASH)
            )
        return answer.address

    async def connect(self, peer: Lnd) -> None:
        """Connects to `peer` for good, or finds that they are; returns when it is online."""
        addr = lightning_pb2.LightningAddress(pubkey=peer.pubkey, host=peer.peer_address)
        async with self.node.lightning() as lightning:
            try:
                await lightning.ConnectPeer(
                    lightning_pb2.ConnectPeerRequest(addr=addr, perm=True),
                    timeout=_CALL_TIMEOUT_SECONDS,
                )
            except grpc.aio.AioRpcError as error:
                if "already connected" not in (error.details() or ""):
                    raise
        # A permanent connection is promised at once, and made when lnd comes to it.
        await eventually(
            self.peers,
            lambda connected: peer.pubkey in connected,
            what=f"{self.node.name} connected to {peer.node.name}",
        )

    async def peers(self) -> set[str]:
        """The public keys of the peers that it is connected to, in hex."""
        async with self.node.lightning() as lightning:
            answer = await lightning.ListPeers(lightning_pb2.ListPeersRequest())
        return {peer.pub_key for peer in answer.peers}

    async def open_channel(self, peer: Lnd, *, capacity_sat: int, push_sat: int) -> None:
        """Returns once the funding transaction is broadcast; blocks make the channel active."""
        async with self.node.lightning() as lightning:
            await lightning.OpenChannelSync(
                lightning_pb2.OpenChannelRequest(
                    node_pubkey=bytes.fromhex(peer.pubkey),
                    local_funding_amount=capacity_sat,
                    push_sat=push_sat,
                    sat_per_vbyte=2,
                )
            )

    async def bake_macaroons(self) -> None:
        """Writes `<role>.macaroon` for each role, with its permissions and its root key."""
        for role, methods in PERMISSIONS.items():
            permissions = [
                lightning_pb2.MacaroonPermission(entity="uri", action=method) for method in methods
            ]
            async with self.node.lightning() as lightning:
                baked = await lightning.BakeMacaroon(
                    lightning_pb2.BakeMacaroonRequest(
                        permissions=permissions, root_key_id=ROOT_KEY_IDS[role]
                    )
                )
            file = self.node.macaroon_dir / f"{role}.macaroon"
            file.touch(mode=0o600)
            file.write_bytes(bytes.fromhex(baked.macaroon))

    async def known_policies(self) -> int:
        """How many channel directions it knows the fees of, so how many it can route over.

        Asked over REST, since no part of the product reads the whole graph.
        """
        macaroon = (self.node.macaroon_dir / "admin.macaroon").read_bytes().hex()
        async with (
            aiohttp.ClientSession(headers={"Grpc-Metadata-macaroon": macaroon}) as session,
            session.get(
                f"https://{self._rest_address}/v1/graph",
                ssl=_trusting(self.node.tls_cert_path),
            ) as response,
        ):
            graph = await response.json()
        return sum(
            edge[policy] is not None
            for edge in graph["edges"]
            for policy in ("node1_policy", "node2_policy")
        )

    async def _ready(self) -> bool:
        credentials = self.node.tls_cert_path, self.node.macaroon_dir / "admin.macaroon"
        if not all(file.exists() and file.stat().st_size for file in credentials):
            return False
        try:
            async with self.node.channel() as channel:
                state = await stateservice_pb2_grpc.StateStub(channel).GetState(
                    stateservice_pb2.GetStateRequest(), timeout=_CALL_TIMEOUT_SECONDS
                )
            if state.state != stateservice_pb2.SERVER_ACTIVE:
                return False
            return (await self.node.info()).synced_to_chain
        except grpc.aio.AioRpcError:
            return False  # not listening yet, or still starting one of its parts

    def _of_fees(self) -> str:
        return f"\n[fee]\nfee.url={self._fee_url}\n" if self._fee_url else ""

    def _write_configuration(self) -> None:
        """In a file, because everybody on the machine can read a command line."""
        self.node.macaroon_dir.mkdir(parents=True)
        configuration = self._dir / "lnd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"""\
[Application Options]
alias={self.node.name}
noseedbackup=true
nobootstrap=true
listen={self.peer_address}
externalip={self.peer_address}
rpclisten={self.node.address}
restlisten={self._rest_address}
adminmacaroonpath={self.node.macaroon_dir / "admin.macaroon"}
accept-keysend=true
maxpendingchannels=10

; Patience is for the open internet; here it would only make every test wait.
minbackoff=200ms
maxbackoff=1s
trickledelay=50
gossip.sub-batch-delay=5ms
caches.rpc-graph-cache-duration=100ms
db.batch-commit-interval=10ms

[Bitcoin]
bitcoin.regtest=true
bitcoin.node=btcd
bitcoin.basefee={BASE_FEE_MSAT}
bitcoin.feerate={FEE_RATE_PPM}
bitcoin.timelockdelta={CLTV_EXPIRY_DELTA_BLOCKS}
bitcoin.defaultchanconfs=1
bitcoin.defaultremotedelay=4

[Btcd]
btcd.rpchost={self._chain.rpc_address}
btcd.rpcuser={self._chain.user}
btcd.rpcpass={self._chain.password}
btcd.rpccert={self._chain.rpc_cert_path}
{self._of_fees()}"""
        )


def _trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)
