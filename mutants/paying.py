"""Defects of the paying side."""

from __future__ import annotations

from mutants.mutant import Mutant

_DISPATCHING = "tests/properties/test_dispatching.py::test_"
_TOGETHER = "tests/properties/test_dispatching_together.py::test_"
_LIFECYCLE = "tests/properties/test_lifecycle.py::test_"
_PROGRESS = "tests/properties/test_progress.py::test_"
_NODE = "tests/unit/test_node_payments.py::test_"
_CONFIGURATION = "tests/unit/test_configuration.py::test_"
_SECRETS = "tests/unit/test_secrets.py::test_"

PAYING = (
    # A: the client's own timeout taken as a failure, with the HTLC in flight.
    Mutant(
        name="unavailable-means-nothing-moved",
        incident="A",
        harm="a node that does not answer counts as one that has nothing",
        path="activities/dispatching.py",
        old="except PaymentNotFoundError:\n            return None\n        if found is None:",
        new="except (PaymentNotFoundError, NodeError):\n            return None\n"
        "        if found is None:",
        killers=(f"{_DISPATCHING}nothing_is_sent_to_a_node_that_cannot_be_asked",),
    ),
    Mutant(
        name="no-word-in-time-means-too-late",
        incident="A",
        harm="silence for the length of the fast path ends the payment as lapsed",
        path="activities/dispatching.py",
        old="                raise NodeUnavailableError(\n"
        '                    f"{self._ask.request.node}: LND gave no word on the payment in time"\n'
        "                )",
        new="                return Ending(DispatchOutcome.LAPSED)",
        killers=(f"{_DISPATCHING}a_send_without_an_answer_that_cannot_be_found_proves_nothing",),
    ),
    # B: a deadline taken as a verdict; the payment settled 30 s later.
    Mutant(
        name="overdue-is-failed",
        incident="B",
        harm="a payment that hangs for long is reported as failed and paid a second time",
        path="fulgurite/payments/states.py",
        old="Edge(_S.IN_FLIGHT, _E.OVERDUE, _S.STUCK,",
        new="Edge(_S.IN_FLIGHT, _E.OVERDUE, _S.FAILED,",
        killers=(f"{_LIFECYCLE}what_lnd_has_ends_by_lnds_word_alone",),
    ),
    Mutant(
        name="in-flight-at-the-end-is-failed",
        incident="B",
        harm="what is in flight when the fast path ends is told as failed",
        path="activities/dispatching.py",
        old="        except TimeoutError:\n            pass\n        return last",
        new="        except TimeoutError:\n            if last is not None:\n"
        "                from dataclasses import replace\n"
        "                last = replace(last, status=PaymentStatus.FAILED)\n        return last",
        killers=(
            f"{_DISPATCHING}time_is_up_with_the_payment_in_flight_and_that_is_what_is_told",
            f"{_DISPATCHING}a_first_dispatch_never_concludes_what_is_not_so",
        ),
    ),
    # C: NotFound taken as proof while LND had not indexed the payment yet.
    Mutant(
        name="not-found-is-believed-at-once",
        incident="C",
        harm="a send that is still on its way is called refused, and the money goes twice",
        path="activities/dispatching.py",
        old="        if self._ask.first_task and not self._lost_answer:\n            return None",
        new="        return None",
        killers=(f"{_DISPATCHING}not_found_after_a_lost_answer_is_no_proof",),
    ),
    Mutant(
        name="lapsed-without-asking-again",
        incident="C",
        harm="after a crash, an old dispatch's send is forgotten when its time is over",
        path="activities/dispatching.py",
        old="            return await self._unknown_for_sure() or refusal",
        new="            return refusal",
        killers=(f"{_DISPATCHING}nor_does_one_after_an_answer_was_lost",),
    ),
    Mutant(
        name="already-exists-then-not-found-is-unknown",
        incident="C",
        harm="LND says that it has the payment, lags behind its word, and is not believed",
        path="activities/dispatching.py",
        old="                self._accepted = True",
        new="                pass",
        killers=(f"{_DISPATCHING}already_exists_is_believed_though_it_cannot_be_found_yet",),
    ),
    # D: a stream that never ends after a reason; a reason that is no verdict.
    Mutant(
        name="reason-is-a-verdict",
        incident="D",
        harm="TIMEOUT beside an HTLC in flight is told as FAILED; then it settles",
        path="nodes/lnd/payments.py",
        old="        status = _STATUS[payment.status]",
        new="        status = _STATUS[payment.status]\n"
        "        if payment.failure_reason:\n            status = PaymentStatus.FAILED",
        killers=(f"{_NODE}only_the_status_decides",),
    ),
    Mutant(
        name="wait-for-the-streams-end",
        incident="D",
        harm="LND's verdict is heard and not used, because the stream stays open",
        path="activities/dispatching.py",
        old="                    if last.status is not PaymentStatus.IN_FLIGHT:\n"
        "                        break",
        new="                    pass",
        killers=(f"{_DISPATCHING}a_stream_that_does_not_end_is_left_at_the_verdict",),
    ),
    # H and invariant 6: the fee limit.
    Mutant(
        name="fee-limit-not-handed-over",
        incident="H",
        harm="LND pays any fee",
        path="nodes/lnd/payments.py",
        old="        fee_limit_msat=order.fee_limit,",
        new="        fee_limit_msat=order.amount,",
        killers=(f"{_NODE}the_fee_limit_is_handed_to_lnd",),
    ),
    Mutant(
        name="fee-not-checked-on-the-receipt",
        incident="invariant 6",
        harm="LND paid more than it was allowed to, and nobody is told",
        path="fulgurite/payments/progress.py",
        old="update.fee_msat > order.fee_limit",
        new="False",
        killers=(
            f"{_PROGRESS}what_somebody_else_paid_above_this_limit_is_not_this_runs_fault",
            f"{_PROGRESS}state_and_receipt_say_what_lnd_said_last",
        ),
    ),
    Mutant(
        name="zero-fee-limit-is-no-limit",
        incident="invariant 6",
        harm="somebody who asks for free routes only pays whatever it costs",
        path="fulgurite/money.py",
        old="            return Msat.from_sat(self.sat)",
        new="            return Msat.from_sat(self.sat or 21_000_000)",
        killers=("tests/unit/test_money.py::test_a_limit_of_zero_means_zero",),
    ),
    # O: an HTLC failed back after success.
    Mutant(
        name="a-failed-htlc-fails-the-payment",
        incident="O",
        harm="a settled payment, one of whose HTLCs came back, is reported as failed",
        path="nodes/lnd/payments.py",
        old="    succeeded = status is PaymentStatus.SUCCEEDED\n",
        new="    came_back = lightning_pb2.HTLCAttempt.FAILED\n"
        "    if any(htlc.status == came_back for htlc in payment.htlcs):\n"
        "        status = PaymentStatus.FAILED\n"
        "    succeeded = status is PaymentStatus.SUCCEEDED\n",
        killers=(f"{_NODE}a_settled_payment_stays_so_though_some_of_its_htlcs_failed",),
    ),
    Mutant(
        name="the-last-word-wins-over-the-verdict",
        incident="O",
        harm="a FAILED that LND says after SUCCEEDED takes the success back",
        path="activities/dispatching.py",
        old="                    if last.status is not PaymentStatus.IN_FLIGHT:\n",
        new="                    if last.status is PaymentStatus.FAILED:\n",
        killers=(f"{_DISPATCHING}a_verdict_of_success_stands_whatever_the_stream_says_after_it",),
    ),
    # Invariant 2: FAILED comes only from LND.
    Mutant(
        name="cancel-means-failed",
        incident="invariant 2",
        harm="a cancel in flight is answered with FAILED, and the payment settles",
        path="fulgurite/payments/progress.py",
        old="        if update.status is PaymentStatus.IN_FLIGHT:\n",
        new="        if update.status is PaymentStatus.IN_FLIGHT and self.cancel_requested:\n"
        '            return PaymentEvent.GIVEN_UP, "canceled"\n'
        "        if update.status is PaymentStatus.IN_FLIGHT:\n",
        killers=(f"{_PROGRESS}only_the_status_decides",),
    ),
    Mutant(
        name="cancel-ends-what-is-in-flight",
        incident="invariant 2",
        harm="the table lets a cancel end a payment that LND still has",
        path="fulgurite/payments/states.py",
        old='        Edge(_S.IN_FLIGHT, _E.FAILED, _S.FAILED, "LND\'s verdict"),',
        new='        Edge(_S.IN_FLIGHT, _E.FAILED, _S.FAILED, "LND\'s verdict"),\n'
        '        Edge(_S.IN_FLIGHT, _E.CANCELED, _S.CANCELED, "called off"),',
        killers=(f"{_LIFECYCLE}what_lnd_has_ends_by_lnds_word_alone",),
    ),
    # Invariant 3: a new attempt only after a terminal FAILED.
    Mutant(
        name="in-flight-is-tried-again",
        incident="invariant 3",
        harm="a new attempt is planned while the last one is under way",
        path="fulgurite/payments/progress.py",
        old='            return (PaymentEvent.ACCEPTED, "LND has it") if arriving else None',
        new="            if arriving and at + pause_before_attempt(1) < last_moment:\n"
        '                return PaymentEvent.FAILED_FOR_NOW, "too slow"\n'
        '            return (PaymentEvent.ACCEPTED, "LND has it") if arriving else None',
        killers=(f"{_PROGRESS}only_the_status_decides",),
    ),
    Mutant(
        name="waits-for-liquidity-without-a-verdict",
        incident="invariant 3",
        harm="a reason beside an HTLC in flight is taken for FAILED: it is sent again",
        path="fulgurite/payments/progress.py",
        old='            return (PaymentEvent.ACCEPTED, "LND has it") if arriving else None',
        new="            if liquidity_may_help(update.failure_reason):\n"
        '                return PaymentEvent.NEEDS_LIQUIDITY, "waits"\n'
        '            return (PaymentEvent.ACCEPTED, "LND has it") if arriving else None',
        killers=(
            f"{_PROGRESS}only_the_status_decides",
            f"{_PROGRESS}liquidity_is_waited_for_after_a_verdict_alone_and_within_every_limit",
        ),
    ),
    Mutant(
        name="stuck-is-dispatched-again",
        incident="invariant 3",
        harm="a stuck payment is sent again",
        path="fulgurite/payments/states.py",
        old='        Edge(_S.STUCK, _E.SETTLED, _S.SUCCEEDED, "LND\'s verdict"),',
        new='        Edge(_S.STUCK, _E.SETTLED, _S.SUCCEEDED, "LND\'s verdict"),\n'
        '        Edge(_S.STUCK, _E.DISPATCHED, _S.DISPATCHING, "try harder"),',
        killers=(f"{_LIFECYCLE}another_attempt_begins_only_where_the_last_one_has_failed",),
    ),
    # X: a lock of the whole process, held for as long as a payment takes.
    Mutant(
        name="one-payment-at-a-time",
        incident="X",
        harm="each payment that hangs holds up all others for as long as the fast path waits",
        path="activities/payments.py",
        old="            async with heartbeating(WHILE_SENDING_SECONDS):\n",
        new='            self._one = getattr(self, "_one", asyncio.Lock())\n'
        "            async with self._one, heartbeating(WHILE_SENDING_SECONDS):\n",
        killers=(f"{_TOGETHER}payments_that_hang_hold_up_no_other_payment",),
    ),
    # Invariant 11: no secret in plain text.
    Mutant(
        name="preimage-in-its-repr",
        incident="invariant 11",
        harm="every traceback and log line that meets a preimage shows it",
        path="fulgurite/identity.py",
        old='        return "Preimage(secret)"',
        new='        return f"Preimage({self._secret.hex()})"',
        killers=(f"{_SECRETS}no_way_of_printing_shows_a_preimage",),
    ),
    Mutant(
        name="seal-that-seals-nothing",
        incident="invariant 11",
        harm="the preimage is in Temporal's history, for whoever can read it",
        path="fulgurite/sealing.py",
        old="b64encode(SealedBox(self._key).encrypt(preimage.reveal()))",
        new="b64encode(preimage.reveal() + bytes(48))",
        killers=(f"{_SECRETS}what_is_sealed_can_be_opened_and_is_valid_as_a_field",),
    ),
    Mutant(
        name="error-quotes-the-lndconnect-uri",
        incident="invariant 11",
        harm="a typing mistake puts the macaroon into the logs",
        path="nodes/lndconnect.py",
        old='"this is no lndconnect URI: it looks like',
        new='f"{uri} is no lndconnect URI: it looks like',
        killers=(f"{_CONFIGURATION}what_is_no_lndconnect_uri_is_refused_and_not_repeated",),
    ),
    Mutant(
        name="validation-repeats-its-input",
        incident="invariant 11",
        harm="a preimage in the wrong field comes back in the error, and so into the history",
        path="fulgurite/model.py",
        old="        hide_input_in_errors=True,",
        new="        hide_input_in_errors=False,",
        killers=("tests/unit/test_requests.py::test_what_is_wrong_is_named_and_not_repeated",),
    ),
)
