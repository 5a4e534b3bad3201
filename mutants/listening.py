"""Defects of the stream of a node's invoices: what is missed, passed over, or never told."""

from __future__ import annotations

from mutants.mutant import Mutant

_CURSOR = "tests/streams/test_cursor.py::test_"
_HALF_OPEN = "tests/streams/test_half_open.py::test_"
_FAIR = "tests/streams/test_fairness.py::test_"
_LATE = "tests/unit/test_late_payers.py::test_"
_NODE = "tests/unit/test_node_invoices.py::test_"
_ROUTING = "tests/streams/test_routing.py::test_"
_DELETIONS = "tests/streams/test_deletions.py::test_"
_INDICES = "tests/streams/test_indices.py::test_"
_ROUNDS = "tests/streams/test_rounds.py::test_"
_TOLD = "tests/streams/test_told.py::test_"
_TROUBLE = "tests/streams/test_trouble.py::test_"
_WORKFLOW = "tests/unit/test_invoice_stream_workflow.py::test_"

LISTENING = (
    # J: a settle_index that was reset, an add_index with gaps.
    Mutant(
        name="settle-index-is-remembered",
        incident="J",
        harm="after a reset of its indices LND is asked for what is far above them, and is silent",
        path="activities/invoice_stream.py",
        old="settle_index = max((each.settle_index for each in newest.invoices), default=0)",
        new="settle_index = self.listened.cursor.settled.index",
        killers=(f"{_INDICES}a_reset_settle_index_is_noticed_and_costs_nothing",),
    ),
    Mutant(
        name="reset-changes-nothing",
        incident="J",
        harm="the invoices that took over the numbers of others are never looked at",
        path="activities/known_invoices.py",
        old="self.note(cursor=self.cursor.went_back(), resets=",
        new="self.note(resets=",
        killers=(
            f"{_INDICES}a_lower_add_index_is_noticed_and_costs_nothing",
            f"{_INDICES}an_index_that_stands_for_another_invoice_now_is_noticed",
        ),
    ),
    Mutant(
        name="every-deletion-is-a-reset",
        incident="J",
        harm="a node that deletes what it canceled raises an alarm, and is listed anew each time",
        path="activities/known_invoices.py",
        old="went_back = not self._may_be_deletions(newest, last)",
        new="went_back = True",
        killers=(f"{_DELETIONS}canceled_invoices_that_lnd_deletes_are_no_reset",),
    ),
    Mutant(
        name="a-reset-passes-for-deletions",
        incident="J",
        harm="an older database is taken for one without what was canceled, and nobody is told",
        path="activities/known_invoices.py",
        old="            return stayed and index >= self._settled_to\n",
        new="            return stayed\n",
        killers=(f"{_DELETIONS}a_settled_invoice_that_is_missing_is_a_reset",),
    ),
    Mutant(
        name="reset-keeps-what-has-ended",
        incident="J",
        harm="a node has lost its database, and its new invoices count as ended",
        path="fulgurite/invoices/stream.py",
        old='update={"complete": False, "pending_from": 1, "listed_to": 0}',
        new='update={"complete": False, "listed_to": 0}',
        killers=(f"{_FAIR}a_node_that_lost_its_database_is_listed_from_its_first_invoice_on",),
    ),
    Mutant(
        name="indices-have-no-gaps",
        incident="J",
        harm="behind a gap, the next page of invoices begins in the middle of it, for ever",
        path="nodes/lnd/invoices.py",
        old="            reached if listed.invoices else after_index,",
        new="            after_index + len(listed.invoices),",
        killers=(f"{_NODE}a_page_says_where_the_next_one_goes_on",),
    ),
    Mutant(
        name="newest-invoices-are-passed-over",
        incident="J",
        harm="an invoice that the database shows later than its successor is never found",
        path="fulgurite/invoices/stream.py",
        old="    recent = max(1, last_index + 1 - RECENT_INVOICES)",
        new="    recent = last_index + 1",
        killers=(
            f"{_CURSOR}what_is_pending_or_recent_is_never_passed",
            f"{_INDICES}an_invoice_that_the_list_shows_late_is_not_passed_over",
        ),
    ),
    # K: only what is going on is told; what ended while nobody listened is lost.
    Mutant(
        name="the-past-is-no-news",
        incident="K",
        harm="what was settled before the first listener came is told to nobody",
        path="activities/known_invoices.py",
        old="            return False  # our own may wait for any",
        new="            pass",
        killers=(f"{_TOLD}what_settled_while_nobody_listened_is_told_to_our_own",),
    ),
    Mutant(
        name="scans-tell-nothing",
        incident="K",
        harm="what the stream did not tell is seen in the list, and not told either",
        path="activities/known_invoices.py",
        old="return await self._telling.all_of(filter(self._is_news, read), self._news_since)",
        new="return 0",
        killers=(f"{_FAIR}every_settlement_of_an_outage_is_told_and_not_the_newest_alone",),
    ),
    Mutant(
        name="known-through-the-present",
        incident="K",
        harm="LND's clock is behind ours: what it settled since counts as told before",
        path="fulgurite/invoices/stream.py",
        old="        through = min(max(self.settled.at, last_settled_at), began_at)",
        new="        through = began_at",
        killers=(
            f"{_CURSOR}only_a_complete_listing_is_known_and_by_lnds_clock",
            f"{_INDICES}lnds_clock_may_be_hours_behind",
        ),
    ),
    Mutant(
        name="what-is-held-is-not-looked-for",
        incident="K",
        harm="LND streams no ACCEPTED: a hold invoice is paid, and nobody decides",
        path="activities/known_invoices.py",
        old="                return invoice.payment_hash not in self._held",
        new="                return False",
        killers=(f"{_TOLD}what_is_held_or_canceled_is_found_though_lnd_streams_neither",),
    ),
    Mutant(
        name="heartbeats-are-ignored",
        incident="K",
        harm="who takes over from a dead worker begins where its round began, and not where it was",
        path="activities/listening.py",
        old="            so_far = Listened.model_validate(details[0])",
        new="            pass",
        killers=(
            "tests/streams/test_listening.py::test_a_retry_begins_where_the_heartbeats_ended",
        ),
    ),
    Mutant(
        name="each-round-forgets",
        incident="K",
        harm="what one activity has come to is unknown to the next one",
        path="workflows/invoice_stream.py",
        old='{"listened": listened, "rounds": view.rounds + 1}',
        new='{"rounds": view.rounds + 1}',
        killers=(f"{_WORKFLOW}each_round_begins_where_the_one_before_it_ended",),
    ),
    # P: deaf after LND's restart; a listener that turns in circles.
    Mutant(
        name="a-cut-ends-the-listening",
        incident="P",
        harm="LND restarts, and from then on nothing is heard",
        path="activities/invoice_stream.py",
        old="            except NodeError as error:\n                because = str(error)",
        new="            except NodeError:\n                await asyncio.Event().wait()\n"
        "                raise",
        killers=(f"{_TOLD}nothing_is_missing_soon_after_the_beginning_or_a_cut",),
    ),
    Mutant(
        name="a-silent-stream-is-trusted",
        incident="P",
        harm="a stream that is open and tells nothing more stays for ever",
        path="activities/invoice_scans.py",
        old="            connection.stalled.set()",
        new="            pass",
        killers=(f"{_TROUBLE}a_stream_that_is_open_and_tells_nothing_is_replaced",),
    ),
    Mutant(
        name="nobody-asks-whether-the-line-lives",
        incident="P",
        harm="a router forgets the connection: no list is answered, and no news come, for ever",
        path="nodes/dialing.py",
        old='    ("grpc.keepalive_time_ms", 20_000),\n',
        new="",
        killers=(f"{_HALF_OPEN}a_line_that_is_half_open_is_replaced_and_nothing_is_lost",),
    ),
    Mutant(
        name="a-dead-line-is-waited-for",
        incident="P",
        harm="half a minute of deafness is a minute and a half, as gRPC's own default has it",
        path="nodes/dialing.py",
        old='    ("grpc.http2.ping_timeout_ms", 10_000),\n',
        new="",
        killers=(f"{_HALF_OPEN}a_line_that_is_half_open_is_replaced_and_nothing_is_lost",),
    ),
    Mutant(
        name="no-pause-where-chance-says-none",
        incident="P",
        harm="the jitter allows a pause of nothing, and the listener spins",
        path="activities/backoff.py",
        old="max(_SHORTEST_SECONDS, self._longest * self._draw())",
        new="self._longest * self._draw()",
        killers=(f"{_TROUBLE}a_stream_that_closes_at_once_each_time_makes_no_busy_loop",),
    ),
    Mutant(
        name="pauses-do-not-grow",
        incident="P",
        harm="a node that is down for hours is asked five times a second",
        path="activities/backoff.py",
        old="        self._longest = min(2 * self._longest, _LONGEST_SECONDS)\n",
        new="",
        killers=(f"{_TROUBLE}a_node_that_is_down_is_asked_less_and_less_often",),
    ),
    Mutant(
        name="a-defect-ends-the-stream",
        incident="P",
        harm="one bad answer, and nobody hears of the node's invoices until an operator sees it",
        path="workflows/invoice_stream.py",
        old="            if is_cancelled_exception(error):\n                raise",
        new="            raise",
        killers=(f"{_WORKFLOW}a_defect_ends_a_round_and_not_the_listening",),
    ),
    Mutant(
        name="no-pause-after-a-defect",
        incident="P",
        harm="a defect that stays makes a new activity as fast as Temporal can",
        path="workflows/invoice_stream.py",
        old="await workflow.sleep(_PAUSE_AFTER_DEFECT,",
        new="await workflow.sleep(timedelta(0),",
        killers=(f"{_WORKFLOW}a_defect_that_stays_makes_no_busy_loop_and_is_shown",),
    ),
    # W: newer rows starve the repair of older ones.
    Mutant(
        name="a-scan-is-one-page",
        incident="W",
        harm="of many invoices only a page is ever looked at",
        path="activities/invoice_scans.py",
        old="            found.last_index = page.last_index\n",
        new="            if found.last_index:\n                break\n"
        "            found.last_index = page.last_index\n",
        killers=(f"{_FAIR}every_settlement_of_an_outage_is_told_and_not_the_newest_alone",),
    ),
    Mutant(
        name="only-the-newest-are-scanned",
        incident="W",
        harm="an invoice that is open for long is passed by newer ones, and never looked at again",
        path="fulgurite/invoices/stream.py",
        old="    return recent if first_pending is None else min(recent, first_pending)",
        new="    return recent",
        killers=(
            f"{_CURSOR}what_is_pending_or_recent_is_never_passed",
            f"{_FAIR}what_pends_for_long_is_looked_at_however_much_is_newer",
        ),
    ),
    Mutant(
        name="what-fails-is-tried-for-long-each-time",
        incident="W",
        harm="some that cannot be told take up the time of those that can",
        path="activities/telling.py",
        old="(None,) if key in self._failing else (*_PAUSES_SECONDS, None)",
        new="(*_PAUSES_SECONDS, 60.0, 60.0, None)",
        killers=(f"{_TROUBLE}what_cannot_be_told_delays_nobody_else",),
    ),
    # X: one after another.
    Mutant(
        name="the-stream-tells-one-at-a-time",
        incident="X",
        harm="a workflow that is slow to answer holds up every settlement behind it",
        path="activities/telling.py",
        old="self._room = asyncio.Semaphore(AT_ONCE)",
        new="self._room = asyncio.Semaphore(1)",
        killers=(f"{_FAIR}a_settlement_does_not_wait_for_the_telling_of_others",),
    ),
    Mutant(
        name="a-scan-tells-one-at-a-time",
        incident="X",
        harm="after an outage of an hour, hours of telling",
        path="activities/telling.py",
        old="        room = asyncio.Semaphore(AT_ONCE)",
        new="        room = asyncio.Semaphore(1)",
        killers=(f"{_FAIR}what_a_scan_finds_is_told_many_at_once",),
    ),
    # Invariant 5: every settlement has its effect exactly once.
    Mutant(
        name="the-cursor-passes-what-was-not-told",
        incident="invariant 5",
        harm="Temporal was away for a moment, and a settlement is never told",
        path="activities/known_invoices.py",
        old="        if found.untold:\n            return\n",
        new="",
        killers=(f"{_TROUBLE}the_cursor_does_not_pass_what_could_not_be_told",),
    ),
    Mutant(
        name="a-page-is-passed-before-it-is-told",
        incident="invariant 5",
        harm="a first listing that is interrupted leaves behind what it could not tell",
        path="activities/invoice_scans.py",
        old="            if not (found.untold or known.cursor.complete or known.reset.is_set()):",
        new="            if not (known.cursor.complete or known.reset.is_set()):",
        killers=(f"{_ROUNDS}a_first_listing_does_not_pass_what_could_not_be_told",),
    ),
    Mutant(
        name="the-stream-moves-the-cursor",
        incident="invariant 5",
        harm="what was streamed hides what was not: the older one is never listed again",
        path="activities/known_invoices.py",
        old="        self._see(invoice, is_new=True)\n",
        new="        self._see(invoice, is_new=True)\n        self.note(\n"
        '            cursor=self.cursor.model_copy(update={"pending_from": invoice.add_index})\n'
        "        )\n",
        killers=(f"{_FAIR}what_pends_for_long_is_looked_at_however_much_is_newer",),
    ),
    Mutant(
        name="what-was-told-is-not-remembered",
        incident="invariant 5",
        harm="each scan tells everything once more",
        path="activities/known_invoices.py",
        old="        if self._ended.has(invoice.add_index, invoice.payment_hash):",
        new="        if False:",
        killers=(f"{_TOLD}what_was_told_is_not_told_again_by_every_scan",),
    ),
    Mutant(
        name="an-index-is-an-identity",
        incident="invariant 5",
        harm="an invoice that got the number of another one counts as told",
        path="activities/remembering.py",
        old="marks is not None and marks[at : at + _BYTES] == _mark(payment_hash)",
        new="marks is not None and any(marks[at : at + _BYTES])",
        killers=(f"{_CURSOR}what_has_ended_is_remembered_until_it_is_below",),
    ),
    # R: who pays after the expiry.
    Mutant(
        name="late-settlements-are-no-news",
        incident="R",
        harm="a payment after the expiry is in LND, and nobody hears of it",
        path="activities/known_invoices.py",
        old="                return not self._was_told_before(invoice)",
        new="                return (\n"
        "                    not self._was_told_before(invoice)\n"
        "                    and invoice.expires_at > datetime.now(UTC)\n"
        "                )",
        killers=(f"{_FAIR}a_settlement_after_the_expiry_is_told_by_the_stream_and_by_a_scan",),
    ),
    Mutant(
        name="who-comes-at-the-expiry-is-dropped",
        incident="R",
        harm="most late payers come before the workflow has expired too, and nobody is told",
        path="activities/late_payers.py",
        old="                            self._unmatched[node].append((_now(), attempt))",
        new="                            pass",
        killers=(f"{_LATE}who_finds_no_invoice_yet_is_told_of_a_little_later",),
    ),
    Mutant(
        name="late-is-told-as-in-time",
        incident="R",
        harm="what others were paid after the expiry is told without a word about that",
        path="activities/routing.py",
        old="    late = invoice.paid_at is not None and invoice.paid_at > invoice.expires_at",
        new="    late = False",
        killers=(f"{_ROUTING}what_came_after_the_expiry_is_told_as_late",),
    ),
)
