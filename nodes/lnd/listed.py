"""What LND's lists say of channels that close, in domain terms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    CloseType,
    Closing,
    OutputKind,
    OutputOutcome,
)
from fulgurite.identity import ChannelPoint, NodePubkey, Outpoint, Txid
from nodes.lnd.remembering import Known, Memory
from nodes.lnd.sweeper import Offered, Offers
from nodes.lnd.sweeps import ANCHOR_SAT, Swept, SweptOutput, WalletTransactions
from protos.lnrpc import lightning_pb2

_Pending = lightning_pb2.PendingChannelsResponse
_WITHOUT_ANCHORS = {
    lightning_pb2.UNKNOWN_COMMITMENT_TYPE,
    lightning_pb2.LEGACY,
    lightning_pb2.STATIC_REMOTE_KEY,
}
_CLOSE_TYPES = {
    number: CloseType(name)
    for name, number in lightning_pb2.ChannelCloseSummary.ClosureType.items()
}
_OUTCOMES = {
    number: OutputOutcome(name)
    for name, number in lightning_pb2.ResolutionOutcome.items()
    if name != "OUTCOME_UNKNOWN"
}
_FINAL = {CloseType.COOPERATIVE, CloseType.FUNDING_CANCELED, CloseType.ABANDONED}
_KINDS = {
    lightning_pb2.ANCHOR: OutputKind.ANCHOR,
    lightning_pb2.INCOMING_HTLC: OutputKind.INCOMING_HTLC,
    lightning_pb2.OUTGOING_HTLC: OutputKind.OUTGOING_HTLC,
    lightning_pb2.COMMIT: OutputKind.COMMITMENT,
}

_NONE: Final = Txid("00" * 32)


@dataclass(frozen=True)
class Reading:
    """One look at everything that says something of a closing."""

    tip: Tip
    memory: Memory
    wallet: WalletTransactions = field(default_factory=WalletTransactions)
    offers: Offers = field(default_factory=Offers)

    def explain(
        self,
        forced: Iterable[_Pending.ForceClosedChannel],
        closed: Iterable[lightning_pb2.ChannelCloseSummary] = (),
    ) -> None:
        """Finds what was swept before anybody here looked; all channels' first.

        One sweep may be of several of them, and LND says no more of it than its transaction.
        """
        for summary in closed:
            for resolution in summary.resolutions:
                self.memory.saw(_resolved(resolution))
        for each in forced:
            txid = Txid(each.closing_txid)
            nameless = [
                outpoint
                for outpoint in self.wallet.swept_alone(txid)
                if self.memory.find(outpoint) is None
            ]
            known = any(self.memory.of_kind(txid, OutputKind.COMMITMENT))
            if len(nameless) == 1 and each.channel.local_balance and not known:
                kind, amount_sat = OutputKind.COMMITMENT, each.channel.local_balance
                self.memory.saw([Offered(nameless[0], kind, amount_sat)])

    def waiting(self, listed: _Pending.WaitingCloseChannel) -> Closing:
        """The closing transaction is published; `close_height` says that it is in a block."""
        channel = listed.channel
        point = ChannelPoint(channel.channel_point)
        txid = Txid(listed.closing_txid) if listed.closing_txid else None
        if not listed.close_height:
            self.memory.forget_block(point)
        known = self.memory.know(
            point,
            Known(
                self._closing_fee(channel, txid, _commit_fee(listed)),
                listed.close_height or None,
                _announced(channel.chan_status_flags),
            ),
        )
        return Closing(
            phase=ClosePhase.WAITING_CLOSE,
            tip=self.tip,
            channel_point=point,
            peer=NodePubkey(channel.remote_node_pub),
            capacity_sat=channel.capacity,
            close_type=known.close_type,
            closing_txid=txid,
            close_height=known.close_height,
            limbo_sat=listed.limbo_balance,
            settled_sat=channel.local_balance,
            commit_fee_sat=known.commit_fee_sat,
        )

    def forced(self, listed: _Pending.ForceClosedChannel) -> Closing:
        """A commitment is final. LND says not which, nor in which block it is."""
        channel, txid = listed.channel, Txid(listed.closing_txid)
        point = ChannelPoint(channel.channel_point)
        swept = self.wallet.swept(txid, self.memory.worth)
        untouched = listed.recovered_balance <= ANCHOR_SAT and all(
            each.worth_sat == ANCHOR_SAT for each in swept.outputs
        )
        hanging = sum(htlc.amount for htlc in listed.pending_htlcs)
        rest = channel.capacity - channel.local_balance - channel.remote_balance - hanging
        fee = rest - anchors_sat(channel.commitment_type) if untouched else 0
        offers = self.offers.of(txid)
        known = self.memory.know(
            point,
            Known(
                self._closing_fee(channel, txid, fee),
                close_type=next((each.close_type for each in offers if each.close_type), None),
            ),
        )
        return Closing(
            phase=ClosePhase.FORCE_CLOSING,
            tip=self.tip,
            channel_point=point,
            peer=NodePubkey(channel.remote_node_pub),
            capacity_sat=channel.capacity,
            close_type=known.close_type,
            closing_txid=txid,
            close_height=known.close_height,
            limbo_sat=listed.limbo_balance,
            recovered_sat=swept.recovered_sat,
            settled_sat=channel.local_balance,
            commit_fee_sat=known.commit_fee_sat,
            sweep_fees_sat=swept.fees_sat,
            outputs=(
                *self._commitment(listed, txid),
                *self._htlcs(listed, txid),
                *(_pending(each, None) for each in offers if each.kind is OutputKind.ANCHOR),
                *self._done(swept),
            ),
        )

    def closed(
        self, listed: lightning_pb2.ChannelCloseSummary, others: Collection[Txid]
    ) -> Closing:
        """It is over; only a worthless anchor can still lie there.

        `others` are closing transactions of channels that are not over. What was swept together
        with an output of theirs that nobody knows is known once LND says what that was: until
        then this one goes on.
        """
        point, txid = ChannelPoint(listed.channel_point), Txid(listed.closing_tx_hash or _NONE)
        kind = _CLOSE_TYPES.get(listed.close_type)  # None: of a later LND
        swept = self.wallet.swept(txid, self.memory.worth)
        recovered = listed.settled_balance if kind in _FINAL else swept.recovered_sat
        if kind is CloseType.BREACH:
            # LND says nothing of what its justice transaction has swept.
            recovered += swept.unexplained_sat
        known = self.memory.know(
            point, Known(self._fee_on_chain(listed.capacity, txid, listed.open_initiator))
        )
        waits = kind not in _FINAL and not swept.unknown.isdisjoint(others)
        return Closing(
            phase=ClosePhase.FORCE_CLOSING if waits else ClosePhase.CLOSED,
            tip=self.tip,
            channel_point=point,
            peer=NodePubkey(listed.remote_pubkey),
            capacity_sat=listed.capacity,
            close_type=kind,
            closing_txid=txid if txid != _NONE else None,
            close_height=listed.close_height or None,
            recovered_sat=recovered,
            settled_sat=listed.settled_balance,
            commit_fee_sat=known.commit_fee_sat,
            sweep_fees_sat=swept.fees_sat,
            outputs=(
                *_resolutions(listed.resolutions, swept),
                *self._left_behind(txid, listed.resolutions),
            ),
        )

    # What the closing transaction itself has cost.

    def _closing_fee(
        self, channel: _Pending.PendingChannel, txid: Txid | None, commit_fee_sat: int
    ) -> int:
        """From the transaction, if the wallet has it; else by what LND says of the commitment."""
        if channel.initiator != lightning_pb2.INITIATOR_LOCAL:
            return 0
        if txid and (seen := self._fee_on_chain(channel.capacity, txid, channel.initiator)):
            return seen
        anchors = anchors_sat(channel.commitment_type)
        return commit_fee_sat + anchors if commit_fee_sat > 0 else 0

    def _fee_on_chain(
        self, capacity_sat: int, txid: Txid, opener: lightning_pb2.Initiator.ValueType
    ) -> int:
        """Fee and anchors, which the opener pays; 0: the wallet does not have it."""
        outputs = self.wallet.outputs_of(txid)
        if opener != lightning_pb2.INITIATOR_LOCAL or not outputs:
            return 0
        kept = sum(each.amount for each in outputs if each.amount != ANCHOR_SAT)
        return capacity_sat - kept

    # What is still on its way.

    def _commitment(self, listed: _Pending.ForceClosedChannel, txid: Txid) -> Iterator[CloseOutput]:
        """Our balance, until it is swept. LND says not where it is, its sweeper does."""
        matures = listed.maturity_height or None
        waiting = [each for each in self.offers.of(txid) if each.kind is OutputKind.COMMITMENT]
        if waiting:
            yield from (_pending(each, matures) for each in waiting)
            return
        lies_there = listed.anchor == _Pending.ForceClosedChannel.LIMBO
        anchor = anchors_sat(listed.channel.commitment_type) // 2 if lies_there else 0
        hanging = sum(htlc.amount for htlc in listed.pending_htlcs)
        if listed.limbo_balance - anchor <= hanging:
            return
        if outpoint := self._where(txid, listed.channel.local_balance):
            yield CloseOutput(
                kind=OutputKind.COMMITMENT,
                outpoint=outpoint,
                amount_sat=listed.channel.local_balance,
                maturity_height=matures,
                forgotten=self._is_overdue(matures),
            )

    def _where(self, txid: Txid, amount_sat: int) -> Outpoint | None:
        for each in self.memory.of_kind(txid, OutputKind.COMMITMENT):
            return each.outpoint
        for output in self.wallet.outputs_of(txid):
            if output.amount == amount_sat:
                return Outpoint(f"{txid}:{output.output_index}")
        return None

    def _htlcs(self, listed: _Pending.ForceClosedChannel, txid: Txid) -> Iterator[CloseOutput]:
        """LND names an output that is not on chain; its sweeper names the one that is."""
        later = map(self.offers.find, self.wallet.next_stages(txid))
        free = [*self.offers.of(txid), *(each for each in later if each)]
        for htlc in listed.pending_htlcs:
            kind = OutputKind.INCOMING_HTLC if htlc.incoming else OutputKind.OUTGOING_HTLC
            same = (e for e in free if (e.kind, e.amount_sat) == (kind, htlc.amount))
            offer = next(same, None)
            matures: int | None = htlc.maturity_height or None
            if offer is not None:
                free.remove(offer)
                if htlc.incoming and htlc.stage == 1:
                    # LND tells nonsense here once it has the preimage.
                    matures = offer.deadline_height
            yield CloseOutput(
                kind=kind,
                outpoint=offer.outpoint if offer else Outpoint(htlc.outpoint),
                amount_sat=htlc.amount,
                stage=htlc.stage,
                maturity_height=matures,
                forgotten=(
                    offer is None
                    and not (htlc.incoming and htlc.stage == 1)
                    and self._is_overdue(matures)
                ),
            )

    def _is_overdue(self, matures: int | None) -> bool:
        return self.tip.synced and matures is not None and matures < self.tip.height

    # What is done.

    def _done(self, swept: Swept) -> Iterator[CloseOutput]:
        for each in swept.outputs:
            known = self.memory.find(each.outpoint)
            kind = known.kind if known else None
            if kind is None and each.worth_sat == ANCHOR_SAT:
                kind = OutputKind.ANCHOR
            if kind is not None and each.worth_sat is not None:
                yield CloseOutput(
                    kind=kind,
                    outpoint=each.outpoint,
                    amount_sat=each.worth_sat,
                    outcome=_outcome(kind, each),
                    sweep_txid=each.txid,
                )

    def _left_behind(
        self, txid: Txid, resolutions: Iterable[lightning_pb2.Resolution]
    ) -> Iterator[CloseOutput]:
        """An anchor that was not worth its fee: LND says nothing of it."""
        if any(each.resolution_type == lightning_pb2.ANCHOR for each in resolutions):
            return
        for each in self.memory.of_kind(txid, OutputKind.ANCHOR):
            yield _pending(each, None).model_copy(update={"outcome": OutputOutcome.ABANDONED})


def anchors_sat(commitment: lightning_pb2.CommitmentType.ValueType) -> int:
    """What both anchors of such a commitment hold."""
    return 0 if commitment in _WITHOUT_ANCHORS else 2 * ANCHOR_SAT


def _pending(offer: Offered, matures: int | None) -> CloseOutput:
    return CloseOutput(
        kind=offer.kind,
        outpoint=offer.outpoint,
        amount_sat=offer.amount_sat,
        maturity_height=matures,
    )


def _outcome(kind: OutputKind, swept: SweptOutput) -> OutputOutcome:
    if swept.passed_on:
        return OutputOutcome.FIRST_STAGE
    outgoing = kind is OutputKind.OUTGOING_HTLC
    return OutputOutcome.TIMEOUT if outgoing else OutputOutcome.CLAIMED


def _resolutions(
    resolutions: Iterable[lightning_pb2.Resolution], swept: Swept
) -> Iterator[CloseOutput]:
    """As LND tells them, but for transactions that it names and never published."""
    found = {each.outpoint: each.txid for each in swept.outputs}
    for each in resolutions:
        outcome = _OUTCOMES.get(each.outcome)
        if each.resolution_type not in _KINDS or outcome is None:
            continue  # of a later LND
        outpoint = _outpoint(each.outpoint)
        yield CloseOutput(
            kind=_KINDS[each.resolution_type],
            outpoint=outpoint,
            amount_sat=each.amount_sat,
            outcome=outcome,
            sweep_txid=found.get(outpoint) or (Txid(each.sweep_txid) if each.sweep_txid else None),
        )


def _resolved(resolution: lightning_pb2.Resolution) -> Iterator[Offered]:
    if kind := _KINDS.get(resolution.resolution_type):
        yield Offered(_outpoint(resolution.outpoint), kind, resolution.amount_sat)


def _outpoint(listed: lightning_pb2.OutPoint) -> Outpoint:
    return Outpoint(f"{Txid(listed.txid_str)}:{listed.output_index}")


def _commit_fee(listed: _Pending.WaitingCloseChannel) -> int:
    """Of the commitment that is published; of no other transaction."""
    fees = listed.commitments
    by_txid = {
        fees.local_txid: fees.local_commit_fee_sat,
        fees.remote_txid: fees.remote_commit_fee_sat,
        fees.remote_pending_txid: fees.remote_pending_commit_fee_sat,
    }
    return by_txid.get(listed.closing_txid, 0) if listed.closing_txid else 0


def _announced(flags: str) -> CloseType | None:
    """How LND says that it closes. None: it says nothing, or two things that exclude each other."""
    words = set(flags.split("|"))
    cooperative = "ChanStatusCoopBroadcasted" in words
    if cooperative == ("ChanStatusCommitBroadcasted" in words):
        return None
    if cooperative:
        return CloseType.COOPERATIVE
    return CloseType.LOCAL_FORCE if "ChanStatusLocalCloseInitiator" in words else None
