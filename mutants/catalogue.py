"""The defects, all of them."""

from __future__ import annotations

from mutants.budgeting import BUDGETING
from mutants.climbing import CLIMBING
from mutants.deciding import DECIDING
from mutants.leasing import LEASING
from mutants.listening import LISTENING
from mutants.paying import PAYING
from mutants.rebalancing import REBALANCING
from mutants.reconciling import RECONCILING
from mutants.swapping import SWAPPING
from mutants.telling import TELLING

MUTANTS = (
    *PAYING,
    *LISTENING,
    *TELLING,
    *DECIDING,
    *RECONCILING,
    *REBALANCING,
    *CLIMBING,
    *BUDGETING,
    *LEASING,
    *SWAPPING,
)
