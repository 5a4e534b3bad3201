"""The defects, all of them."""

from __future__ import annotations

from mutants.deciding import DECIDING
from mutants.listening import LISTENING
from mutants.paying import PAYING
from mutants.reconciling import RECONCILING
from mutants.telling import TELLING

MUTANTS = (*PAYING, *LISTENING, *TELLING, *DECIDING, *RECONCILING)
