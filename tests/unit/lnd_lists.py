"""LND's lists of channels as tests write them, and an LND that answers with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import Closing
from fulgurite.identity import ChannelPoint, NodePubkey, Outpoint, Txid
from nodes.lnd.channels import LndChannels
from nodes.lnd.remembering import Memory
from protos.lnrpc import lightning_pb2
from protos.walletrpc import walletkit_pb2

Pending = lightning_pb2.PendingChannelsResponse
Forced = Pending.ForceClosedChannel

POINT = ChannelPoint("f0" * 32 + ":1")
CLOSING = Txid("c1" * 32)
PEER = NodePubkey("02" + "11" * 32)
TIP = Tip(height=600, block_hash=Txid("bb" * 32))

# Of a real force close: 2,000,000 sat, 327 for the commitment and 660 for both anchors.
LOCAL_SAT, REMOTE_SAT, HTLC_SAT, COMMIT_FEE_SAT = 908_982, 790_000, 300_031, 327
# Where LND's lists say that the HTLC is: in a transaction that is never published.
PRESIGNED = Outpoint("5e" * 32 + ":0")


@dataclass
class Lnd:
    """Every stub at once: notes what it is asked, and answers what it was given."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __getattr__(self, method: str) -> Any:
        async def call(message: Any, **options: Any) -> Any:  # noqa: ARG001 - as a stub's
            self.asked.append(method)
            return self.answers.get(method, _EMPTY.get(method))

        return call


_EMPTY = {
    "PendingChannels": Pending(),
    "PendingSweeps": walletkit_pb2.PendingSweepsResponse(),
    "GetTransactions": lightning_pb2.TransactionDetails(),
    "ClosedChannels": lightning_pb2.ClosedChannelsResponse(),
}


@dataclass
class Chain:
    height: int = TIP.height

    async def tip(self) -> Tip:
        return TIP.model_copy(update={"height": self.height})


def channels_of(lnd: Lnd) -> LndChannels:
    made = LndChannels.__new__(LndChannels)
    made._node = "alice"
    made._credential = (("macaroon", "00"),)
    made._lightning = made._wallet = lnd  # type: ignore[assignment]
    made._chain = Chain()  # type: ignore[assignment]
    made._memory = Memory()
    return made


def channel_of(**fields: Any) -> Pending.PendingChannel:
    return Pending.PendingChannel(
        **{
            "remote_node_pub": PEER,
            "channel_point": POINT,
            "capacity": 2_000_000,
            "local_balance": LOCAL_SAT,
            "remote_balance": REMOTE_SAT,
            "initiator": lightning_pb2.INITIATOR_LOCAL,
            "commitment_type": lightning_pb2.ANCHORS,
            **fields,
        }
    )


def waiting(flags: str = "", **fields: Any) -> Pending.WaitingCloseChannel:
    return Pending.WaitingCloseChannel(
        **{
            "channel": channel_of(chan_status_flags=flags),
            "limbo_balance": LOCAL_SAT,
            "closing_txid": CLOSING,
            "commitments": Pending.Commitments(
                local_txid=CLOSING,
                local_commit_fee_sat=COMMIT_FEE_SAT,
                remote_txid="d2" * 32,
                remote_commit_fee_sat=COMMIT_FEE_SAT + 10,
            ),
            **fields,
        }
    )


def htlc(**fields: Any) -> lightning_pb2.PendingHTLC:
    given: dict[str, Any] = {
        "amount": HTLC_SAT,
        "outpoint": PRESIGNED,
        "maturity_height": 710,
        "stage": 1,
        **fields,
    }
    return lightning_pb2.PendingHTLC(**given)


def forced(*htlcs: lightning_pb2.PendingHTLC, **fields: Any) -> Forced:
    return Forced(
        **{
            "channel": channel_of(),
            "closing_txid": CLOSING,
            "limbo_balance": LOCAL_SAT + 330 + sum(each.amount for each in htlcs),
            "maturity_height": 602,
            "pending_htlcs": htlcs,
            "anchor": Forced.LIMBO,
            **fields,
        }
    )


def sweep(witness: str, index: int, amount: int, txid: str = CLOSING, deadline: int = 1_610) -> Any:
    return walletkit_pb2.PendingSweep(
        outpoint=lightning_pb2.OutPoint(txid_str=txid, output_index=index),
        witness_type=walletkit_pb2.WitnessType.Value(witness),
        amount_sat=amount,
        deadline_height=deadline,
    )


ANCHOR = sweep("COMMITMENT_ANCHOR", 0, 330)
BALANCE = sweep("COMMITMENT_TIME_LOCK", 4, LOCAL_SAT)


def lists(lnd: Lnd, *, sweeps: Any = (), transactions: Any = (), **pending: Any) -> None:
    lnd.answers |= {
        "PendingChannels": Pending(**pending),
        "PendingSweeps": walletkit_pb2.PendingSweepsResponse(pending_sweeps=sweeps),
        "GetTransactions": lightning_pb2.TransactionDetails(transactions=transactions),
    }


async def closing_of(channels: LndChannels) -> Closing:
    [only] = (await channels.pending()).closing
    return only


async def closed_of(channels: LndChannels) -> Closing:
    [only] = await channels.closed(TIP)
    return only


def resolution(
    kind: str, outcome: str, outpoint: str, amount: int, txid: str
) -> lightning_pb2.Resolution:
    parent, _, index = outpoint.partition(":")
    return lightning_pb2.Resolution(
        resolution_type=lightning_pb2.ResolutionType.Value(kind),
        outcome=lightning_pb2.ResolutionOutcome.Value(outcome),
        outpoint=lightning_pb2.OutPoint(txid_str=parent, output_index=int(index)),
        amount_sat=amount,
        sweep_txid=txid,
    )


def summary(*resolutions: lightning_pb2.Resolution, **fields: Any) -> Any:
    return lightning_pb2.ClosedChannelsResponse(
        channels=[
            lightning_pb2.ChannelCloseSummary(
                **{
                    "channel_point": POINT,
                    "closing_tx_hash": CLOSING,
                    "remote_pubkey": PEER,
                    "capacity": 2_000_000,
                    "close_height": 548,
                    "settled_balance": LOCAL_SAT,
                    "close_type": lightning_pb2.ChannelCloseSummary.LOCAL_FORCE_CLOSE,
                    "open_initiator": lightning_pb2.INITIATOR_LOCAL,
                    "resolutions": resolutions,
                    **fields,
                }
            )
        ]
    )
