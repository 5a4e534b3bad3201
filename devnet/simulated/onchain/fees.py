"""What a place in a block costs, and what lnd believes that it costs."""

from __future__ import annotations

from devnet.simulated.onchain.weights import RELAY_SAT_PER_KW, SAT_PER_KW

# btcd estimates so far ahead and no further; beyond it lnd takes this rate for sure.
_ESTIMATED_BLOCKS = 25
FALLBACK_SAT_PER_KW = 6_250

# From here on lnd is in no hurry, and pays what is relayed at all.
NO_HURRY_BLOCKS = 1_008


class Fees:
    """A chain that nobody crowds, unless a test says otherwise."""

    def __init__(self) -> None:
        self.floor_sat_per_vbyte = 0  # blocks leave out what pays less
        self.told_sat_per_vbyte = 0  # what every estimate is at the least

    @property
    def floor_sat_per_kw(self) -> int:
        return self.floor_sat_per_vbyte * SAT_PER_KW

    def estimate_sat_per_kw(self, conf_target: int) -> int:
        """The fee rate that confirms within so many blocks, as far as lnd can tell."""
        is_fallback = _ESTIMATED_BLOCKS < conf_target < NO_HURRY_BLOCKS
        quiet = FALLBACK_SAT_PER_KW if is_fallback else RELAY_SAT_PER_KW
        return max(quiet, self.told_sat_per_vbyte * SAT_PER_KW)
