"""Defects of leases: a bid made twice, money out without a limit, a bid forgotten."""

from __future__ import annotations

from mutants.mutant import Mutant

_COURSES = "tests/properties/test_lease_courses.py::test_"
_ACTIVITIES = "tests/unit/test_lease_activities.py::test_"
_NODE = "tests/unit/test_node_pool.py::test_"

LEASING = (
    # 1: one intent, at most one bid. poold makes one each time that it is asked.
    Mutant(
        name="a-bid-is-made-without-a-look",
        incident="1",
        harm="a retry after a lost answer leaves two bids, and both win a channel",
        path="activities/leases.py",
        old="if found := await self._found(find, patient=activity.info().attempt > 1):",
        new="if found := (None and await self._found(find, patient=True)):",
        killers=(f"{_ACTIVITIES}a_bid_that_is_there_is_not_made_again",),
    ),
    Mutant(
        name="a-lost-answer-is-not-looked-for",
        incident="1",
        harm="a bid whose answer was lost counts as not made, while it is in the market",
        path="activities/leases.py",
        old="if found := await self._found(find, patient=not refused):",
        new="if found := (None and await self._found(find, patient=True)):",
        killers=(f"{_ACTIVITIES}a_bid_whose_answer_was_lost_is_found_when_poold_lists_it",),
    ),
    Mutant(
        name="no-pause-before-the-next-call",
        incident="1",
        harm="a call that is still under way in poold is made a second time beside it",
        path="activities/leases.py",
        old="patient=activity.info().attempt > 1",
        new="patient=False",
        killers=(f"{_ACTIVITIES}the_next_try_waits_until_the_last_call_is_over_for_certain",),
    ),
    Mutant(
        name="a-bid-without-its-mark",
        incident="1",
        harm="poold lists the bid, and nobody knows that it is ours",
        path="nodes/pool/trader.py",
        old="                not_allowed_node_ids=[mark.raw()],\n",
        new="",
        killers=(f"{_NODE}a_bid_is_found_by_its_mark_and_by_nothing_else",),
    ),
    Mutant(
        name="the-twin-stays",
        incident="1",
        harm="of two bids that one lost answer has left behind, both are matched",
        path="fulgurite/leases/deciding.py",
        old="open_bids if is_off else open_bids[1:]",
        new="open_bids if is_off else []",
        killers=(f"{_COURSES}the_younger_of_two_bids_is_taken_back",),
    ),
    Mutant(
        name="an-account-is-opened-again",
        incident="1",
        harm="while an account waits for its blocks, one more is opened at every look",
        path="fulgurite/leases/accounts.py",
        old="    if terms.open_with_sat is None or lease.opened:\n        return None\n",
        new="    if terms.open_with_sat is None:\n        return None\n",
        killers=(f"{_COURSES}an_account_that_is_gone_is_not_opened_again",),
    ),
    # 2 and 12: what is unknown is not failed, and what cannot be read stops.
    Mutant(
        name="a-bid-is-given-up-at-the-first-word",
        incident="2",
        harm="a bid counts as failed while a batch can still have it",
        path="fulgurite/leases/deciding.py",
        old="_FAILED_FOR_CERTAIN_BLOCKS: Final = 3",
        new="_FAILED_FOR_CERTAIN_BLOCKS: Final = 0",
        killers=(f"{_COURSES}poolds_failed_counts_after_some_blocks",),
    ),
    Mutant(
        name="a-bid-is-out-at-the-end",
        incident="2",
        harm="a lease ends as expired, and its bid is matched a day later",
        path="fulgurite/leases/deciding.py",
        old="    is_off = lease.cancel_requested or at >= lease.deadline(request)\n",
        new="    is_off = lease.cancel_requested\n",
        killers=(f"{_COURSES}a_bid_is_taken_back_at_its_deadline",),
    ),
    Mutant(
        name="a-cost-limit-is-not-held",
        incident="H",
        harm="a lease costs more than its limit",
        path="fulgurite/leases/deciding.py",
        old="if request.max_cost_sat is not None and cost_sat > request.max_cost_sat:",
        new="if request.max_cost_sat is not None and cost_sat < 0:",
        killers=(f"{_COURSES}what_is_above_a_limit_or_a_threshold_waits_or_is_refused",),
    ),
    Mutant(
        name="nobody-is-asked",
        incident="12",
        harm="a threshold is passed by, and money leaves without a person's word",
        path="fulgurite/leases/deciding.py",
        old="if threshold is not None and cost_sat > threshold:",
        new="if threshold is not None and cost_sat < 0:",
        killers=(f"{_COURSES}what_is_above_a_limit_or_a_threshold_waits_or_is_refused",),
    ),
    Mutant(
        name="a-bid-before-its-budget",
        incident="12",
        harm="an account is opened and a bid made that no budget has granted",
        path="fulgurite/leases/deciding.py",
        old="    if request.budgets and not lease.reserved:\n"
        "        return None  # first they are asked\n",
        new="",
        killers=(f"{_COURSES}nothing_moves_before_every_budget_has_granted_it",),
    ),
)
