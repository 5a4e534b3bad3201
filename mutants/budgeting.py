"""Defects of budgets, and of those who spend under one."""

from __future__ import annotations

from mutants.mutant import Mutant

_BOOK = "tests/budgets/test_book.py::test_"
_SPENDING = "tests/budgets/test_spending.py::test_"
_ELSEWHERE = "tests/budgets/test_same_key_elsewhere.py::test_"
_HOLDERS = "tests/replay/test_holders.py::test_"
_TELLING = "tests/budgets/test_telling.py::test_"
_DISPATCHING = "tests/properties/test_dispatching.py::test_"

BUDGETING = (
    # F: concurrent withdrawals that each find the balance sufficient.
    Mutant(
        name="room-without-what-is-under-way",
        incident="F",
        harm="a thousand payments at once each find the whole budget free",
        path="fulgurite/budgets/book.py",
        old="if more == Sum() or self.settled(at).plus(self.reserved).plus(more).fits(policy):",
        new="if more == Sum() or self.settled(at).plus(more).fits(policy):",
        killers=(f"{_BOOK}concurrent_reservations_never_add_up_to_more_than_the_budget",),
    ),
    # G: a payment that timed out freed its budget, and settled; a restart forgot it.
    Mutant(
        name="overdue-frees-the-budget",
        incident="G",
        harm="what hangs is no longer counted, others spend it, and then it settles",
        path="workflows/payment.py",
        old='_fire(PaymentEvent.OVERDUE, "still in flight; only LND can end it")\n',
        new='_fire(PaymentEvent.OVERDUE, "still in flight; only LND can end it")\n'
        "            await self._budgets.settle()\n",
        killers=(f"{_SPENDING}a_payment_in_flight_frees_nothing_whatever_time_it_takes",),
    ),
    Mutant(
        name="a-new-run-forgets-what-is-reserved",
        incident="G",
        harm="after a restart the whole of the budget is spent once more",
        path="fulgurite/budgets/book.py",
        old="        for held in self.held.values():\n"
        "            self._reserved = self._reserved.plus(held.sum)",
        new="        self._reserved = Sum()",
        killers=(f"{_BOOK}what_is_reserved_is_so_in_the_next_run_too",),
    ),
    Mutant(
        name="a-failed-attempt-frees-the-budget",
        incident="G",
        harm="between two attempts others spend what the second one will spend, too",
        path="workflows/payment.py",
        old="        pause = pause_before_attempt(self._progress.failures)\n",
        new="        pause = pause_before_attempt(self._progress.failures)\n"
        "        await self._budgets.settle()\n",
        killers=(
            f"{_SPENDING}retries_keep_the_reservation_and_a_verdict_of_failure_gives_it_back",
        ),
    ),
    # M: the limit is looked at, and the payment made, with nothing in between.
    Mutant(
        name="sent-before-it-is-reserved",
        incident="M",
        harm="the node's budget is no limit: nobody asks it",
        path="activities/dispatching.py",
        old="        if self._ungranted:\n",
        new="        if self._ungranted and not self._ask.request:\n",
        killers=(
            f"{_DISPATCHING}nothing_is_sent_before_every_budget_that_counts_it_has_granted_it",
        ),
    ),
    Mutant(
        name="one-budget-of-two-is-enough",
        incident="M",
        harm="the second budget that counts a payment is never asked",
        path="activities/dispatching.py",
        old="[each for each in budgets if each not in ask.reserved]",
        new="[] if ask.reserved else list(budgets)",
        killers=(
            f"{_DISPATCHING}nothing_is_sent_before_every_budget_that_counts_it_has_granted_it",
        ),
    ),
    # Invariant 4: settled, reserved and fee caps, at every instant; late ones still debit.
    Mutant(
        name="a-late-settlement-does-not-debit",
        incident="invariant 4",
        harm="what was released too early and settles is spent, and counts nowhere",
        path="fulgurite/budgets/book.py",
        old="            if must_be_reserved or (told_before and settled):",
        new="            if must_be_reserved or told_before:",
        killers=(f"{_BOOK}a_settlement_debits_though_the_reservation_was_released",),
    ),
    Mutant(
        name="a-late-word-frees-a-later-reservation",
        incident="invariant 4",
        harm="a settlement that is told again frees what the next intent of its key has in flight",
        path="fulgurite/budgets/book.py",
        old="        if held and told_before and since_ms < held.since_ms:\n",
        new="        if held and told_before and since_ms > held.since_ms:\n",
        killers=(f"{_BOOK}a_settlement_told_again_late_frees_nothing_of_a_later_intent",),
    ),
    Mutant(
        name="one-reservation-for-two-nodes",
        incident="invariant 4",
        harm="two nodes have a hash, or a key, under way, and only one of them counts",
        path="fulgurite/budgets/orders.py",
        old='return f"{workflow_id}@{node}"',
        new="return workflow_id",
        killers=(
            f"{_SPENDING}the_same_hash_from_another_node_has_a_reservation_of_its_own",
            f"{_ELSEWHERE}a_swap_begins_at_each_nodes_own_loopd_and_each_is_reserved",
            f"{_ELSEWHERE}a_lease_bids_at_each_nodes_own_poold_and_each_is_reserved",
            f"{_ELSEWHERE}a_rebalance_pays_each_nodes_own_invoices_and_each_is_reserved",
        ),
    ),
    Mutant(
        name="an-upgrade-loses-reservations",
        incident="invariant 4",
        harm="what had reserved before an upgrade settles under a name that holds nothing",
        path="workflows/reserving.py",
        old="    if budgets and workflow.patched(_BY_NODE):\n",
        new="    if budgets:\n",
        killers=(f"{_HOLDERS}who_reserved_under_its_id_alone_is_settled_under_it",),
    ),
    Mutant(
        name="the-fee-limit-is-not-reserved",
        incident="invariant 4",
        harm="fees are paid that no budget has granted",
        path="workflows/payment_budget.py",
        old="                self._order.fee_limit,\n",
        new="                self._order.amount - self._order.amount,\n",
        killers=(
            f"{_SPENDING}retries_keep_the_reservation_and_a_verdict_of_failure_gives_it_back",
        ),
    ),
    Mutant(
        name="the-fee-is-not-debited",
        incident="invariant 4",
        harm="a budget of fees is never spent",
        path="workflows/payment_budget.py",
        old="            update.fee_msat,\n",
        new="            update.fee_msat - update.fee_msat,\n",
        killers=(f"{_SPENDING}what_was_paid_counts_with_its_fee_and_the_rest_is_free_again",),
    ),
    Mutant(
        name="what-is-told-twice-counts-twice",
        incident="invariant 4",
        harm="an answer that was lost makes a payment count twice: the budget is never enough",
        path="fulgurite/budgets/book.py",
        old="            settled = ended is not None and ended.settled\n",
        new="            settled = ended is not None and not ended.settled\n",
        killers=(f"{_BOOK}a_settlement_debits_though_the_reservation_was_released",),
    ),
    # Invariant 12: what cannot be read lets nothing leave.
    Mutant(
        name="not-set-is-no-limit",
        incident="invariant 12",
        harm="a name that is misspelt pays without any budget",
        path="fulgurite/budgets/book.py",
        old="            return self._refusal(RefusalReason.NOT_SET, words, None)",
        new="            return None",
        killers=(f"{_BOOK}a_budget_that_nobody_has_set_grants_nothing_and_keeps_what_is_debited",),
    ),
    Mutant(
        name="no-answer-is-a-yes",
        incident="invariant 12",
        harm="while Temporal or its workers are in trouble everything is paid",
        path="activities/budgets.py",
        old="            raise application_error(error) from error\n",
        new="            return BudgetAnswer()\n",
        killers=(f"{_TELLING}a_budget_that_cannot_be_reached_is_no_answer",),
    ),
)
