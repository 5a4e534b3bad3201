"""What the server swaps, and its one price."""

from __future__ import annotations

from dataclasses import dataclass

# Blocks between the HTLC's expiry on chain and that of what is held off chain for it. lnd
# gives up what it holds 18 blocks early, and a refund wants some to be certain.
HELD_LONGER_BLOCKS = 40

# A client reveals its preimage no later than 20 blocks before the HTLC's expiry. A server that
# sent it later would wait for nothing.
LATEST_FUNDING_BLOCKS = 30


@dataclass(frozen=True)
class Terms:
    """Satoshis, blocks, and parts per million of what is swapped."""

    min_sat: int = 50_000
    max_sat: int = 600_000
    fee_ppm: int = 5_000
    prepay_sat: int = 1_337
    min_out_delta: int = 100
    max_out_delta: int = 800
    in_delta: int = 300

    def fee_sat(self, amount_sat: int) -> int:
        return amount_sat * self.fee_ppm // 1_000_000

    def refusal(self, amount_sat: int) -> str:
        """Why an amount is not swapped; empty if it is."""
        if amount_sat < self.min_sat:
            return f"swap amount too low: {amount_sat} is below {self.min_sat}"
        if amount_sat > self.max_sat:
            return f"swap amount too high: {amount_sat} is above {self.max_sat}"
        return ""


TERMS = Terms()
