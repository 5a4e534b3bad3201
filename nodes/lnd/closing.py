"""Closing channels of one LND, hurrying what is slow, and calling a peer that is away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fulgurite.channels.calls import Bump, Bumped, Reconnected
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.errors import (
    PeerOnlineError,
    PeerUnreachableError,
    UnexpectedAnswerError,
)
from fulgurite.identity import ChannelPoint, NodePubkey, Outpoint
from nodes.lnd.chain import LndChain
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.roles import Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.walletrpc import walletkit_pb2, walletkit_pb2_grpc

# Both sides have to sign a cooperative close, and a peer takes its time.
_CLOSE_TIMEOUT_SECONDS: Final = 60.0
# A peer that answers does so in this time; one behind Tor may need most of it.
_CALL_PEER_SECONDS: Final = 10
# Where the climb of a fee begins that nothing is published with yet. Without it LND begins
# with its estimate, and where that is more than the budget allows, waits until almost the end.
_FIRST_RATE_SAT_PER_VBYTE: Final = 1
# A block can come between our look at the height and LND's own.
_A_BLOCK_BETWEEN: Final = 1
_ANCHORS: Final = (walletkit_pb2.COMMITMENT_ANCHOR, walletkit_pb2.TAPROOT_ANCHOR_SWEEP_SPEND)

_Waiting = lightning_pb2.PendingChannelsResponse.WaitingCloseChannel


class LndClosing:
    """Closes channels of one node, by its close macaroon, and looks by its observe macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.CLOSE)
        self._observing = connection.credential(Role.OBSERVE)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._wallet = walletkit_pb2_grpc.WalletKitStub(connection.channel())
        self._chain = LndChain(connection)

    async def close(self, request: CloseRequest) -> None:
        """Returns when the closing transaction is published.

        Not to be asked of a channel that closes already: LND would publish a commitment
        beside a cooperative close. Raises ChannelClosingError where it notices, and
        ChannelNotFoundError, ChannelBusyError, PeerOfflineError and other
        InvalidRequestErrors when nothing was done; NodeErrors when nobody knows.
        """
        call = self._lightning.CloseChannel(
            _close_request(request), metadata=self._credential, timeout=_CLOSE_TIMEOUT_SECONDS
        )
        try:
            with domain_errors(self._node):
                async for update in call:
                    if update.HasField("close_pending") or update.HasField("chan_close"):
                        return
        finally:
            call.cancel()
        raise UnexpectedAnswerError(f"{self._node}: LND ended a close without a word")

    async def bump(self, ask: Bump) -> Bumped:
        """Has LND pay up to the budget for one transaction, all of it by the deadline.

        It sets a limit, and LND acts on it with the next block. What LND has already is not
        asked again: its climb would begin anew. LND takes any limit: it is held against the
        output's worth here. A restart of LND forgets it. Raises NodeErrors.
        """
        tip = await self._chain.tip()
        with domain_errors(self._node):
            answer = await self._wallet.PendingSweeps(
                walletkit_pb2.PendingSweepsRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        blocks = max(1, ask.deadline_height - tip.height)
        if ask.outpoint is None:
            return await self._bump_close(ask, blocks, answer.pending_sweeps)
        held = next((s for s in answer.pending_sweeps if _is_of(s, ask.outpoint)), None)
        if held is None:
            return Bumped(taken=False, because="LND does not sweep it: not yet, or no longer")
        if ask.budget_sat > held.amount_sat:
            worth = f"{ask.budget_sat} sat is more than it is worth, {held.amount_sat} sat"
            return Bumped(taken=False, because=worth)
        if _has(held, ask):
            return Bumped(taken=True)
        with domain_errors(self._node):
            await self._wallet.BumpFee(
                walletkit_pb2.BumpFeeRequest(
                    outpoint=held.outpoint,
                    sat_per_vbyte=max(_FIRST_RATE_SAT_PER_VBYTE, held.sat_per_vbyte),
                    budget=ask.budget_sat,
                    deadline_delta=blocks,
                ),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return Bumped(taken=True)

    async def reconnect(self, peer: NodePubkey) -> Reconnected:
        """Calls a peer at the addresses that it announces. Raises NodeErrors."""
        if peer in await self._peers():
            return Reconnected(online=True)
        because = "the node knows no address of it"
        for address in await self._addresses(peer):
            try:
                await self._connect(peer, address)
            except PeerOnlineError:
                pass
            except PeerUnreachableError as error:
                because = str(error)
                continue
            return Reconnected(online=True)
        return Reconnected(online=False, because=because)

    async def _bump_close(
        self, ask: Bump, blocks: int, sweeps: Iterable[walletkit_pb2.PendingSweep]
    ) -> Bumped:
        """By the anchors of all its commitments: LND does not know which one is published."""
        waiting = await self._waiting(ask.channel_point)
        if waiting is None:
            return Bumped(taken=False, because="LND does not list it among those that wait")
        if waiting.close_height:
            confirmed = f"it is confirmed since block {waiting.close_height}"
            return Bumped(taken=False, because=confirmed)
        anchors = _anchors(waiting, sweeps)
        if anchors and all(_has(each, ask) for each in anchors):
            return Bumped(taken=True)
        with domain_errors(self._node):
            await self._wallet.BumpForceCloseFee(
                walletkit_pb2.BumpForceCloseFeeRequest(
                    chan_point=_point(ask.channel_point),
                    starting_feerate=_FIRST_RATE_SAT_PER_VBYTE,
                    budget=ask.budget_sat,
                    deadline_delta=blocks,
                ),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return Bumped(taken=True)

    async def _waiting(self, point: ChannelPoint) -> _Waiting | None:
        with domain_errors(self._node):
            answer = await self._lightning.PendingChannels(
                lightning_pb2.PendingChannelsRequest(),
                metadata=self._observing,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        listed = answer.waiting_close_channels
        return next((each for each in listed if each.channel.channel_point == point), None)

    async def _peers(self) -> set[str]:
        with domain_errors(self._node):
            answer = await self._lightning.ListPeers(
                lightning_pb2.ListPeersRequest(),
                metadata=self._observing,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return {each.pub_key for each in answer.peers}

    async def _addresses(self, peer: NodePubkey) -> list[str]:
        try:
            with domain_errors(self._node):
                answer = await self._lightning.GetNodeInfo(
                    lightning_pb2.NodeInfoRequest(pub_key=peer),
                    metadata=self._observing,
                    timeout=UNARY_TIMEOUT_SECONDS,
                )
        except PeerUnreachableError:
            return []
        return [each.addr for each in answer.node.addresses]

    async def _connect(self, peer: NodePubkey, address: str) -> None:
        """Raises PeerUnreachableError, PeerOnlineError, and NodeErrors of this side."""
        try:
            with domain_errors(self._node):
                await self._lightning.ConnectPeer(
                    lightning_pb2.ConnectPeerRequest(
                        addr=lightning_pb2.LightningAddress(pubkey=peer, host=address),
                        timeout=_CALL_PEER_SECONDS,
                    ),
                    metadata=self._credential,
                    timeout=UNARY_TIMEOUT_SECONDS,
                )
        except UnexpectedAnswerError as error:
            # Whatever the network said in between; it is all that LND passes on.
            raise PeerUnreachableError(str(error)) from error


def _close_request(request: CloseRequest) -> lightning_pb2.CloseChannelRequest:
    return lightning_pb2.CloseChannelRequest(
        channel_point=_point(request.channel_point),
        force=request.kind is CloseKind.FORCE,
        sat_per_vbyte=request.sat_per_vbyte or 0,
        target_conf=request.target_conf_blocks or 0,
        delivery_address=request.delivery_address or "",
    )


def _point(point: ChannelPoint) -> lightning_pb2.ChannelPoint:
    return lightning_pb2.ChannelPoint(funding_txid_str=point.txid, output_index=point.output_index)


def _is_of(sweep: walletkit_pb2.PendingSweep, outpoint: Outpoint) -> bool:
    place = sweep.outpoint.txid_str, sweep.outpoint.output_index
    return place == (outpoint.txid, outpoint.output_index)


def _has(sweep: walletkit_pb2.PendingSweep, ask: Bump) -> bool:
    """Whether LND has this very order, and has not forgotten it."""
    late = abs(sweep.deadline_height - ask.deadline_height)
    return sweep.budget == ask.budget_sat and late <= _A_BLOCK_BETWEEN


def _anchors(
    waiting: _Waiting, sweeps: Iterable[walletkit_pb2.PendingSweep]
) -> list[walletkit_pb2.PendingSweep]:
    """Those of the channel: of each commitment that may be mined, LND holds its anchor ready."""
    held = waiting.commitments
    txids = {held.local_txid, held.remote_txid, held.remote_pending_txid, waiting.closing_txid}
    return [
        each
        for each in sweeps
        if each.witness_type in _ANCHORS and each.outpoint.txid_str in txids - {""}
    ]
