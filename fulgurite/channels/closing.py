"""A channel on its way to its end, in LND's words."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from fulgurite.chain.tip import Tip
from fulgurite.identity import ChannelPoint, NodePubkey, Outpoint, Txid
from fulgurite.model import Model


class ClosePhase(StrEnum):
    """Which of LND's lists has the channel."""

    OPEN = "OPEN"  # ListChannels: nothing has been done yet
    WAITING_CLOSE = "WAITING_CLOSE"  # the closing transaction is published, and not final
    FORCE_CLOSING = "FORCE_CLOSING"  # final; outputs wait for their time, or for their sweep
    CLOSED = "CLOSED"  # every output of ours is resolved
    UNKNOWN = "UNKNOWN"  # in no list: between two of them for a moment, or never this node's


class CloseType(StrEnum):
    """How it was closed. LND's words; known for certain once the channel is CLOSED."""

    COOPERATIVE = "COOPERATIVE_CLOSE"
    LOCAL_FORCE = "LOCAL_FORCE_CLOSE"
    REMOTE_FORCE = "REMOTE_FORCE_CLOSE"
    BREACH = "BREACH_CLOSE"
    FUNDING_CANCELED = "FUNDING_CANCELED"
    ABANDONED = "ABANDONED"


class OutputKind(StrEnum):
    """What an output of the closing transaction is."""

    COMMITMENT = "COMMITMENT"  # our balance
    OUTGOING_HTLC = "OUTGOING_HTLC"
    INCOMING_HTLC = "INCOMING_HTLC"
    ANCHOR = "ANCHOR"


class OutputOutcome(StrEnum):
    """What became of it. LND's words, PENDING is ours."""

    PENDING = "PENDING"
    CLAIMED = "CLAIMED"  # ours: swept; of an outgoing HTLC: the peer's, by its preimage
    UNCLAIMED = "UNCLAIMED"  # the other side took it
    ABANDONED = "ABANDONED"  # not worth its fee
    FIRST_STAGE = "FIRST_STAGE"  # the HTLC transaction is confirmed, and its output waits
    TIMEOUT = "TIMEOUT"  # the HTLC went back to us


class CloseOutput(Model):
    """One output of ours, from the closing transaction to its resolution."""

    kind: OutputKind
    outpoint: Outpoint
    amount_sat: int
    outcome: OutputOutcome = OutputOutcome.PENDING
    stage: int = Field(default=0, description="of a pending HTLC: 1 its own transaction, 2 CSV")
    maturity_height: int | None = Field(
        default=None, description="when it can be swept; null: it can be at once"
    )
    sweep_txid: Txid | None = None
    forgotten: bool = Field(
        default=False,
        description="it could be swept, and LND does not try: it forgets an output where a deep "
        "reorg has made it immature again, and only a restart of LND helps",
    )


class Closing(Model):
    """LND's present word on a channel that is closing, or may be."""

    phase: ClosePhase
    tip: Tip
    channel_point: ChannelPoint
    peer: NodePubkey | None = None
    capacity_sat: int = 0
    close_type: CloseType | None = None
    closing_txid: Txid | None = None
    close_height: int | None = Field(default=None, description="where it was confirmed")
    htlcs_expire_at: int | None = Field(
        default=None, description="while it is open: the height at which its first HTLC expires"
    )
    htlcs_sat: int = Field(
        default=0, description="while it is open: what its outgoing HTLCs hold, ours if they expire"
    )
    limbo_sat: int = Field(default=0, description="ours, and not swept yet")
    recovered_sat: int = Field(default=0, description="back in the wallet, after sweep fees")
    settled_sat: int = Field(default=0, description="our balance when it was closed")
    commit_fee_sat: int = Field(
        default=0,
        description="what the closing transaction took from this node, where it opened the "
        "channel: its fee, and both anchors",
    )
    sweep_fees_sat: int = Field(
        default=0, description="of every sweep so far, less an anchor that came back with it"
    )
    outputs: tuple[CloseOutput, ...] = ()

    @property
    def cost_sat(self) -> int:
        """What closing has cost this node on chain so far."""
        return self.commit_fee_sat + self.sweep_fees_sat

    @property
    def next_height(self) -> int:
        """Before it nothing can happen that is not an answer to a new block."""
        pending = [each for each in self.outputs if each.outcome is OutputOutcome.PENDING]
        waits = [
            each.maturity_height
            for each in pending
            if each.kind is OutputKind.COMMITMENT and each.maturity_height is not None
        ]
        # An HTLC can end at any block, by the other side's preimage; an anchor is not waited for.
        htlcs = [each for each in pending if each.kind in _HTLCS]
        soonest = min(waits, default=0)
        if self.phase is not ClosePhase.FORCE_CLOSING or htlcs or soonest <= self.tip.height:
            return self.tip.height + 1
        return soonest


_HTLCS = frozenset({OutputKind.OUTGOING_HTLC, OutputKind.INCOMING_HTLC})
