"""A stream of invoices: what it tells, what it costs, and what it does in trouble."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from activities.invoice_scans import EVERY_SECONDS, PAGE
from activities.telling import AT_ONCE
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import OVERLAP, RECENT_INVOICES, StreamState
from tests.streams.model_lnd import ACCEPTED, CANCELED, SETTLED, ModelLnd
from tests.streams.world import Workers, World, happens, in_virtual_time, is_listening

# A scan, its jitter, and the look whether the stream is stalled.
TWO_SCANS_SECONDS = 2 * (EVERY_SECONDS * 1.2 + 8)


class House:
    """One node, those who wait, and a worker that listens."""

    def __init__(self, lnd: ModelLnd | None = None, *, jitter: float = 0.5) -> None:
        self.lnd = lnd or ModelLnd()
        self.world = World()
        self.workers = Workers(self.lnd, self.world, draw=lambda: jitter)

    async def listening(self) -> House:
        self.workers.start()
        await is_listening(self.workers)
        return self

    def ours(self) -> PaymentHash:
        payment_hash = self.lnd.add()
        self.world.ours.add(payment_hash)
        return payment_hash

    def paid(self) -> PaymentHash:
        payment_hash = self.ours()
        self.lnd.settle(payment_hash)
        return payment_hash


# What is told.


def test_a_settlement_is_told_at_once() -> None:
    async def story() -> None:
        house = await House().listening()
        invoice = house.ours()
        await asyncio.sleep(10)
        house.lnd.settle(invoice)
        await asyncio.sleep(1)

        assert house.world.heard == [(invoice, SETTLED)]
        assert house.workers.listened.settlements == 1

    in_virtual_time(story())


def test_what_settled_while_nobody_listened_is_told_to_our_own() -> None:
    async def story() -> None:
        house = House()
        paid = [house.paid() for _ in range(1_200)]
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        # It knows of none of them, and LND would stream none of them.
        house.workers = Workers(house.lnd, house.world)
        await house.listening()

        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_others_were_paid_is_an_event_from_the_streams_beginning_on() -> None:
    async def story() -> None:
        house = House()
        house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        await house.listening()
        news = house.lnd.add()
        house.lnd.settle(news)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.events == {news}
        assert house.workers.reports.settlements == {False: 1}

    in_virtual_time(story())


def test_what_is_held_or_canceled_is_found_though_lnd_streams_neither() -> None:
    async def story() -> None:
        house = await House().listening()
        held, canceled = house.ours(), house.ours()
        house.lnd.hold(held)
        house.lnd.cancel(canceled)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert sorted(house.world.heard) == sorted([(held, ACCEPTED), (canceled, CANCELED)])
        assert house.workers.listened.settlements == 0

    in_virtual_time(story())


def test_an_invoice_that_expired_is_left_to_its_own_workflow() -> None:
    async def story() -> None:
        house = await House().listening()
        expired = house.lnd.add(expiry=timedelta(seconds=20))
        house.world.ours.add(expired)
        await asyncio.sleep(25)
        house.lnd.cancel(expired)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.asked[expired] == 0

    in_virtual_time(story())


def test_what_was_told_is_not_told_again_by_every_scan() -> None:
    async def story() -> None:
        house = await House().listening()
        paid = house.paid()
        await asyncio.sleep(20 * TWO_SCANS_SECONDS)

        assert house.world.asked == {paid: 1}

    in_virtual_time(story())


def test_a_message_that_lnd_repeats_is_told_once() -> None:
    async def story() -> None:
        house = House()
        house.lnd.trouble.repeats = True
        await house.listening()
        paid = house.paid()
        await asyncio.sleep(10)

        assert house.world.asked == {paid: 1}

    in_virtual_time(story())


def test_the_lag_is_measured_from_the_settlement() -> None:
    async def story() -> None:
        house = await House().listening()
        await house.workers.kill()
        house.paid()
        await asyncio.sleep(100)
        await house.listening()

        (lag,) = house.workers.reports.lags
        assert lag >= timedelta(seconds=100)

    in_virtual_time(story())


def test_nothing_is_missing_soon_after_the_beginning_or_a_cut() -> None:
    async def story() -> None:
        house = House()
        house.ours()
        house.workers.start()
        await asyncio.sleep(10)
        assert house.workers.listened.state is StreamState.LISTENING
        await asyncio.sleep(100)
        house.lnd.cut()
        await asyncio.sleep(10)

        assert house.workers.listened.state is StreamState.LISTENING
        assert house.workers.listened.reconnections == 1

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_after_a_restart_either() -> None:
    async def story() -> None:
        house = House()
        for _ in range(10):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        for _ in range(3):
            await house.listening()
            await house.workers.kill()

        assert house.world.events == set()

    in_virtual_time(story())


# What lnd's indices do.


def test_a_settlement_before_lnd_has_registered_us_is_found_soon() -> None:
    """With no settlement before, settle_index is 0, and lnd tells nothing of the past."""

    async def story() -> None:
        house = House(ModelLnd(registers_after_seconds=1.5))
        house.workers.start()
        await asyncio.sleep(0.5)
        paid = house.paid()
        await asyncio.sleep(EVERY_SECONDS / 2)

        assert house.world.effects == {paid: 1}

    in_virtual_time(story())


@pytest.mark.parametrize("keep", [0, 3])
@pytest.mark.parametrize("more", [2, 20])
def test_a_reset_settle_index_is_noticed_and_costs_nothing(keep: int, more: int) -> None:
    async def story() -> None:
        house = await House().listening()
        before = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.renumber_settlements(keep)
        await asyncio.sleep(10)
        after = [house.paid() for _ in range(more)]
        await asyncio.sleep(1)
        # At once, and not by a scan: an index of before the reset would make lnd silent.
        assert house.world.effects == dict.fromkeys(before + after, 1)
        await asyncio.sleep(100)

        assert house.workers.reports.resets == house.workers.listened.resets == 1

    in_virtual_time(story())


def test_a_lower_add_index_is_noticed_and_costs_nothing() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        await house.listening()
        pending = [house.ours() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.renumber_invoices(fewer_by=990)
        for each in pending:
            house.lnd.settle(each)
        after = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)

        assert house.world.effects == dict.fromkeys(pending + after, 1)
        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_after_a_reset_either() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        for _ in range(10):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        await house.listening()
        house.lnd.renumber_invoices(fewer_by=900)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.resets == 1
        assert house.world.events == set()

    in_virtual_time(story())


def test_after_a_reset_another_worker_does_not_tell_all_the_past_again() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        await house.listening()
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        await asyncio.sleep(3 * OVERLAP.total_seconds())
        house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.lnd.renumber_invoices(fewer_by=900)
        await house.listening()

        assert house.workers.listened.resets == 1
        assert house.world.emitted == {stranger: 1}

    in_virtual_time(story())


def test_a_past_that_lnd_streams_once_more_is_not_told_once_more() -> None:
    """Of its newest invoices only one has settled, and that before all the others."""

    async def story() -> None:
        house = await House().listening()
        older = [house.lnd.add() for _ in range(10 * RECENT_INVOICES)]
        first_to_settle = house.lnd.add()
        for _ in range(99):
            house.lnd.add()
        for each in (first_to_settle, *older):
            house.lnd.settle(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cut()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.emitted == dict.fromkeys([first_to_settle, *older], 1)

    in_virtual_time(story())


def test_an_index_that_stands_for_another_invoice_now_is_noticed() -> None:
    """A database that was restored, and has grown beyond what we knew before we looked."""

    async def story() -> None:
        house = await House().listening()
        known = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.trouble.down = True
        house.lnd.forget_newest(5)
        await asyncio.sleep(100)
        unknown = [house.paid() for _ in range(20)]
        house.lnd.trouble.down = False
        await asyncio.sleep(200)

        assert house.world.effects == dict.fromkeys(known + unknown, 1)
        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_an_invoice_that_the_list_shows_late_is_not_passed_over() -> None:
    async def story() -> None:
        house = await House().listening()
        late = house.ours()
        house.lnd.trouble.unlisted.add(late)
        for _ in range(RECENT_INVOICES // 2):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.trouble.unlisted.clear()
        house.lnd.trouble.deaf = True
        house.lnd.settle(late)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[late] == 1

    in_virtual_time(story())


def test_what_settles_in_the_middle_of_a_scan_is_not_passed_over() -> None:
    """The first page is read, then its invoice settles, then one of the last page, read next."""

    async def story() -> None:
        house = House()
        on_the_first_page = house.ours()
        for _ in range(2 * PAGE):
            house.paid()
        on_the_last_page = house.ours()
        house.lnd.trouble.deaf = True
        await house.listening()
        await asyncio.sleep(20)
        house.lnd.answers_after_seconds = 10.0
        pages = house.lnd.pages
        await happens(lambda: house.lnd.pages == pages + 2)
        house.lnd.settle(on_the_first_page)
        await asyncio.sleep(2)
        house.lnd.settle(on_the_last_page)
        await happens(lambda: house.world.effects[on_the_last_page])
        await asyncio.sleep(12)
        await house.workers.kill()
        assert not house.world.effects[on_the_first_page]
        await house.listening()

        assert house.world.effects[on_the_first_page] == 1

    in_virtual_time(story())


def test_lnds_clock_may_be_set_back() -> None:
    async def story() -> None:
        house = await House().listening()
        before = [house.paid() for _ in range(3)]
        await asyncio.sleep(100)
        house.lnd.clock_ahead = -timedelta(hours=5)
        house.lnd.trouble.deaf = True
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        after = [house.paid() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == dict.fromkeys(before + after, 1)
        assert house.world.events == {stranger}
        assert house.workers.listened.resets == 0

    in_virtual_time(story())


def test_lnds_clock_may_have_been_wrong_by_days() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=timedelta(days=3))).listening()
        before = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.lnd.clock_ahead = timedelta(0)
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}

    in_virtual_time(story())


def test_lnds_clock_may_be_hours_ahead() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=timedelta(hours=5))).listening()
        before = house.paid()
        await asyncio.sleep(100)
        await house.workers.kill()
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}

    in_virtual_time(story())


def test_lnds_clock_may_be_hours_behind() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=-timedelta(hours=5))).listening()
        before = house.paid()
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        await asyncio.sleep(100)
        await house.workers.kill()
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}
        assert house.world.events == {stranger}

    in_virtual_time(story())


# What a node deletes. Its listener is the same one, or another that knows its heartbeats.


async def connects_again(house: House, *, as_another: bool) -> None:
    if as_another:
        await house.workers.kill()
        await house.listening()
    else:
        house.lnd.cut()
        await asyncio.sleep(TWO_SCANS_SECONDS)


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
@pytest.mark.parametrize("deleted", [1, 3])
def test_canceled_invoices_that_lnd_deletes_are_no_reset(deleted: int, as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        paid = [house.paid() for _ in range(3)]
        unpaid = []
        for _ in range(deleted):
            await asyncio.sleep(TWO_SCANS_SECONDS)
            unpaid.append(house.lnd.add())
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in unpaid:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=as_another)
        told = house.workers.listened
        assert (told.resets, told.cursor.complete) == (0, True)
        house.lnd.trouble.deaf = True
        paid.append(house.paid())
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.resets == 0
        assert house.world.effects == dict.fromkeys(paid, 1)
        if not as_another:
            assert house.world.asked == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_was_made_in_one_second_may_be_deleted_too() -> None:
    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cancel_and_delete(made[-1])
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 0

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
def test_a_node_where_all_was_canceled_and_deleted_has_not_been_reset(as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in made:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 0

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
@pytest.mark.parametrize("lost", [2, 3, 6], ids=["the last one paid", "two of them", "all"])
def test_a_settled_invoice_that_is_missing_is_a_reset(lost: int, as_another: bool) -> None:
    """LND deletes none: the database is an older one."""

    async def story() -> None:
        house = await House().listening()
        for _ in range(5):
            house.paid()
            await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.add()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.forget_newest(lost)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
def test_numbers_that_moved_are_a_reset_though_nothing_is_missing(as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        house.paid()
        house.lnd.add(gap=20)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.renumber_invoices(fewer_by=10)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_numbers_that_moved_are_a_reset_also_where_the_newest_was_deleted() -> None:
    async def story() -> None:
        house = await House().listening()
        house.paid()
        house.lnd.add(gap=20)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        newest = house.lnd.add()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cancel_and_delete(newest)
        house.lnd.renumber_invoices(fewer_by=10)
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_deletions_below_what_is_scanned_count_as_a_reset() -> None:
    """The next numbers would be in no list."""

    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(2 * RECENT_INVOICES)]
        for each in made:
            house.lnd.cancel(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in made[RECENT_INVOICES - 2 :]:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


# A connection in trouble.


@pytest.mark.parametrize(("jitter", "at_most"), [(0.0, 6_000), (0.5, 60), (1.0, 40)])
def test_a_stream_that_closes_at_once_each_time_makes_no_busy_loop(
    jitter: float, at_most: int
) -> None:
    """If chance always gave the shortest pause, that would still be a tenth of a second."""

    async def story() -> None:
        house = House(jitter=jitter)
        house.lnd.trouble.closes_at_once = True
        house.workers.start()
        await asyncio.sleep(600)
        assert house.lnd.connections <= at_most
        assert house.lnd.pages - house.lnd.connections <= 2 * 600 / 2
        paid = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == {paid: 1}

    in_virtual_time(story())


def test_a_node_that_is_down_is_asked_less_and_less_often() -> None:
    async def story() -> None:
        house = House(jitter=1.0)
        house.lnd.trouble.down = True
        house.workers.start()
        await asyncio.sleep(3_600)

        assert house.lnd.pages <= 2 * (3_600 / 30 + 12)
        down = house.workers.listened
        assert (down.state, down.reconnections) == (StreamState.DISCONNECTED, 0)
        house.lnd.trouble.down = False
        await asyncio.sleep(2 * 30)
        assert house.workers.listened.state is StreamState.LISTENING

    in_virtual_time(story())


def test_after_a_connection_that_lasted_the_next_one_comes_soon() -> None:
    async def story() -> None:
        house = House(jitter=1.0)
        house.lnd.trouble.down = True
        house.workers.start()
        await asyncio.sleep(600)
        house.lnd.trouble.down = False
        await is_listening(house.workers)
        await asyncio.sleep(200)
        before = house.lnd.connections
        house.lnd.cut()
        await asyncio.sleep(1)

        assert house.lnd.connections == before + 1

    in_virtual_time(story())


def test_a_stream_that_is_open_and_tells_nothing_is_replaced() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        house.lnd.trouble.deaf = True
        paid = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == {paid: 1}
        assert house.workers.reports.lost == [
            "the stream was open, and told nothing of a settlement"
        ]

    in_virtual_time(story())


def test_a_stream_with_nothing_to_tell_is_left_alone() -> None:
    async def story() -> None:
        house = await House().listening()
        house.ours()
        await asyncio.sleep(3_600)

        assert house.lnd.connections == 1 + house.workers.rounds == 2
        assert house.lnd.pages <= 2 * 3_600 / EVERY_SECONDS + 10

    in_virtual_time(story())


def test_a_stream_is_not_blamed_for_what_we_have_not_read_yet() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        house.world.takes_seconds = 60.0
        paid = []
        for _ in range(20 * AT_ONCE):
            paid.append(house.paid())
            await asyncio.sleep(0.25)
        await asyncio.sleep(3_000)

        assert house.workers.reports.lost == []
        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_a_silence_is_told_and_so_is_its_end() -> None:
    async def story() -> None:
        house = await House().listening()
        house.lnd.trouble.down = True
        house.lnd.cut()
        await asyncio.sleep(300)
        down = house.workers.listened
        house.lnd.trouble.down = False
        await is_listening(house.workers)
        up = house.workers.listened

        assert (down.state, down.problem) == (StreamState.DISCONNECTED, "connection refused")
        assert down.connected_since is None
        assert down.silent_since is not None
        assert (up.silent_since, up.problem, up.reconnections) == (None, "", 1)
        assert 300 <= up.last_silence_seconds < 400

    in_virtual_time(story())


# Telling in trouble.


def test_what_cannot_be_told_delays_nobody_else() -> None:
    async def story() -> None:
        house = await House().listening()
        poisoned = [house.ours() for _ in range(3 * AT_ONCE)]
        house.world.poisoned.update(poisoned)
        for each in poisoned:
            house.lnd.settle(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        began = asyncio.get_running_loop().time()
        paid = house.paid()
        await happens(lambda: house.world.effects[paid])

        assert asyncio.get_running_loop().time() - began < 10
        told = house.workers.listened
        assert (told.state, told.untold) == (StreamState.CATCHING_UP, len(poisoned))
        assert house.workers.reports.still_untold == len(poisoned)
        # Four tries at first, then one in each scan, and nothing more said of it.
        assert max(house.world.asked[each] for each in poisoned) <= 12
        assert sorted(house.workers.reports.untold) == sorted(poisoned)

    in_virtual_time(story())


def test_what_could_not_be_told_is_told_when_it_can_be_also_by_another_worker() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.temporal_is_down = True
        paid = [house.paid() for _ in range(100)]
        await asyncio.sleep(3 * OVERLAP.total_seconds())
        await house.workers.kill()
        house.workers.start()
        await asyncio.sleep(100)
        assert house.world.effects == {}
        house.world.temporal_is_down = False
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == dict.fromkeys(paid, 1)
        assert house.workers.listened.untold == 0

    in_virtual_time(story())


def test_the_cursor_does_not_pass_what_could_not_be_told() -> None:
    async def story() -> None:
        house = await House().listening()
        poisoned = house.paid()
        house.world.poisoned.add(poisoned)
        for _ in range(3):
            await asyncio.sleep(OVERLAP.total_seconds())
            for _ in range(RECENT_INVOICES):
                house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.world.poisoned.clear()
        await house.listening()

        assert house.world.effects[poisoned] == 1

    in_virtual_time(story())


def test_a_moment_without_temporal_costs_a_moment() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.temporal_is_down = True
        paid = house.paid()
        await asyncio.sleep(1)
        house.world.temporal_is_down = False
        await asyncio.sleep(5)

        assert house.world.effects == {paid: 1}
        assert house.workers.reports.untold == []

    in_virtual_time(story())


def test_not_too_many_are_told_at_once() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.takes_seconds = 1.0
        for _ in range(20 * AT_ONCE):
            house.paid()
        await asyncio.sleep(100)

        assert sum(house.world.effects.values()) == 20 * AT_ONCE
        assert AT_ONCE <= house.world.most_at_once <= 2 * AT_ONCE

    in_virtual_time(story())


def test_a_long_telling_does_not_put_off_the_next_scan() -> None:
    async def story() -> None:
        house = House()
        house.world.takes_seconds = 10.0
        for _ in range(20 * AT_ONCE):
            house.paid()
        await house.listening()
        house.lnd.trouble.deaf = True
        late = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[late] == 1

    in_virtual_time(story())


def test_a_long_list_is_read_less_often() -> None:
    async def story() -> None:
        house = House()
        for _ in range(3 * PAGE):
            house.ours()
        house.lnd.answers_after_seconds = 5.0
        await house.listening()
        await asyncio.sleep(300)
        pages = house.lnd.pages
        await asyncio.sleep(3_600)

        # Four pages make a scan; it may take a twentieth of the time.
        assert 4 <= house.lnd.pages - pages <= 3_600 / 20 / 5 + 4

    in_virtual_time(story())


# Rounds.


def test_a_first_listing_goes_on_where_a_killed_worker_left_it() -> None:
    async def story() -> None:
        house = House()
        house.world.takes_seconds = 0.5
        paid = [house.paid() for _ in range(5_000)]
        house.workers.start()
        for _ in range(20):
            await asyncio.sleep(20)
            await house.workers.kill()
            house.workers.start()
        await is_listening(house.workers)

        assert house.world.effects == dict.fromkeys(paid, 1)
        # Each kill costs the page that it fell into, and those since the last heartbeat.
        assert house.world.asked.total() < len(paid) + 21 * 3 * PAGE

    in_virtual_time(story())


class Bootstrapping(House):
    """A first listing of four pages, which a kill interrupts after two."""

    async def interrupted(self) -> None:
        self.world.takes_seconds = 0.5
        self.workers = Workers(self.lnd, self.world)
        self.workers.start()
        await happens(lambda: self.workers.saved.cursor.listed_to >= 2 * PAGE)
        await self.workers.kill()

    async def is_complete(self) -> None:
        await self.listening()
        assert self.workers.listened.cursor.complete


def test_what_is_pending_stays_known_though_a_first_listing_was_interrupted() -> None:
    async def story() -> None:
        house = Bootstrapping()
        pending = house.ours()
        for _ in range(4 * PAGE):
            house.paid()
        await house.interrupted()
        await house.is_complete()
        house.lnd.trouble.deaf = True
        house.lnd.settle(pending)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[pending] == 1

    in_virtual_time(story())


def test_a_first_listing_does_not_pass_what_could_not_be_told() -> None:
    async def story() -> None:
        house = House()
        paid = [house.paid() for _ in range(4 * PAGE)]
        poisoned = paid[PAGE]
        house.world.poisoned.add(poisoned)
        house.workers.start()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        assert house.workers.saved.cursor.listed_to == PAGE
        house.world.poisoned.clear()
        await house.listening()

        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_though_a_first_listing_was_interrupted() -> None:
    async def story() -> None:
        house = Bootstrapping()
        house.ours()
        for _ in range(4 * PAGE):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        await house.interrupted()
        await house.is_complete()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.events == set()

    in_virtual_time(story())


def test_a_cursor_moves_up_behind_what_has_ended() -> None:
    async def story() -> None:
        house = await House().listening()
        for _ in range(3 * RECENT_INVOICES):
            house.paid()
        pending = house.ours()
        for _ in range(3 * RECENT_INVOICES):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        index = 3 * RECENT_INVOICES + 1
        assert house.workers.listened.cursor.pending_from == index
        house.lnd.settle(pending)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.cursor.pending_from == index + 2 * RECENT_INVOICES + 1

    in_virtual_time(story())


def test_a_round_ends_between_two_scans() -> None:
    async def story() -> None:
        house = House()
        for _ in range(3 * PAGE):
            house.paid()
        house.lnd.answers_after_seconds = 20.0
        listened = await house.workers.one_round(seconds=30)

        assert listened.cursor.complete

    in_virtual_time(story())


def test_a_new_state_is_shown_once_it_lasts() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        rounds = house.workers.rounds
        house.lnd.trouble.down = True
        house.lnd.cut()
        await asyncio.sleep(30)
        assert house.workers.rounds == rounds
        await asyncio.sleep(60)

        assert house.workers.rounds == rounds + 1
        assert house.workers.shown is StreamState.DISCONNECTED

    in_virtual_time(story())
