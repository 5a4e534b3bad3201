"""Channels that are closing or closed, as lnd's messages tell of them."""

from __future__ import annotations

from devnet.simulated.closing.closure import Closure
from devnet.simulated.closing.commitments import commitment_of
from devnet.simulated.closing.contracts import Anchor, CommitOutput, Resolution
from devnet.simulated.graph import Graph
from devnet.simulated.onchain.transactions import Outpoint
from devnet.simulated.openings import Opening
from protos.lnrpc import lightning_pb2

Pending = lightning_pb2.PendingChannelsResponse
Initiator = lightning_pb2.Initiator
CloseType = lightning_pb2.ChannelCloseSummary.ClosureType

# The genesis block of regtest.
CHAIN_HASH = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"

# A channel's reserve, as lnd asks for it.
_RESERVE_DIVISOR = 100


def wire(txid: str) -> bytes:
    """A hash as it goes over the wire: the other way round than people write it."""
    return bytes.fromhex(txid)[::-1]


def outpoint_message(outpoint: Outpoint) -> lightning_pb2.OutPoint:
    return lightning_pb2.OutPoint(
        txid_bytes=wire(outpoint.txid), txid_str=outpoint.txid, output_index=outpoint.index
    )


def channel_point(outpoint: Outpoint) -> lightning_pb2.ChannelPoint:
    return lightning_pb2.ChannelPoint(
        funding_txid_bytes=wire(outpoint.txid), output_index=outpoint.index
    )


def pending_open(opening: Opening, node: str, graph: Graph) -> Pending.PendingOpenChannel:
    """The funding transaction is sent, and not deep enough."""
    mine, theirs = opening.capacity_sat - opening.push_sat, opening.push_sat
    is_opener = node == opening.opener
    remote = opening.peer if is_opener else opening.opener
    return Pending.PendingOpenChannel(
        channel=Pending.PendingChannel(
            remote_node_pub=graph.public_key_of(remote),
            channel_point=f"{opening.funding_txid}:0",
            capacity=opening.capacity_sat,
            local_balance=mine if is_opener else theirs,
            remote_balance=theirs if is_opener else mine,
            initiator=Initiator.INITIATOR_LOCAL if is_opener else Initiator.INITIATOR_REMOTE,
            commitment_type=lightning_pb2.ANCHORS,
            private=opening.private,
        )
    )


def waiting_close(closure: Closure, node: str, graph: Graph) -> Pending.WaitingCloseChannel:
    """The closing transaction is sent, and not in a block or not deep enough."""
    channel = closure.channel
    remote = channel.other(node)
    local_sat, remote_sat = closure.shown_sat[node], closure.shown_sat[remote]
    cooperative = closure.close_type == CloseType.COOPERATIVE_CLOSE
    mine, theirs = (commitment_of(channel, end) for end in (node, remote))
    flags = [
        "ChanStatusCoopBroadcasted"
        if cooperative
        else "ChanStatusBorked|ChanStatusCommitBroadcasted",
        "ChanStatusLocalCloseInitiator"
        if closure.is_initiator
        else "ChanStatusRemoteCloseInitiator",
    ]
    return Pending.WaitingCloseChannel(
        channel=_pending(
            closure,
            node,
            graph,
            local_sat=local_sat,
            remote_sat=remote_sat,
            flags="|".join(flags),
        ),
        limbo_balance=local_sat,
        commitments=Pending.Commitments(
            local_txid=mine.transaction.txid,
            remote_txid=theirs.transaction.txid,
            local_commit_fee_sat=mine.fee_sat,
            remote_commit_fee_sat=theirs.fee_sat,
        ),
        closing_txid=closure.closing_txid,
        blocks_til_close_confirmed=closure.blocks_til_confirmed,
        close_height=closure.close_height or 0,
    )


def force_closing(
    closure: Closure, node: str, graph: Graph, *, height: int
) -> Pending.ForceClosedChannel:
    """A commitment is deep enough, and outputs of ours are not home."""
    channel = closure.channel
    message = Pending.ForceClosedChannel(
        channel=_pending(
            closure,
            node,
            graph,
            local_sat=closure.settled_sat,
            remote_sat=closure.shown_sat[channel.other(node)],
        ),
        closing_txid=closure.closing_txid,
        limbo_balance=sum(contract.limbo_sat for contract in closure.contracts),
        recovered_balance=sum(contract.recovered_sat for contract in closure.contracts),
    )
    for contract in closure.contracts:
        if isinstance(contract, CommitOutput):
            message.maturity_height = contract.maturity_height
            message.blocks_til_maturity = contract.maturity_height - height
        elif isinstance(contract, Anchor):
            message.anchor = contract.state
        elif (htlc := contract.pending_htlc()) is not None:
            message.pending_htlcs.append(htlc)
    return message


def close_summary(closure: Closure, node: str, graph: Graph) -> lightning_pb2.ChannelCloseSummary:
    """A closed channel, with what has become of its outputs so far."""
    channel = closure.channel
    return lightning_pb2.ChannelCloseSummary(
        channel_point=str(channel.funding),
        chan_id=channel.channel_id,
        chain_hash=CHAIN_HASH,
        closing_tx_hash=closure.closing_txid,
        remote_pubkey=graph.public_key_of(channel.other(node)),
        capacity=channel.capacity_msat // 1_000,
        close_height=closure.close_height or 0,
        settled_balance=closure.settled_sat,
        time_locked_balance=closure.timelocked_sat,
        close_type=closure.close_type,
        open_initiator=_opener(closure, node),
        close_initiator=Initiator.INITIATOR_LOCAL
        if closure.is_initiator
        else Initiator.INITIATOR_REMOTE,
        # In the order of their outpoints' bytes, which is that of lnd's database.
        resolutions=[
            _resolution(each)
            for each in sorted(
                closure.resolutions,
                key=lambda each: (wire(each.outpoint.txid), each.outpoint.index),
            )
        ],
    )


def _pending(
    closure: Closure, node: str, graph: Graph, *, local_sat: int, remote_sat: int, flags: str = ""
) -> Pending.PendingChannel:
    channel = closure.channel
    capacity_sat = channel.capacity_msat // 1_000
    reserve_sat = capacity_sat // _RESERVE_DIVISOR if flags else 0
    return Pending.PendingChannel(
        remote_node_pub=graph.public_key_of(channel.other(node)),
        channel_point=str(channel.funding),
        capacity=capacity_sat,
        local_balance=local_sat,
        remote_balance=remote_sat,
        local_chan_reserve_sat=reserve_sat,
        remote_chan_reserve_sat=reserve_sat,
        initiator=_opener(closure, node),
        commitment_type=lightning_pb2.ANCHORS,
        chan_status_flags=flags,
        private=channel.private,
    )


def _opener(closure: Closure, node: str) -> Initiator.ValueType:
    local = closure.channel.opener == node
    return Initiator.INITIATOR_LOCAL if local else Initiator.INITIATOR_REMOTE


def _resolution(resolution: Resolution) -> lightning_pb2.Resolution:
    return lightning_pb2.Resolution(
        resolution_type=resolution.kind,
        outcome=resolution.outcome,
        outpoint=outpoint_message(resolution.outpoint),
        amount_sat=resolution.amount_sat,
        sweep_txid=resolution.sweep_txid,
    )
