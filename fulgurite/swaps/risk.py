"""The money at risk in a swap, state by state: what is locked, and what could be lost yet."""

from __future__ import annotations

from fulgurite.swaps.limits import Bounds, Cost, Direction
from fulgurite.swaps.receipts import AtRisk
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SwapState

_MAY_HAVE_BEGUN = frozenset(
    {SwapState.INITIATING, SwapState.ORPHAN_WATCH, SwapState.UNCERTAIN, SwapState.GIVEN_UP}
)

_PAID_AGAINST_HTLC = "the server is paid only against its HTLC; the prepayment it may keep"
_RUNS_ANYWAY = "loopd may have begun it: then it runs whether it is known or not"
_SWEEP_IN_TIME = "the sweep must confirm before the HTLC expires: watch its fee"


def at_risk(state: SwapState, request: SwapRequest, bounds: Bounds | None, cost: Cost) -> AtRisk:
    """What of the money is not where it was, and the most that could be lost from now on.

    Without bounds, for a swap that was adopted, the request's own total stands in for them.
    """
    worst_sat = bounds.worst_case_sat if bounds else request.limits.total.of(request.amount_sat)
    whole_sat = request.amount_sat + worst_sat
    prepay_sat = bounds.max_prepay_sat + bounds.max_prepay_routing_sat if bounds else worst_sat
    miner_sat = bounds.max_miner_fee_sat if bounds else worst_sat
    out = request.direction is Direction.OUT
    begun = (
        (whole_sat, prepay_sat, _PAID_AGAINST_HTLC)
        if out
        else (request.amount_sat, worst_sat, "the HTLC is not known to be published yet")
    )
    risks: dict[SwapState, tuple[int, int, str]] = {
        **dict.fromkeys(_MAY_HAVE_BEGUN, (whole_sat, worst_sat, _RUNS_ANYWAY)),
        SwapState.INITIATED: begun,
        SwapState.PREIMAGE_REVEALED: (whole_sat, whole_sat, _SWEEP_IN_TIME),
        SwapState.HTLC_PUBLISHED: (
            request.amount_sat + cost.on_chain_sat,
            2 * miner_sat,
            "if the server does not pay, loopd takes the coins back after the expiry",
        ),
        SwapState.STALLED: (
            whole_sat,
            whole_sat,
            "loopd does nothing until it is restarted or mended: heights go on",
        ),
        SwapState.ABANDONED: (
            request.amount_sat,
            request.amount_sat,
            "if its HTLC is on chain, only a person can take it back",
        ),
    }
    in_flight_sat, could_lose_sat, because = risks.get(state, (0, 0, ""))
    return AtRisk(in_flight_sat=in_flight_sat, could_lose_sat=could_lose_sat, because=because)
