"""Defects of reconciliation: what differs and is not told, or not found."""

from __future__ import annotations

from mutants.mutant import Mutant

_COMPARING = "tests/reconciliation/test_comparing.py::test_"
_OTHERS = "tests/reconciliation/test_comparing_others.py::test_"
_MANY = "tests/reconciliation/test_many.py::test_"
_WORKFLOW = "tests/unit/test_reconciliation_workflow.py::test_"

RECONCILING = (
    # Invariant 10: what differs is reported, never silently repaired.
    Mutant(
        name="a-repair-is-silent",
        incident="invariant 10",
        harm="a missed settlement is delivered, and nobody learns that the stream has missed one",
        path="activities/comparing.py",
        old="            if not await self._ours.tell(kind, theirs):\n",
        new="            if await self._ours.tell(kind, theirs) or True:\n",
        killers=(f"{_MANY}what_changed_a_moment_ago_is_left_to_the_next_time",),
    ),
    Mutant(
        name="differences-are-no-events",
        incident="invariant 10",
        harm="the report is right, and nobody reads it",
        path="workflows/reconciliation.py",
        old="        await self._tell(found)\n",
        new="",
        killers=(f"{_WORKFLOW}each_difference_is_an_event_and_the_report_says_so",),
    ),
    Mutant(
        name="amounts-need-not-agree",
        incident="invariant 10",
        harm="an invoice that was paid with less than was asked for agrees",
        path="fulgurite/reconciliation/comparing.py",
        old="    return None if ours is None or ours == theirs else _K.AMOUNT_DIFFERS",
        new="    return None",
        killers=(
            f"{_COMPARING}an_invoice_over_another_amount",
            f"{_COMPARING}a_payment_over_another_amount",
        ),
    ),
    Mutant(
        name="another-cost-agrees",
        incident="invariant 10",
        harm="a receipt tells less than loopd has spent, and the books agree",
        path="fulgurite/reconciliation/swaps.py",
        old="    return None if receipt.cost == theirs.cost else _K.COST_DIFFERS",
        new="    return None",
        killers=(f"{_OTHERS}another_swap_amount_or_cost_differs",),
    ),
    Mutant(
        name="a-swap-that-nobody-knows-is-foreign",
        incident="invariant 10",
        harm="loopd swaps under our label, Temporal has lost the workflow, and nobody is told",
        path="fulgurite/reconciliation/swaps.py",
        old="    if ours is None or ours.by_force:\n        return _K.UNFOLLOWED_SWAP\n",
        new="    if ours is None or ours.by_force:\n        return None\n",
        killers=(f"{_OTHERS}a_swap_that_nobody_follows_is_no_difference_only_of_loopd",),
    ),
    Mutant(
        name="a-daemon-that-is-away-agrees",
        incident="invariant 12",
        harm="loopd does not answer, and the report says AGREES",
        path="workflows/reconciliation.py",
        old="                self._unfinished[call.name] = _why_not(error)\n",
        new="                self._tallies.pop(call.name)\n",
        killers=(f"{_WORKFLOW}a_daemon_that_is_away_is_told_as_not_compared",),
    ),
    Mutant(
        name="what-has-ended-agrees",
        incident="invariant 10",
        harm="ours says CLOSED, LND says SETTLED, and that is called agreement",
        path="fulgurite/reconciliation/comparing.py",
        old="            difference = None if same else _K.STATE_DIFFERS",
        new="            difference = None",
        killers=(f"{_COMPARING}an_invoice_that_ended_by_itself_agrees_with_one_verdict",),
    ),
    Mutant(
        name="half-a-comparison-agrees",
        incident="invariant 10",
        harm="no worker compared the payments, and the report says AGREES",
        path="workflows/reconciliation.py",
        old="        elif not self._unfinished:",
        new="        elif len(self._unfinished) < 2:",
        killers=(f"{_WORKFLOW}half_a_comparison_is_no_agreement",),
    ),
    # W: the rest of a long list is never read.
    Mutant(
        name="only-a-hundred-are-told",
        incident="W",
        harm="of many differences the same hundred are told each time, and number 101 never is",
        path="workflows/reconciliation.py",
        old="        await self._tell(found)\n",
        new="        await self._tell(self._pressing)\n",
        killers=(f"{_WORKFLOW}every_difference_is_told_however_many_there_are",),
    ),
    Mutant(
        name="only-the-first-page-is-compared",
        incident="W",
        harm="with more than a page of invoices, the newest ones are never looked at",
        path="activities/comparing.py",
        old="        if page.last_index <= tally.after_index:",
        new="        if page.last_index <= tally.after_index or tally.after_index:",
        killers=(f"{_MANY}another_worker_goes_on_where_the_first_one_was",),
    ),
    Mutant(
        name="only-some-of-ours-are-asked-about",
        incident="W",
        harm="of those under way, only a page is held against what the node knows",
        path="activities/comparing.py",
        old='"stage": Stage.OURS if page.next_token else Stage.DONE,',
        new='"stage": Stage.DONE,',
        killers=(f"{_MANY}what_the_node_does_not_know_is_found_page_by_page",),
    ),
)
