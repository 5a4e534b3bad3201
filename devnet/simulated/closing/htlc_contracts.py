"""HTLCs that the chain decides: by their preimage, or by their expiry."""

from __future__ import annotations

import hashlib

from devnet.simulated.channels import PendingHtlc
from devnet.simulated.closing.commitments import CSV_BLOCKS
from devnet.simulated.closing.contracts import Contract, Desk, Outcome, Resolution, ResolutionType
from devnet.simulated.closing.sweep import Sweep, WitnessType
from devnet.simulated.onchain import weights
from devnet.simulated.onchain.transactions import Outpoint, Output, OutputKind, Transaction
from protos.lnrpc import lightning_pb2


class HtlcContract(Contract):
    """An HTLC on a commitment.

    On our own it takes two transactions of ours, the second one after CSV; on the peer's one.
    """

    def __init__(
        self,
        desk: Desk,
        htlc: PendingHtlc,
        outpoint: Outpoint,
        *,
        height: int,
        is_local: bool,
    ) -> None:
        self._amount_sat = htlc.amount_msat // 1_000
        super().__init__(desk, self._amount_sat)
        self.htlc = htlc
        self.outpoint = outpoint
        self._height = height
        self._is_local = is_local
        self._stage = 1
        self._maturity_height = htlc.expiry_height
        self._second: Outpoint | None = None
        self._is_offered = False

    @property
    def claim_outpoint(self) -> Outpoint:
        """What lnd names in its reports: on the peer's commitment, the HTLC itself.

        On our own, the output of the second transaction as it was signed: that one is never
        seen, for it is sent with an input more, which pays the fee.
        """
        if not self._is_local:
            return self.outpoint
        return Outpoint(self._signed_txid, 0)

    @property
    def _signed_txid(self) -> str:
        return hashlib.sha256(f"signed {self.outpoint}".encode()).hexdigest()

    def pending_htlc(self) -> lightning_pb2.PendingHTLC | None:
        if not self.limbo_sat:
            return None
        return lightning_pb2.PendingHTLC(
            incoming=self.htlc.receiver == self._desk.node,
            amount=self._amount_sat,
            outpoint=str(self.claim_outpoint),
            maturity_height=self._maturity_height,
            blocks_til_maturity=self._maturity_height - self._desk.view.height
            if self._maturity_height
            else 0,
            stage=self._stage,
        )

    def _offer_first(
        self,
        local: tuple[WitnessType.ValueType, int],
        remote: tuple[WitnessType.ValueType, int],
        *,
        deadline_height: int | None,
        preimage: bytes | None = None,
    ) -> None:
        """Hands the HTLC to the sweeper, with the output that a second transaction must have."""
        self._is_offered = True
        witness_type, witness_bytes = local if self._is_local else remote
        lock_height = 0 if preimage else self.htlc.expiry_height
        if deadline_height is None:
            deadline_height = self._desk.no_hurry(lock_height)
        second = Output(OutputKind.SECOND_LEVEL, self._desk.node, self._amount_sat, CSV_BLOCKS)
        self._desk.sweeper.offer(
            Sweep(
                self.outpoint,
                witness_type,
                witness_bytes,
                amount_sat=self._amount_sat,
                budget_sat=self._amount_sat // 2,
                deadline_height=deadline_height,
                lock_height=lock_height,
                csv_height=self._height + 1,
                required=second if self._is_local else None,
                preimage=preimage,
            )
        )

    def relaunch(self) -> None:
        self._is_offered = False
        if self._second is not None:
            self._offer_output(self._second)

    def _take_first(self, first: Transaction) -> None:
        """The HTLC transaction is confirmed: its output comes home after CSV."""
        index = [spend.outpoint for spend in first.spends].index(self.outpoint)
        self._second = first.outpoint(index)
        confirmed = self._desk.view.height_of(first.txid)
        assert confirmed is not None, "it has just been seen in a block"
        self._stage = 2
        # Here lnd tells when it sends the sweep, and not when a block can have it.
        self._maturity_height = confirmed + CSV_BLOCKS - 1
        self._offer_output(self._second)

    def _offer_output(self, second: Outpoint) -> None:
        outgoing = self.htlc.sender == self._desk.node
        matures = self._maturity_height + 1
        self._desk.sweeper.offer(
            Sweep(
                second,
                WitnessType.HTLC_OFFERED_TIMEOUT_SECOND_LEVEL
                if outgoing
                else WitnessType.HTLC_ACCEPTED_SUCCESS_SECOND_LEVEL,
                weights.SECOND_LEVEL_WITNESS,
                amount_sat=self._amount_sat,
                budget_sat=self._amount_sat // 2,
                deadline_height=self._desk.no_hurry(matures),
                csv_height=matures,
            )
        )

    def _final_sweep(self) -> Transaction | None:
        """What has taken the second transaction's output, in a block."""
        return self._desk.view.spender(self._second) if self._second is not None else None

    def _resolution(
        self, outcome: Outcome.ValueType, outpoint: Outpoint, spender_txid: str = ""
    ) -> Resolution:
        incoming = self.htlc.receiver == self._desk.node
        return Resolution(
            ResolutionType.INCOMING_HTLC if incoming else ResolutionType.OUTGOING_HTLC,
            outcome,
            outpoint,
            self._amount_sat,
            spender_txid,
        )


class OutgoingHtlc(HtlcContract):
    """One that we have offered: it comes back when it expires, unless the peer shows why not."""

    @property
    def watches_mempool(self) -> bool:
        """Only from its expiry on lnd looks at what is not in a block."""
        return self._is_offered

    def look(self, spender: Transaction) -> None:
        """A transaction that takes it: its preimage is ours from now on."""
        spend = next(spend for spend in spender.spends if spend.outpoint == self.outpoint)
        if spend.preimage is None or self.is_resolved:
            return
        self._resolve(self._resolution(Outcome.CLAIMED, self.claim_outpoint, spender.txid))
        self.htlc.resolve_on_chain(spend.preimage)

    def advance(self) -> None:
        if self.is_resolved:
            return
        if self._second is not None:
            self._finish()
            return
        if self._desk.view.height >= self.htlc.expiry_height - 1 and not self._is_offered:
            # Where it takes one transaction only, lnd counts it as the second one at once.
            self._stage = 1 if self._is_local else 2
            upstream = self.htlc.upstream
            self._offer_first(
                (
                    WitnessType.HTLC_OFFERED_TIMEOUT_SECOND_LEVEL_INPUT_CONFIRMED,
                    weights.HTLC_TIMEOUT_WITNESS,
                ),
                (WitnessType.HTLC_OFFERED_REMOTE_TIMEOUT, weights.REMOTE_HTLC_TIMEOUT_WITNESS),
                deadline_height=upstream.expiry_height if upstream is not None else None,
            )
        spender = self._desk.view.spender(self.outpoint)
        if spender is not None:
            self.look(spender)
            if not self.is_resolved:
                self._timed_out(spender)

    def _timed_out(self, spender: Transaction) -> None:
        if self._is_local:
            self._desk.resolutions.append(
                self._resolution(Outcome.FIRST_STAGE, self.outpoint, spender.txid)
            )
            self._take_first(spender)
        else:
            self._resolve(self._resolution(Outcome.TIMEOUT, self.outpoint, spender.txid))
        self.htlc.resolve_on_chain(None)

    def _finish(self) -> None:
        sweep = self._final_sweep()
        if sweep is not None and self._second is not None:
            self._recover()
            self._resolve(self._resolution(Outcome.TIMEOUT, self._second, sweep.txid))


class IncomingHtlc(HtlcContract):
    """One that we were offered: ours if we learn the preimage before it expires."""

    def advance(self) -> None:
        if self.is_resolved:
            return
        if self._second is not None:
            self._finish()
        elif self.htlc.preimage is not None:
            self._claim()
        elif self._desk.view.height >= self.htlc.expiry_height:
            self._resolve(self._resolution(Outcome.TIMEOUT, self.claim_outpoint))
        elif self.htlc.is_abandoned:
            self._resolve(self._resolution(Outcome.ABANDONED, self.claim_outpoint))

    def _claim(self) -> None:
        if not self._is_offered:
            self._maturity_height = CSV_BLOCKS
            self._offer_first(
                (
                    WitnessType.HTLC_ACCEPTED_SUCCESS_SECOND_LEVEL_INPUT_CONFIRMED,
                    weights.HTLC_SUCCESS_WITNESS,
                ),
                (WitnessType.HTLC_ACCEPTED_REMOTE_SUCCESS, weights.REMOTE_HTLC_SUCCESS_WITNESS),
                deadline_height=self.htlc.expiry_height,
                preimage=self.htlc.preimage,
            )
        spender = self._desk.view.spender(self.outpoint)
        if spender is None:
            return
        if self._desk.node not in {spend.by for spend in spender.spends}:
            # Too late: the sender had it back.
            self._resolve(self._resolution(Outcome.TIMEOUT, self.outpoint, spender.txid))
        elif self._is_local:
            self._take_first(spender)
        else:
            self._resolve(self._resolution(Outcome.CLAIMED, self.claim_outpoint, spender.txid))

    def _finish(self) -> None:
        sweep = self._final_sweep()
        if sweep is None:
            return
        self._recover()
        # Of the first step lnd names the transaction as it was signed, which was never sent.
        self._resolve(
            self._resolution(Outcome.CLAIMED, self.claim_outpoint, sweep.txid),
            self._resolution(Outcome.FIRST_STAGE, self.outpoint, self._signed_txid),
        )
