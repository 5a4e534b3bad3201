"""An output on its way into the wallet, and the transaction that takes it there with others."""

from __future__ import annotations

from dataclasses import dataclass, field

from devnet.simulated.closing.fee_function import FeeFunction
from devnet.simulated.onchain.fees import Fees
from devnet.simulated.onchain.transactions import (
    Draw,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)
from devnet.simulated.onchain.weights import (
    INPUT_BYTES,
    P2TR_OUTPUT_BYTES,
    P2WSH_OUTPUT_BYTES,
    RELAY_SAT_PER_KW,
    WALLET_INPUT_WEIGHT,
    fee_sat,
    sweep_weight,
)
from protos.walletrpc import walletkit_pb2

WitnessType = walletkit_pb2.WitnessType

# lnd pays no more than 1,000 sat a virtual byte, whatever the budget.
MAX_SAT_PER_KW = 250_000

# Less than this is no output to a taproot address.
DUST_SAT = 330

LABEL = "0:sweep"


@dataclass(eq=False)
class Sweep:
    """What the sweeper holds of one output.

    It can be spent above `lock_height`, and in a block of `csv_height` or later. `required`
    is the output that the other end has signed for: then the value goes there, and the fee
    must come from somewhere else. `parent` is an unconfirmed one that it shall pay for.
    """

    outpoint: Outpoint
    witness_type: WitnessType.ValueType
    witness_bytes: int
    amount_sat: int
    budget_sat: int
    deadline_height: int
    lock_height: int = 0
    csv_height: int = 0
    required: Output | None = None
    preimage: bytes | None = field(default=None, repr=False)
    parent: Transaction | None = None
    is_exclusive: bool = False
    start_sat_per_kw: int | None = None
    is_immediate: bool = False
    attempts: int = 0
    last_sat_per_kw: int = 0

    def is_mature(self, height: int) -> bool:
        """Whether the next block could have it spent."""
        return height >= self.lock_height and height + 1 >= self.csv_height

    @property
    def pays_at_all(self) -> bool:
        """Whether its budget covers its own part of the least fee, and of the one asked for."""
        rate = max(RELAY_SAT_PER_KW, self.start_sat_per_kw or 0)
        return self.budget_sat >= fee_sat(rate, INPUT_BYTES * 4 + self.witness_bytes)

    @property
    def maturity_height(self) -> int:
        return max(self.lock_height, self.csv_height)


class CannotPayError(Exception):
    """No transaction can be made: what is swept does not pay the fee, and the wallet neither."""


class Batch:
    """Sweeps that go together, and the fee of their transaction as it rises."""

    def __init__(
        self,
        node: str,
        sweeps: list[Sweep],
        *,
        fees: Fees,
        height: int,
        parent: Transaction | None,
    ) -> None:
        # What has an output of its own comes first: input and output must have one index.
        self.sweeps = sorted(sweeps, key=lambda sweep: sweep.required is None)
        self.transaction: Transaction | None = None
        self._node = node
        self._parent = parent
        self._budget_sat = sum(sweep.budget_sat for sweep in sweeps)
        self._deadline_height = min(sweep.deadline_height for sweep in sweeps)
        self._weight = self._weigh()
        max_rate = min(MAX_SAT_PER_KW, self._budget_sat * 1_000 // self._weight)
        blocks = self.blocks_left(height)
        start = max((s.start_sat_per_kw or 0 for s in sweeps), default=0)
        if not start:
            start = fees.estimate_sat_per_kw(blocks)
            if start > max_rate and blocks > 1:
                raise CannotPayError("the estimate is above the budget: it waits for the deadline")
        self.fee_function = FeeFunction(max_rate, blocks, start)

    @property
    def needs_wallet(self) -> bool:
        """What is swept cannot pay by itself all that the budgets allow."""
        needed_sat = sum(s.budget_sat for s in self.sweeps if s.required is not None)
        spare_sat = sum(s.amount_sat - s.budget_sat for s in self.sweeps if s.required is None)
        return spare_sat < needed_sat

    def blocks_left(self, height: int) -> int:
        return max(0, self._deadline_height - height)

    def build(self, wallet_sat: int) -> Transaction:
        """The transaction at the present fee; raises CannotPayError."""
        own_sat = sum(s.amount_sat for s in self.sweeps if s.required is None)
        fee = self._fee_sat()
        change_sat = own_sat - fee
        if self.needs_wallet:
            if wallet_sat < max(1, -change_sat):
                raise CannotPayError("not enough wallet UTXOs")
        elif change_sat < DUST_SAT:
            if change_sat < 0 or not any(s.required for s in self.sweeps):
                raise CannotPayError("tx has no output")
            fee, change_sat = fee + change_sat, 0

        outputs = [s.required for s in self.sweeps if s.required is not None]
        if change_sat > 0:
            outputs.append(Output(OutputKind.WALLET, self._node, change_sat))
        return Transaction(
            publisher=self._node,
            label=LABEL,
            spends=tuple(Spend(s.outpoint, self._node, s.preimage) for s in self.sweeps),
            draws=(Draw(self._node, -change_sat),) if change_sat < 0 else (),
            outputs=tuple(outputs),
            fee_sat=fee,
            weight=self._weight,
            lock_height=max(s.lock_height for s in self.sweeps),
        )

    def _weigh(self) -> int:
        required = sum(sweep.required is not None for sweep in self.sweeps)
        outputs = [P2WSH_OUTPUT_BYTES] * required + [P2TR_OUTPUT_BYTES]
        weight = sweep_weight((sweep.witness_bytes for sweep in self.sweeps), outputs)
        return weight + WALLET_INPUT_WEIGHT if self.needs_wallet else weight

    def _fee_sat(self) -> int:
        rate = self.fee_function.sat_per_kw
        fee = fee_sat(rate, self._weight)
        if self._parent is None or self._parent.sat_per_kw >= rate:
            return fee
        family = fee_sat(rate, self._weight + self._parent.weight) - self._parent.fee_sat
        return min(max(fee, family), self._budget_sat)
