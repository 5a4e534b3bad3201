"""What is asked of LND to call a peer, and about the chain."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.channels.calls import Reconnected
from fulgurite.errors import CredentialError
from nodes.lnd.chain import LndChain
from nodes.lnd.closing import LndClosing
from protos.chainrpc import chainnotifier_pb2
from protos.lnrpc import lightning_pb2
from tests.unit.scripted_lnd import ADDRESSES, PEER, TIP, Lnd, an_lnd, chain_of, closing_of, refusal


@pytest.fixture
def lnd() -> Lnd:
    return an_lnd()


@pytest.fixture
def closing(lnd: Lnd) -> LndClosing:
    return closing_of(lnd)


@pytest.fixture
def chain(lnd: Lnd) -> LndChain:
    return chain_of(lnd)


# Calling a peer.


async def test_a_peer_that_is_there_is_not_called(lnd: Lnd, closing: LndClosing) -> None:
    lnd.answers["ListPeers"] = lightning_pb2.ListPeersResponse(
        peers=[lightning_pb2.Peer(pub_key=PEER)]
    )

    assert await closing.reconnect(PEER) == Reconnected(online=True)
    assert lnd.asked("ConnectPeer") == []


async def test_a_peer_is_called_at_each_of_its_addresses(lnd: Lnd, closing: LndClosing) -> None:
    def answer(request: lightning_pb2.ConnectPeerRequest) -> lightning_pb2.ConnectPeerResponse:
        if request.addr.host == ADDRESSES[0]:
            raise refusal(f"dial tcp {ADDRESSES[0]}: connect: connection refused")
        return lightning_pb2.ConnectPeerResponse()

    lnd.answers["ConnectPeer"] = answer

    assert await closing.reconnect(PEER) == Reconnected(online=True)
    calls = lnd.asked("ConnectPeer")
    assert [(each.addr.pubkey, each.addr.host) for each in calls] == [
        (PEER, address) for address in ADDRESSES
    ]
    assert not any(each.perm for each in calls), "or LND would answer before it has called"
    assert lnd.credentials["ConnectPeer"] == (("macaroon", "c1"),)
    assert lnd.credentials["GetNodeInfo"] == (("macaroon", "0b"),)


@pytest.mark.parametrize(
    ("text", "online"),
    [
        ("dial tcp 10.0.0.1:9735: i/o timeout", False),
        # A stranger answers; of what it says, LND passes on whatever comes.
        ("EOF", False),
        ("act two: invalid handshake version: 72, only 0 is valid", False),
        (f"already connected to peer: {PEER}@10.0.0.1:9735", True),
    ],
)
async def test_what_lnd_heard_of_a_peer_is_passed_on(
    lnd: Lnd, closing: LndClosing, text: str, online: bool
) -> None:
    lnd.answers["ConnectPeer"] = refusal(text)

    answer = await closing.reconnect(PEER)

    assert answer.online is online
    assert (text in answer.because) is not online


@pytest.mark.parametrize(
    "known", [lightning_pb2.NodeInfo(), refusal("unable to find node")], ids=["silent", "unknown"]
)
async def test_a_peer_without_an_address_cannot_be_called(
    lnd: Lnd, closing: LndClosing, known: Any
) -> None:
    lnd.answers["GetNodeInfo"] = known

    answer = await closing.reconnect(PEER)

    assert (answer.online, lnd.asked("ConnectPeer")) == (False, [])
    assert "no address" in answer.because


async def test_a_macaroon_that_may_not_call_is_the_operators_to_mend(
    lnd: Lnd, closing: LndClosing
) -> None:
    lnd.answers["ConnectPeer"] = refusal("permission denied")

    with pytest.raises(CredentialError):
        await closing.reconnect(PEER)


# The chain.


@pytest.mark.parametrize("synced", [True, False])
async def test_a_tip_says_whether_it_can_be_relied_on(
    lnd: Lnd, chain: LndChain, synced: bool
) -> None:
    lnd.answers["GetInfo"].synced_to_chain = synced

    assert await chain.tip() == TIP.model_copy(update={"synced": synced})


async def test_hashes_go_over_the_wire_in_reverse(lnd: Lnd, chain: LndChain) -> None:
    wire = TIP.block_hash.raw()[::-1]
    lnd.answers["RegisterBlockEpochNtfn"] = [
        chainnotifier_pb2.BlockEpoch(hash=wire, height=TIP.height)
    ]

    async with chain.blocks(TIP) as blocks:
        assert [block async for block in blocks] == [TIP]
    async with chain.blocks(None) as blocks:
        assert lnd.canceled == 1

    assert lnd.asked("RegisterBlockEpochNtfn") == [
        chainnotifier_pb2.BlockEpoch(hash=wire, height=TIP.height),
        chainnotifier_pb2.BlockEpoch(),
    ]
    assert lnd.credentials["RegisterBlockEpochNtfn"] == (("macaroon", "0b"),)
