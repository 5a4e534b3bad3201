"""`fulgurite events …`: who was told of what, and telling it again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from devnet.waiting import eventually
from fulgurite.events.catalogue import EventType
from tests.commands import Command, valid
from tests.scenarios.telling import SIMULATED_ONLY

from .conftest import Town, states

pytestmark = SIMULATED_ONLY


def moment(at: datetime) -> str:
    return at.isoformat()


async def listed(fulgurite: Command, event_id: str, *arguments: str) -> str:
    """The line of an event, once Temporal's index has it there."""

    async def ask() -> str:
        told = await fulgurite("events", "list", *arguments)
        return next((line for line in told.stdout.splitlines() if event_id in line), "")

    return await eventually(ask, what=f"{event_id} in the list of {arguments}")


async def test_lists_and_shows_events_for_people_and_for_programs(
    town: Town, fulgurite: Command
) -> None:
    since = datetime.now(UTC)
    news = await town.happens()
    await town.client.event(news.id).receipt()
    line = await listed(fulgurite, news.id, "--state", "delivered", "--since", "1h")
    shown = await fulgurite("events", "show", news.id)
    as_json = await fulgurite("events", "show", news.id, "--json")
    of_type = ("--type", "invoice.settled", "--since", moment(since))
    lines = await fulgurite("events", "list", *of_type, "--json")
    cut = await fulgurite("events", "list", "--limit", "1")
    none = await fulgurite("events", "list", "--until", "2020-01-01")

    assert "DELIVERED" in line
    assert f"of  invoice/{news.data['payment_hash']}" in shown.stdout
    assert "DELIVERED  shop  1 try" in shown.stdout
    assert valid(as_json.stdout, "event-receipt")["event"]["data"] == news.data
    assert news.id in {valid(each, "event-summary")["id"] for each in lines.stdout.splitlines()}
    assert len(cut.stdout.splitlines()) == 2
    assert "Only 1 are shown; for more, --limit 10" in cut.stderr
    assert (none.exit_code, none.stdout) == (0, "")
    assert "No events" in none.stderr


async def test_an_event_under_way_says_what_went_wrong_and_when_the_next_try_is(
    town: Town, fulgurite: Command
) -> None:
    town.till.answer = 500
    news = await town.happens()
    await town.heard(town.till, news.id, 1)

    async def show() -> str:
        return (await fulgurite("events", "show", news.id)).stdout

    shown = await eventually(show, lambda text: "next 20" in text, what="the next try's time")
    assert "SENDING    till  1 try" in shown
    assert "it answered 500" in shown
    town.till.answer = 200
    replayed = await fulgurite("events", "replay", news.id, "--endpoint", "till", "--force")
    assert (replayed.exit_code, replayed.stdout) == (0, "1 under way, sent now\n")
    assert states(await town.client.event(news.id).receipt())["till"] == "DELIVERED"


async def test_dead_letters_are_listed_with_their_problem_and_replayed_after_a_yes(
    town: Town, fulgurite: Command
) -> None:
    since = datetime.now(UTC)
    told = await town.dies(town.till)
    await listed(fulgurite, told.event_id, "--state", "dead")
    dead = await fulgurite("events", "dead", "--since", moment(since))
    lines = (await fulgurite("events", "dead", "--since", moment(since), "--json")).stdout
    replay = ("events", "replay", "--since", moment(since), "--dead")
    dry = await fulgurite(*replay, "--dry-run")
    unsure = await fulgurite(*replay, answer="\n")
    before = states(await told.view())
    done = await fulgurite(*replay, answer="y\n")
    after = states(await told.receipt())
    await listed(fulgurite, told.event_id, "--state", "delivered")
    again = await fulgurite(*replay, "--force")

    assert told.event_id in dead.stdout
    assert "it wants no more webhooks (410 Gone)" in dead.stdout
    assert "fulgurite events replay ID" in dead.stderr
    assert states_of(lines) == {"shop": "DELIVERED", "till": "DEAD"}
    assert dry.exit_code == 0
    assert f"{told.event_id}\n1 would be told again" in dry.stdout
    assert unsure.exit_code == 3
    assert "Tell these 1 again to their endpoints? [y/N]" in unsure.stderr
    assert told.event_id in unsure.stderr
    assert before["till"] == "DEAD", "nobody was told by a dry run, or by a no"
    assert (done.exit_code, done.stdout) == (0, "1 told again\n")
    assert after == {"shop": "DELIVERED", "till": "DELIVERED"}
    assert (again.exit_code, again.stdout) == (0, "No such events.\n")


async def test_a_replay_reports_as_json_what_it_did(town: Town, fulgurite: Command) -> None:
    since = datetime.now(UTC)
    news = [
        await town.happens(kind) for kind in (EventType.INVOICE_SETTLED, EventType.INVOICE_EXPIRED)
    ]
    for each in news:
        await town.client.event(each.id).receipt()
        await listed(fulgurite, each.id, "--since", moment(since))
    arguments = ("events", "replay", "--since", moment(since), "--json", "--force")
    dry = valid((await fulgurite(*arguments, "--dry-run")).stdout, "replay-report")
    one_type = await fulgurite(*arguments, "--type", "invoice.expired")
    await town.client.event(news[1].id).receipt()
    every = valid((await fulgurite(*arguments, "--endpoint", "till")).stdout, "replay-report")

    wanted = {each.id for each in news}
    assert dry["dry_run"] is True
    assert {each["id"] for each in dry["events"]} == wanted
    assert {each["did"] for each in dry["events"]} == {None}
    assert [each["id"] for each in valid(one_type.stdout, "replay-report")["events"]] == [
        news[1].id
    ]
    assert one_type.stderr == ""
    assert {each["id"] for each in every["events"]} == wanted
    assert len(await town.heard(town.till, news[1].id, 3)) == 3
    assert len(await town.heard(town.till, news[0].id, 2)) == 2
    assert len(await town.heard(town.shop, news[0].id, 1)) == 1


async def test_one_event_is_replayed_after_a_yes(town: Town, fulgurite: Command) -> None:
    news = await town.happens()
    await town.client.event(news.id).receipt()
    dry = await fulgurite("events", "replay", news.id, "--dry-run")
    unsure = await fulgurite("events", "replay", news.id, answer="n\n")
    nobody = await fulgurite("events", "replay", news.id, "--endpoint", "bank", "--force")
    done = await fulgurite("events", "replay", news.id, answer="y\n")

    assert (dry.exit_code, "This was a dry run" in dry.stdout) == (0, True)
    assert (unsure.exit_code, nobody.exit_code, done.exit_code) == (3, 2, 0)
    assert news.id in unsure.stderr
    assert "Tell it again to its endpoints? [y/N]" in unsure.stderr
    assert "never went to bank" in nobody.stderr
    assert len(await town.heard(town.shop, news.id, 2)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give an event's id, or --since"),
        (("an-event", "--since", "1h"), "give an event's id, or --since"),
        (("an-event", "--type", "invoice.settled"), "give an event's id, or --since"),
        (("--since", "soon"), "--since is a time such as"),
        (("--since", "1h", "--until", "later"), "--until is a time such as"),
    ],
)
async def test_wrong_input_is_refused_with_what_to_do(
    fulgurite: Command, arguments: tuple[str, ...], words: str
) -> None:
    result = await fulgurite("events", "replay", *arguments, "--json", "--force")
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "InvalidRequestError")
    assert words in problem["message"]


@pytest.mark.parametrize("verb", ["show", "replay"])
async def test_an_unknown_event_is_told_as_that(fulgurite: Command, verb: str) -> None:
    result = await fulgurite(
        "events", verb, "invoice-settled-nobody", "--json", *(["--force"] * (verb == "replay"))
    )
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "NotRetainedError")


async def test_there_may_be_no_dead_letters(fulgurite: Command) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=400)
    result = await fulgurite("events", "dead", "--until", moment(long_ago))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No dead letters" in result.stderr


def states_of(lines: str) -> dict[str, str]:
    """Endpoint → state, of the one event in there."""
    [line] = lines.splitlines()
    deliveries = valid(line, "event-receipt")["deliveries"]
    return {each["endpoint"]: each["state"] for each in deliveries}
