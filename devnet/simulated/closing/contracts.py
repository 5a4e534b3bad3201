"""The outputs of a confirmed commitment, each with what its node does about it.

They say of themselves what lnd's resolvers say, its oversights included: an HTLC that is
resolved in one step stays in limbo in the report until the whole channel is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

from devnet.simulated.closing.sweep import Sweep, WitnessType
from devnet.simulated.closing.sweeper import Sweeper
from devnet.simulated.onchain import weights
from devnet.simulated.onchain.fees import NO_HURRY_BLOCKS
from devnet.simulated.onchain.transactions import Outpoint, Output, Transaction
from devnet.simulated.onchain.view import ChainView
from protos.lnrpc import lightning_pb2

ResolutionType = lightning_pb2.ResolutionType
Outcome = lightning_pb2.ResolutionOutcome


@dataclass(frozen=True)
class Resolution:
    """What became of an output, for ClosedChannels."""

    kind: ResolutionType.ValueType
    outcome: Outcome.ValueType
    outpoint: Outpoint
    amount_sat: int
    sweep_txid: str = ""


@dataclass(frozen=True)
class Desk:
    """What a contract works with: its node's view of the chain, and the sweeper."""

    node: str
    view: ChainView
    sweeper: Sweeper
    resolutions: list[Resolution]

    def no_hurry(self, from_height: int = 0) -> int:
        """The deadline of what has none, and can be spent only from a height on."""
        return max(self.view.height, from_height) + NO_HURRY_BLOCKS


class Contract:
    """An output of ours, or one that others may take from us."""

    def __init__(self, desk: Desk, amount_sat: int) -> None:
        self.limbo_sat = amount_sat
        self.recovered_sat = 0
        self.is_resolved = False
        self._desk = desk

    def advance(self) -> None:
        """Acts on what the node's chain has come to."""

    def relaunch(self) -> None:
        """Offers to the sweeper again what a restart has made it forget."""

    def pending_htlc(self) -> lightning_pb2.PendingHTLC | None:
        """How an HTLC shows in PendingChannels."""
        return None

    def _recover(self) -> None:
        self.recovered_sat, self.limbo_sat = self.limbo_sat, 0

    def _resolve(self, *resolutions: Resolution) -> None:
        self.is_resolved = True
        self._desk.resolutions.extend(resolutions)


class CommitOutput(Contract):
    """Our balance: after CSV where the commitment is ours, else after one block."""

    def __init__(
        self, desk: Desk, outpoint: Outpoint, output: Output, *, height: int, is_local: bool
    ) -> None:
        super().__init__(desk, output.amount_sat)
        self.maturity_height = height + output.csv_blocks
        self._outpoint = outpoint
        self._amount_sat = output.amount_sat
        self._is_local = is_local
        self.relaunch()

    def relaunch(self) -> None:
        local, remote = (
            WitnessType.COMMITMENT_TIME_LOCK,
            WitnessType.COMMITMENT_TO_REMOTE_CONFIRMED,
        )
        self._desk.sweeper.offer(
            Sweep(
                self._outpoint,
                local if self._is_local else remote,
                weights.TO_LOCAL_WITNESS if self._is_local else weights.TO_REMOTE_WITNESS,
                amount_sat=self._amount_sat,
                budget_sat=self._amount_sat // 2,
                deadline_height=self._desk.no_hurry(self.maturity_height),
                csv_height=self.maturity_height,
            )
        )

    def advance(self) -> None:
        sweep = self._desk.view.spender(self._outpoint)
        if sweep is None or self.is_resolved:
            return
        self._recover()
        self._resolve(
            Resolution(
                ResolutionType.COMMIT,
                Outcome.CLAIMED,
                self._outpoint,
                self._amount_sat,
                sweep.txid,
            )
        )


class Anchor(Contract):
    """Next to nothing. The channel does not wait for it."""

    def __init__(self, desk: Desk, outpoint: Outpoint, output: Output) -> None:
        super().__init__(desk, output.amount_sat)
        self._outpoint = outpoint
        self._amount_sat = output.amount_sat
        self.relaunch()

    def relaunch(self) -> None:
        if not self.is_resolved:
            terms = anchor_sweep(self._desk, self._outpoint, budget_sat=self._amount_sat)
            self._desk.sweeper.offer(terms)

    @property
    def state(
        self,
    ) -> lightning_pb2.PendingChannelsResponse.ForceClosedChannel.AnchorState.ValueType:
        closed = lightning_pb2.PendingChannelsResponse.ForceClosedChannel
        if self.recovered_sat:
            return closed.RECOVERED
        return closed.LIMBO if self.limbo_sat else closed.LOST

    def advance(self) -> None:
        sweep = self._desk.view.spender(self._outpoint)
        if sweep is None or self.is_resolved:
            return
        self._recover()
        self._resolve(
            Resolution(
                ResolutionType.ANCHOR,
                Outcome.CLAIMED,
                self._outpoint,
                self._amount_sat,
                sweep.txid,
            )
        )


def anchor_sweep(
    desk: Desk,
    outpoint: Outpoint,
    *,
    budget_sat: int,
    deadline_height: int | None = None,
    parent: Transaction | None = None,
) -> Sweep:
    """An anchor for the sweeper: to pay for its parent, or for the little that it is worth."""
    return Sweep(
        outpoint,
        WitnessType.COMMITMENT_ANCHOR,
        weights.ANCHOR_WITNESS,
        amount_sat=330,
        budget_sat=budget_sat,
        deadline_height=desk.no_hurry() if deadline_height is None else deadline_height,
        parent=parent,
        is_exclusive=True,
    )
