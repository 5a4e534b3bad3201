"""Defects of swaps: begun twice, above a limit, or said to have ended when they had not."""

from __future__ import annotations

from mutants.mutant import Mutant

_DOMAIN = "tests/unit/test_swaps.py::test_"
_TROUBLE = "tests/swaps/test_trouble.py::test_"
_SWAPS = "tests/swaps/test_swaps.py::test_"
_KILLS = "tests/swaps/test_kills.py::test_"
_ATTACKS = "tests/swaps/test_attacks.py::test_"
_SEQUENCES = "tests/unit/test_swap_sequences.py::test_"

SWAPPING = (
    # U: no reason given, no cap kept, and a swap that is begun anew because nobody found it.
    Mutant(
        name="a-lost-answer-is-asked-for-again",
        incident="U",
        harm="loopd has the first swap, and makes a second one",
        path="workflows/swap_beginning.py",
        old="            return Initiated(outcome=Outcome.LOST, because=",
        new="            return Initiated(outcome=Outcome.NOT_ASKED, because=",
        killers=(
            f"{_KILLS}a_worker_that_dies_between_the_question_and_the_answer_begins_one_swap[simulated]",
        ),
    ),
    Mutant(
        name="an-error-of-loopds-is-a-refusal",
        incident="U",
        harm="an orphan runs, and its caller is told that nothing was begun",
        path="activities/swaps.py",
        old="            return Initiated(outcome=Outcome.LOST, because=_words(error))\n",
        new="            return Initiated(outcome=Outcome.REFUSED, because=_words(error))\n",
        killers=(f"{_TROUBLE}a_loopd_error_nobody_knows_is_no_refusal[simulated]",),
    ),
    Mutant(
        name="not-listed-is-not-begun",
        incident="U",
        harm="a person begins it again while loopd has it stored: two swaps",
        path="workflows/swap_following.py",
        old="        if self._swap.unlisted:\n",
        new="        if False:\n",
        killers=(
            f"{_TROUBLE}an_orphan_is_adopted_when_loopd_restarts_and_never_doubled[simulated]",
        ),
    ),
    Mutant(
        name="what-loopd-does-not-list-is-not-there",
        incident="U",
        harm="a key whose workflow was ended by force begins a second swap beside its orphan",
        path="fulgurite/swaps/told.py",
        old="        if not self.unlisted:\n",
        new="        if True:\n",
        killers=(
            f"{_ATTACKS}a_key_is_not_begun_again_while_loopd_has_stored_what_it_does_not_list[simulated]",
        ),
    ),
    Mutant(
        name="a-worker-that-thaws-still-asks",
        incident="U",
        harm="the swap was begun again meanwhile, by a person's word: two swaps",
        path="activities/swaps.py",
        old="if datetime.now(UTC) > ask.not_after else",
        new="if False else",
        killers=(
            f"{_ATTACKS}a_worker_that_was_held_up_for_too_long_asks_loopd_for_nothing[simulated]",
        ),
    ),
    Mutant(
        name="a-call-that-nobody-hears-is-over",
        incident="U",
        harm="a person begins it again while the first call is still being made",
        path="fulgurite/swaps/progress.py",
        old="last - max(since, self.asked_until or since) >= watched",
        new="last - since >= watched",
        killers=(f"{_DOMAIN}no_look_is_evidence_while_a_worker_that_is_held_up_can_ask_loopd_yet",),
    ),
    Mutant(
        name="an-old-word-is-consent",
        incident="U",
        harm="loopd stops caring for an HTLC that is on chain: its coins are lost",
        path="activities/swaps.py",
        old="if swap.state is not LoopState.INITIATED and not ask.even_if_published:",
        new="if False:",
        killers=(
            f"{_ATTACKS}what_was_published_meanwhile_is_not_abandoned_without_consent[simulated]",
        ),
    ),
    Mutant(
        name="one-look-proves-it",
        incident="U",
        harm="what was stored a moment later is begun twice",
        path="fulgurite/swaps/progress.py",
        old="        if sighting.unlisted:\n            self.nothing_stored_since = None\n",
        new="        if False:\n            self.nothing_stored_since = None\n",
        killers=(
            f"{_DOMAIN}only_what_loopd_stored_and_lists_for_long_enough_lets_another_try_begin",
        ),
    ),
    Mutant(
        name="a-part-of-a-label-is-the-label",
        incident="U",
        harm="another caller's swap is taken for this one, which never begins",
        path="nodes/loop/swaps.py",
        old="            swaps=tuple(swap for swap in swaps if swap.label.startswith(prefix)),\n",
        new="            swaps=tuple(swaps),\n",
        killers=(f"{_TROUBLE}a_label_that_contains_another_is_another_swap[simulated]",),
    ),
    Mutant(
        name="a-swap-that-temporal-forgot-begins-anew",
        incident="U",
        harm="a key that is used again after its retention swaps twice",
        path="activities/swaps.py",
        old=(
            "        if listed := sighting.swaps:\n"
            "            return _existing(listed[-1], request)\n"
        ),
        new="",
        killers=(f"{_TROUBLE}a_key_that_temporal_has_forgotten_is_found_at_loopd[simulated]",),
    ),
    Mutant(
        name="a-failure-for-now-is-the-end",
        incident="U",
        harm="loopd goes on after its restart, and nobody follows it",
        path="fulgurite/swaps/told.py",
        old="        if self.reason in NOT_FINAL:\n            return SwapEvent.STALLED\n",
        new="",
        killers=(f"{_DOMAIN}a_failure_that_is_not_loopds_last_word_ends_nothing",),
    ),
    Mutant(
        name="a-run-that-knows-nothing-frees-the-budget",
        incident="4",
        harm="the swap that an earlier run began is not counted, and more is spent than allowed",
        path="workflows/swap_beginning.py",
        old="        elif swap.offer and swap.offer.existing is None:\n",
        new="        else:\n",
        killers=(
            f"{_ATTACKS}a_run_that_has_not_heard_that_nothing_was_begun_frees_no_budget[REFUSED-simulated]",
        ),
    ),
    Mutant(
        name="a-prepayment-that-is-lost-is-free",
        incident="4",
        harm="swaps that fail lose their prepayments, one by one, and the total never shrinks",
        path="fulgurite/swaps/progress.py",
        old="        return self.bounds.max_prepay_sat + routing_sat\n",
        new="        return 0\n",
        killers=(
            f"{_DOMAIN}a_swap_out_that_failed_counts_what_was_paid_in_advance",
            f"{_ATTACKS}a_prepayment_that_may_be_lost_counts_in_the_budget_and_in_the_sequence[simulated]",
        ),
    ),
    Mutant(
        name="a-change-during-the-last-swap-is-lost",
        incident="U",
        harm="an order is taken, and less is swapped than it says",
        path="fulgurite/swaps/sequence.py",
        old="        if self.changed:\n            return SequenceEvent.SWAPPED",
        new="        if False:\n            return SequenceEvent.SWAPPED",
        killers=(f"{_SEQUENCES}an_amount_that_is_raised_during_the_last_swap_is_swapped_too",),
    ),
    # 12, and U's caps: what is above a limit is not begun.
    Mutant(
        name="a-swap-that-fails-is-free",
        incident="12",
        harm="a lost prepayment, or a refund, costs more than the caller allowed",
        path="fulgurite/swaps/limits.py",
        old="max(self.max_swap_fee_sat, self.max_prepay_sat, self.max_refund_sat)",
        new="self.max_swap_fee_sat",
        killers=(
            f"{_DOMAIN}a_swap_that_could_lose_more_than_its_total_when_it_fails_is_not_begun",
        ),
    ),
    Mutant(
        name="the-total-is-a-wish",
        incident="12",
        harm="the limits of the parts add up to more than the caller allowed",
        path="fulgurite/swaps/limits.py",
        old="        (Limit.TOTAL, bounds.worst_case_sat, limits.total),\n",
        new="",
        killers=(f"{_DOMAIN}what_loopd_may_spend_is_within_every_limit_or_nothing_is_begun",),
    ),
    Mutant(
        name="a-quote-above-its-limit-is-taken",
        incident="12",
        harm="a dear swap is begun",
        path="fulgurite/swaps/progress.py",
        old="        reason = _OVER[over[0].limit] if over else SwapReason.NONE\n",
        new="        reason = SwapReason.NONE\n",
        killers=(f"{_DOMAIN}a_quote_above_a_limit_is_none_that_is_taken",),
    ),
    Mutant(
        name="what-it-cost-is-not-held-against-its-limits",
        incident="H",
        harm="loopd spends more than it was told, and nobody hears of it",
        path="fulgurite/swaps/progress.py",
        old="            return exceeded(self.bounds, self.cost)\n",
        new="            return ()\n",
        killers=(f"{_SWAPS}what_it_cost_above_a_limit_that_loopd_was_handed_is_told[simulated]",),
    ),
    Mutant(
        name="a-missing-estimate-is-no-cost",
        incident="12",
        harm="a fee that nobody could estimate passes every limit",
        path="fulgurite/swaps/progress.py",
        old="SwapReason.WALLET_BALANCE if offer.quote.miner_fee_sat < 0 else SwapReason.NONE",
        new="SwapReason.NONE",
        killers=(f"{_DOMAIN}a_quote_that_is_missing_or_a_fee_nobody_could_estimate_fails_closed",),
    ),
)
