"""Defects of invoices, held ones, and relays: what ends too early, too late, or on both sides."""

from __future__ import annotations

from mutants.mutant import Mutant

_ACTIVITIES = "tests/unit/test_invoice_activities.py::test_"
_NODE = "tests/unit/test_node_invoices.py::test_"
_PROGRESS = "tests/unit/test_invoice_progress.py::test_"
_RELAY = "tests/properties/test_relay_courses.py::test_"
_SECRETS = "tests/unit/test_secrets.py::test_"
_LATE = "tests/scenarios/test_late_payers.py::test_"

DECIDING = (
    # I: upstream went back, and downstream was paid.
    Mutant(
        name="an-unknown-end-is-a-failure",
        incident="I",
        harm="a payment's workflow is terminated, upstream goes back, and the payment settles",
        path="workflows/relay.py",
        old='            self._note(f"the payment ended without a verdict, asking again: ',
        new='            self._fire(RelayEvent.NOT_PAID, f"',
        killers=(f"{_RELAY}a_payment_that_ended_without_a_verdict_gives_nothing_back",),
    ),
    Mutant(
        name="no-preimage-means-not-paid",
        incident="I",
        harm="a success whose preimage is not told sends upstream back",
        path="fulgurite/relays/progress.py",
        old="            if receipt.sealed_preimage is None:\n                return None",
        new="            if receipt.sealed_preimage is None:\n"
        '                return RelayEvent.NOT_PAID, "there is no preimage"',
        killers=(f"{_RELAY}a_payment_that_ended_without_a_verdict_gives_nothing_back",),
    ),
    Mutant(
        name="a-node-that-nobody-knows-has-not-paid",
        incident="I",
        harm="a node leaves the configuration while it pays, and upstream goes back",
        path="workflows/relayed_payment.py",
        old=" or cause.type == UnknownNodeError.__name__",
        new="",
        killers=(f"{_RELAY}a_payment_that_ended_without_a_verdict_gives_nothing_back",),
    ),
    Mutant(
        name="upstream-back-is-the-end",
        incident="I",
        harm="upstream went back, and nobody follows the payment that is still in flight",
        path="fulgurite/relays/states.py",
        old="Edge(_S.PAYING, _E.UPSTREAM_LOST, _S.LOSS_POSSIBLE,",
        new="Edge(_S.PAYING, _E.UPSTREAM_LOST, _S.CANCELED,",
        killers=(f"{_RELAY}who_takes_upstream_back_in_flight_is_told_of_and_downstream_followed",),
    ),
    # Invariant 7: upstream is not given back while downstream is open, nor taken without a
    # preimage that outlives a crash.
    Mutant(
        name="a-relays-invoice-has-a-default",
        incident="invariant 7",
        harm="upstream's own workflow cancels it after a while, whatever downstream does",
        path="fulgurite/relays/requests.py",
        old="            default=Verdict.KEEP,",
        new="            default=Verdict.CANCEL,",
        killers=(f"{_RELAY}its_invoice_is_never_sent_back_by_a_default_of_its_own",),
    ),
    Mutant(
        name="downstream-may-end-after-upstream",
        incident="invariant 7",
        harm="LND gives upstream back at its expiry while downstream can still be paid",
        path="fulgurite/relays/requests.py",
        old="        first_expiry_height - tip - _AHEAD_BLOCKS,",
        new="        first_expiry_height - tip,",
        killers=(f"{_RELAY}what_goes_out_ends_long_before_what_came_in",),
    ),
    Mutant(
        name="counted-blocks-do-not-age",
        incident="invariant 7",
        harm="a payment that is sent hours later ends hours after what was counted",
        path="fulgurite/relays/requests.py",
        old='            "no_attempt_after": min(outgoing.no_attempt_after or until, until),\n',
        new="",
        killers=(f"{_RELAY}blocks_that_were_counted_long_ago_send_nothing",),
    ),
    Mutant(
        name="the-preimage-is-not-carried-over",
        incident="invariant 7",
        harm="a new run of the relay has to take the money, and has no preimage",
        path="workflows/relay.py",
        old="            workflow.continue_as_new(args=[self._request, self._progress])",
        new="            self._progress.receipt_of_payment = None\n"
        "            workflow.continue_as_new(args=[self._request, self._progress])",
        killers=(f"{_RELAY}a_new_run_has_the_preimage_that_the_one_before_it_had",),
    ),
    Mutant(
        name="a-preimage-of-chance",
        incident="invariant 7",
        harm="LND writes an invoice, the worker dies, and nobody has its preimage",
        path="activities/invoices.py",
        old="        preimage = self._key.preimage_of(ask.node, ask.key)",
        new="        preimage = Preimage.generate()",
        killers=(f"{_ACTIVITIES}a_crash_after_lnd_wrote_the_invoice_leaves_the_same_preimage",),
    ),
    Mutant(
        name="the-preimage-is-not-kept",
        incident="invariant 7",
        harm="a hold invoice is paid, and the workflow that must settle it has nothing to do it by",
        path="activities/invoices.py",
        old="self._key.sealing_key.seal(preimage) if preimage else None",
        new="None",
        killers=(f"{_ACTIVITIES}what_a_workflow_is_given_holds_its_preimage_sealed_or_not_at_all",),
    ),
    Mutant(
        name="any-preimage-will-do",
        incident="invariant 7",
        harm="an order for one invoice settles another one, which nobody has decided about",
        path="activities/invoices.py",
        old="        if not preimage.settles(ask.payment_hash):",
        new="        if not preimage:",
        killers=(f"{_ACTIVITIES}only_an_invoices_own_preimage_is_given_to_lnd",),
    ),
    # Invariant 8: decided at least 24 blocks before the first HTLC expires.
    Mutant(
        name="decided-at-lnds-own-limit",
        incident="invariant 8",
        harm="LND gives it back at 18 blocks, and the decision comes after that",
        path="fulgurite/invoices/states.py",
        old="DECIDE_BEFORE_EXPIRY_BLOCKS = 24",
        new="DECIDE_BEFORE_EXPIRY_BLOCKS = 12",
        killers=(f"{_PROGRESS}what_is_held_is_decided_long_before_its_first_htlc_expires",),
    ),
    Mutant(
        name="no-blocks-for-lnd-to-act-in",
        incident="invariant 8",
        harm="the order is given at the very limit, and blocks come in bursts",
        path="fulgurite/invoices/progress.py",
        old="first - DECIDE_BEFORE_EXPIRY_BLOCKS - _LEAD_BLOCKS if first",
        new="first - DECIDE_BEFORE_EXPIRY_BLOCKS if first",
        killers=(f"{_PROGRESS}what_is_held_is_decided_long_before_its_first_htlc_expires",),
    ),
    Mutant(
        name="the-last-htlc-sets-the-deadline",
        incident="invariant 8",
        harm="of several parts the first expires while the decision waits for the last",
        path="nodes/lnd/invoices.py",
        old="        first_expiry_height=min(",
        new="        first_expiry_height=max(",
        killers=(f"{_NODE}a_held_invoice_tells_when_its_first_htlc_expires",),
    ),
    Mutant(
        name="the-watch-has-no-height",
        incident="invariant 8",
        harm="blocks come faster than the clock, and nobody looks",
        path="activities/invoices.py",
        old="            reached = ask.until_height is not None and height >= ask.until_height",
        new="            reached = False",
        killers=(f"{_ACTIVITIES}a_watch_ends_at_its_height",),
    ),
    # R: paid after its expiry, and not credited, or not told.
    Mutant(
        name="an-expired-invoice-hears-nothing",
        incident="R",
        harm="LND took a late payment; ours says that nobody paid",
        path="fulgurite/invoices/progress.py",
        old="        if self.state in INVOICE.terminal:\n            return None\n",
        new="        if self.state in {*INVOICE.terminal, InvoiceState.EXPIRED}:\n"
        "            return None\n",
        killers=(f"{_PROGRESS}who_paid_late_has_paid_too_and_is_told_with_advice",),
    ),
    Mutant(
        name="paid-late-is-closed",
        incident="R",
        harm="a late payment ends the invoice as one that was never paid",
        path="fulgurite/invoices/states.py",
        old="Edge(_S.EXPIRED, _E.SETTLED_LATE, _S.PAID_LATE,",
        new="Edge(_S.EXPIRED, _E.SETTLED_LATE, _S.CLOSED,",
        killers=(f"{_PROGRESS}who_paid_late_has_paid_too_and_is_told_with_advice",),
    ),
    Mutant(
        name="paid-late-is-no-event",
        incident="R",
        harm="the money is there, and the merchant is not told",
        path="fulgurite/events/catalogue.py",
        old="    InvoiceState.PAID_LATE: EventType.INVOICE_PAID_LATE,\n",
        new="",
        killers=(f"{_PROGRESS}every_end_is_an_event_but_the_one_that_was_told_before",),
    ),
    Mutant(
        name="late-is-not-late",
        incident="R",
        harm="a late payment passes for one in time, and nobody makes invoices that last longer",
        path="fulgurite/invoices/progress.py",
        old="    if update.paid_at and update.paid_at > invoice.expires_at:",
        new="    if False:",
        killers=(f"{_PROGRESS}who_paid_late_has_paid_too_and_is_told_with_advice",),
    ),
    Mutant(
        name="our-clock-says-that-nobody-paid",
        incident="R",
        harm="an invoice is told as expired while LND can still take a payment for it",
        path="workflows/invoice.py",
        old="        while not self._progress.ended_unpaid:\n",
        new="        while False:\n",
        killers=(f"{_LATE}a_node_that_was_away_at_the_expiry_has_the_last_word",),
    ),
    Mutant(
        name="an-open-invoice-ends-by-our-clock",
        incident="R",
        harm="LND was asked, says OPEN, and the invoice counts as unpaid for good",
        path="fulgurite/invoices/progress.py",
        old="            case LndInvoiceState.CANCELED:\n                return self._ended",
        new="            case LndInvoiceState.CANCELED | LndInvoiceState.OPEN:\n"
        "                return self._ended",
        killers=(f"{_PROGRESS}only_lnd_says_that_nobody_has_paid",),
    ),
    # Invariant 5: what is told again changes nothing.
    Mutant(
        name="what-has-ended-can-be-moved",
        incident="invariant 5",
        harm="a settlement that comes by the list as well breaks the workflow that has told it",
        path="fulgurite/invoices/progress.py",
        old="        if self.state in INVOICE.terminal:\n            return None\n",
        new="",
        killers=(f"{_PROGRESS}what_has_ended_is_moved_by_no_word_that_comes_again",),
    ),
    # Invariant 11: no preimage in what is told.
    Mutant(
        name="lnds-answer-shows-its-preimage",
        incident="invariant 11",
        harm="what a scan reads, and what is logged of it, holds the preimages of every invoice",
        path="nodes/lnd/invoices.py",
        old="        memo=invoice.memo,\n        description_hash=(",
        new="        memo=invoice.memo or invoice.r_preimage.hex(),\n        description_hash=(",
        killers=(f"{_NODE}no_preimage_stays_in_what_is_told",),
    ),
    Mutant(
        name="lnd-is-given-the-held-preimage",
        incident="invariant 11",
        harm="LND knows the preimage of a hold invoice, shows it in its list, and holds nothing",
        path="nodes/lnd/invoices.py",
        old="            if request.hold:\n",
        new="            if request.hold and preimage is None:\n",
        killers=(f"{_NODE}lnd_never_gets_the_preimage_of_a_hold_invoice",),
    ),
    Mutant(
        name="two-nodes-share-a-preimage",
        incident="invariant 11",
        harm="who has paid one node's invoice can take what is on its way to the other's",
        path="fulgurite/sealing.py",
        old='f"fulgurite/invoice/1/{node}/{key}"',
        new='f"fulgurite/invoice/1/{key}"',
        killers=(f"{_SECRETS}a_key_has_one_preimage_a_node_and_needs_the_private_key",),
    ),
    Mutant(
        name="a-refusal-quotes-the-preimage",
        incident="invariant 11",
        harm="a mistaken settlement puts somebody's preimage into the history",
        path="activities/invoices.py",
        old='InvalidRequestError("the sealed preimage does not belong to the payment hash")',
        new='InvalidRequestError(f"{preimage.reveal().hex()} does not belong to the payment hash")',
        killers=(f"{_ACTIVITIES}only_an_invoices_own_preimage_is_given_to_lnd",),
    ),
)
