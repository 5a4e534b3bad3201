"""Defects of what goes around: fee caps passed, parts sent twice, channels with two writers."""

from __future__ import annotations

from mutants.mutant import Mutant

_COURSES = "tests/properties/test_rebalancing.py::test_"
_TROUBLE = "tests/rebalances/test_trouble.py::test_"
_AGAIN = "tests/rebalances/test_again.py::test_"
_BOOK = "tests/turns/test_book.py::"
_TURNS = "tests/turns/test_turns.py::test_"

_PAID_EARLIER = "what_an_earlier_run_has_paid_is_counted_though_this_one_is_called_off"
_TOO_LATE = "nothing_is_sent_once_it_is_called_off_or_its_time_is_over"
_NO_CAP = f"{_COURSES}no_cap_is_passed_and_it_ends"

REBALANCING = (
    # S: rebalances without effect burn fees; the fee filter is ignored.
    Mutant(
        name="a-dear-route-is-sent",
        incident="S",
        harm="LND answers with a route above the limit, and it is paid",
        path="fulgurite/rebalances/learning.py",
        old="        and route.fees_msat <= attempt.fee_limit_msat\n",
        new="",
        killers=(_NO_CAP,),
    ),
    Mutant(
        name="the-cap-in-sat-is-per-part",
        incident="S",
        harm="a rebalance in many parts pays its whole cap for each of them",
        path="fulgurite/rebalances/progress.py",
        old="limit = request.cap.of(amount, self.fee_msat)",
        new="limit = request.cap.of(amount, Msat(0))",
        killers=(f"{_COURSES}the_cap_in_sat_holds_for_all_parts_together",),
    ),
    Mutant(
        name="the-cap-in-ppm-is-forgotten",
        incident="S",
        harm="a small part pays all of the cap in sat",
        path="fulgurite/rebalances/requests.py",
        old="return Msat(min(left, int(amount) * self.ppm // _MILLION))",
        new="return Msat(left)",
        killers=(_NO_CAP,),
    ),
    Mutant(
        name="it-moves-what-earns-nothing",
        incident="S",
        harm="liquidity is moved for more than it will ever earn where it goes",
        path="fulgurite/rebalances/progress.py",
        old="return limit if earns is None else Msat(min(limit, max(0, earns - 1)))",
        new="return limit",
        killers=(_NO_CAP,),
    ),
    Mutant(
        name="a-dear-receipt-is-no-news",
        incident="6",
        harm="a node that pays more than it was allowed goes on doing so",
        path="fulgurite/rebalances/learning.py",
        old="        if answer.fee_msat > attempt.fee_limit_msat:\n",
        new="        if answer.fee_msat > answer.amount_msat:\n",
        killers=(f"{_COURSES}a_receipt_above_the_limit_stops_it",),
    ),
    Mutant(
        name="lnd-is-not-told-the-limit",
        incident="6",
        harm="LND is asked for any route at all, and the dearest is as good as the cheapest",
        path="activities/rebalancing.py",
        old="route = await self._find(ask, attempt.fee_limit_msat)",
        new="route = await self._find(ask, attempt.amount_msat)",
        killers=(f"{_TROUBLE}lnd_is_given_the_limit_itself[simulated]",),
    ),
    # Never twice.
    Mutant(
        name="no-fence",
        incident="3",
        harm="a send that was lost arrives after the next attempt has moved the same part",
        path="activities/rebalancing.py",
        old="            await self._nodes.invoices(node).cancel(payment_hash)\n",
        new="            await self._nodes.invoices(node).look_up(payment_hash)\n",
        killers=(
            f"{_TROUBLE}a_send_that_arrives_when_its_attempt_is_over_moves_nothing[simulated]",
        ),
    ),
    Mutant(
        name="what-hangs-has-failed",
        incident="2",
        harm="an attempt that hangs is given up, the next one moves its part, and both settle",
        path="activities/rebalancing.py",
        old="                return Sent(outcome=SendOutcome.IN_FLIGHT)\n            with",
        new="                return Sent(outcome=SendOutcome.FAILED)\n            with",
        killers=(f"{_TROUBLE}what_hangs_is_waited_for_and_nothing_else_is_begun[simulated]",),
    ),
    # Asked for again.
    Mutant(
        name="a-gap-hides-what-was-sent",
        incident="3",
        harm="a number without an invoice ends the search, and what comes after it moves again",
        path="fulgurite/rebalances/learning.py",
        old="    if answer.outcome is PrepareOutcome.NO_ROUTE:\n        # The",
        new="    progress.number = attempt.number\n"
        "    if answer.outcome is PrepareOutcome.NO_ROUTE:\n        # The",
        killers=(_NO_CAP,),
    ),
    Mutant(
        name="nothing-is-recalled",
        incident="M",
        harm="asked for again and called off, it frees what its first run has in flight",
        path="workflows/rebalance.py",
        old="        while not progress.recalled:\n",
        new="        while progress.recalled:\n",
        killers=(f"{_AGAIN}{_PAID_EARLIER}[simulated]",),
    ),
    Mutant(
        name="what-was-found-costs-no-budget",
        incident="M",
        harm="fees of a run that was ended by force count in no budget",
        path="workflows/rebalance_budget.py",
        old="    if request.budgets and progress.moved_msat:\n",
        new="    if request.budgets and not progress.moved_msat:\n",
        killers=(f"{_AGAIN}{_PAID_EARLIER}[simulated]",),
    ),
    Mutant(
        name="what-was-found-has-another-limit",
        incident="S",
        harm="a rebalance that kept its cap is stopped, as if LND had passed it",
        path="fulgurite/rebalances/learning.py",
        old="fee_limit_msat=progress.fee_limit(request, known.amount_msat),",
        new="fee_limit_msat=progress.fee_limit(request, Msat(known.amount_msat // 2)),",
        killers=(f"{_COURSES}what_is_found_again_is_held_against_the_limit_of_its_own_amount",),
    ),
    Mutant(
        name="what-lnd-only-noted-is-waited-for",
        incident="2",
        harm="a rebalance follows for ever what LND has noted and never sent",
        path="activities/rebalancing.py",
        old="        by_route = ask.attempt.method is RebalanceMethod.ROUTES\n",
        new="        by_route = ask.route is not None\n",
        killers=(f"{_AGAIN}what_lnd_has_noted_and_never_sent_is_not_waited_for[simulated]",),
    ),
    Mutant(
        name="called-off-it-still-sends",
        incident="3",
        harm="the caller is told that nothing more is sent, and then it is",
        path="workflows/rebalance.py",
        old="if not under_way.may_send or self._progress.cancel_requested or self._turn is None:",
        new="if not under_way.may_send or self._turn is None:",
        killers=(f"{_AGAIN}{_TOO_LATE}[called-off-simulated]",),
    ),
    Mutant(
        name="cancel-answers-before-it-is-so",
        incident="3",
        harm="the caller is told that nothing more is sent, and what was under way is",
        path="workflows/rebalance.py",
        old="        await workflow.wait_condition(lambda: not self._may_send)\n",
        new="",
        killers=(f"{_AGAIN}nothing_is_sent_once_cancel_has_returned[simulated]",),
    ),
    # One writer a channel.
    Mutant(
        name="a-channel-has-two-writers",
        incident="S",
        harm="two rebalances drain one channel at the same time, and each undoes the other",
        path="fulgurite/turns/book.py",
        old="            if taken.isdisjoint(ask.channels):\n",
        new="            if taken.isdisjoint(ask.channels) or ask.urgent:\n",
        killers=(f"{_BOOK}test_never_two_on_a_channel_and_everybody_in_order",),
    ),
    Mutant(
        name="who-wants-one-channel-passes-who-wants-two",
        incident="S",
        harm="whoever wants several channels waits for ever",
        path="fulgurite/turns/book.py",
        old="            # What somebody waits for is as good as taken for who comes after.\n"
        "            taken.update(ask.channels)\n",
        new="            if ask.holder in self.held:\n                taken.update(ask.channels)\n",
        killers=(
            f"{_BOOK}test_who_wants_many_channels_is_not_passed_for_ever_by_those_who_want_one",
        ),
    ),
    Mutant(
        name="a-turn-never-ends",
        incident="S",
        harm="a rebalance that was ended by force keeps its channels from everybody for ever",
        path="fulgurite/turns/book.py",
        old="if not turn.over(at)}",
        new="}",
        killers=(f"{_BOOK}test_never_two_on_a_channel_and_everybody_in_order",),
    ),
)
