"""Channels that work, made anew where earlier scenarios have closed them."""

from __future__ import annotations

from functools import partial

from devnet.network import Network
from devnet.node import LightningNode
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

CAPACITY_SAT = 2_000_000
PUSH_SAT = 400_000
# What each of a hop's channels must carry, so that two carry more than the fullest alone.
_ENOUGH_SAT = 1_000_000
_CHANNELS = 2
_ANNOUNCEMENT_BLOCKS = 6
_PROBE_MSAT = 1_000_000


async def make_roads(network: Network, *, first: int = _CHANNELS) -> None:
    """Returns when alice can pay carol over bob, with two channels a hop, or `first` with bob."""
    alice, bob, carol = (network.nodes[name] for name in ("alice", "bob", "carol"))
    opened = [await _opened(alice, bob, first), await _opened(bob, carol, _CHANNELS)]
    if any(opened):
        await network.mine(_ANNOUNCEMENT_BLOCKS)
    for payer, payee, count in ((alice, bob, first), (bob, carol, _CHANNELS)):
        await eventually(
            partial(_carries, payer, payee, count), what=f"{payer.name} to {payee.name}"
        )
    # An active channel comes into its own node's graph a second later, and no way is found before.
    for channel in await _able(alice, bob):
        invoice = await carol.invoice(_PROBE_MSAT, memo="road?")
        await eventually(
            partial(alice.pay, invoice.payment_request, over=[channel.chan_id]),
            lambda payment: payment.status == lightning_pb2.Payment.SUCCEEDED,
            what=f"a payment over both hops, by channel {channel.chan_id}",
        )


async def channels_with(node: LightningNode, peer: LightningNode) -> list[lightning_pb2.Channel]:
    """Open ones, the fullest first."""
    pubkey = (await peer.info()).identity_pubkey
    channels = [each for each in await node.channels() if each.remote_pubkey == pubkey]
    return sorted(channels, key=lambda channel: -channel.local_balance)


async def _carries(payer: LightningNode, payee: LightningNode, count: int) -> bool:
    return len(await _able(payer, payee)) >= count


async def _able(payer: LightningNode, payee: LightningNode) -> list[lightning_pb2.Channel]:
    channels = await channels_with(payer, payee)
    return [each for each in channels if each.active and each.local_balance >= _ENOUGH_SAT]


async def _opened(opener: LightningNode, peer: LightningNode, count: int) -> int:
    """How many channels had to be opened."""
    channels = await channels_with(opener, peer)
    missing = count - sum(each.local_balance >= _ENOUGH_SAT for each in channels)
    async with opener.lightning() as lightning:
        for _ in range(missing):
            await lightning.OpenChannelSync(
                lightning_pb2.OpenChannelRequest(
                    node_pubkey=bytes.fromhex((await peer.info()).identity_pubkey),
                    local_funding_amount=CAPACITY_SAT,
                    push_sat=PUSH_SAT,
                    sat_per_vbyte=2,
                )
            )
    return max(0, missing)
