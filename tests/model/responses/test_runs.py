"""Responses in the background: they begin, are stored as they are made, end once, and survive those who make them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses import kept
from tests.model.responses.kept import OWNER
from tests.model.responses.makers import Maker, Process, Remembered, Said, failing, plan, process, turn, working
from tests.model.responses.recorded import as_json, told
from trivet.kernel.call import current_call, outgoing
from trivet.kernel.detached import Caller
from trivet.kernel.errors import InvalidRequest, Overloaded, RateLimited, ResponseNotFound, UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model_service.adapters.store.sql_store import SqlStore
from trivet.model_service.domain.store import Change, StoredConversation
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.background.journal import batches
from trivet.model_service.responses.keeping.records import ENDED, all_events, response_of
from trivet.model_service.responses.plan import Plan

BOUND = 60
ENDS = {"completed", "incomplete", "failed"}


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    """What the processes of a test share, seen by nobody's runs."""
    async with kept.sqlite(tmp_path) as opened:
        yield opened


async def followed(one: Process, response_id: str, after: int = -1) -> list[ResponseEvent]:
    async with asyncio.timeout(BOUND), aclosing(one.follower.follow(response_id, OWNER, after)) as following:
        return [event async for batch in following for event in batch.events]


async def begun(one: Process, response_id: str, count: int = 10) -> None:
    """Wait until so many events are stored."""
    async with asyncio.timeout(BOUND), aclosing(one.follower.follow(response_id, OWNER)) as following:
        async for batch in following:
            count -= len(batch.events)
            if count <= 0:
                return


async def ended(store: SqlStore, response_id: str) -> Any:
    """The response, once it has ended."""
    async with asyncio.timeout(BOUND):
        while (found := await store.get(response_id, OWNER)) is not None and found.status not in ENDED:
            await asyncio.sleep(0.02)
    assert found is not None
    return response_of(found)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.01)


def violations(events: list[ResponseEvent]) -> list[str]:
    return check_responses_stream(as_json(events), taken_up=True)


def ends(events: list[ResponseEvent]) -> list[str]:
    return [kind for event in events if (kind := event.WhichOneof("event")) in ENDS]


# ---- the course of one -----------------------------------------------------------------------------------------------


async def test_a_response_is_answered_at_once_and_made_behind(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn(gate))) as one:
        answered = await one.runs.start(plan())
        assert (answered.status, answered.background, answered.output) == ("queued", True, [])
        await begun(one, answered.id)
        running = await one.store.get(answered.id, OWNER)
        assert running is not None
        assert running.status == response_of(running).status == "in_progress"
        gate.set()
        events = await followed(one, answered.id)
        response = await ended(one.store, answered.id)

    assert check_responses_stream(as_json(events)) == []
    assert [event.WhichOneof("event") for event in events[:3]] == ["created", "queued", "in_progress"]
    assert events[-1].completed.response == response


async def test_a_run_stores_its_events_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(tmp_path, Maker(turn())) as one:
        commits: list[Change] = []
        change = one.store.change

        async def counted(response_id: str, changed: Change, **options: Any) -> bool:
            commits.append(changed)
            return await change(response_id, changed, **options)

        monkeypatch.setattr(one.store, "change", counted)
        events = await followed(one, (await one.runs.start(plan())).id)

    # One that it began, one for the rest if it was quick; never one for each event.
    assert len(events) > 40
    assert len(commits) < 10


async def test_a_step_is_stored_with_what_was_said_before_it_goes_on(tmp_path: Path) -> None:
    gate, seen = asyncio.Event(), asyncio.Event()

    async def script(_plan: Plan, assembly: Assembly, _steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        yield Remembered("tool", b"result")
        seen.set()
        await gate.wait()
        yield assembly.end(told())

    async with working(tmp_path, Maker(script)) as one:
        answered = await one.runs.start(plan())
        await seen.wait()
        assert (await one.store.steps(answered.id))["tool"] == b"result"
        assert (await all_events(one.store, answered.id))[-1].HasField("in_progress")
        gate.set()
        await followed(one, answered.id)

        assert dict(await one.store.steps(answered.id)) == {}


@pytest.mark.parametrize(
    ("error", "message"),
    [(UpstreamFailed("The provider is down."), "The provider is down."), (KeyError("secret"), "An internal error occurred.")],
    ids=["known", "unknown"],
)
@pytest.mark.parametrize("at", [0, 12], ids=["before its first event", "in the middle"])
async def test_a_run_that_goes_wrong_fails(tmp_path: Path, error: Exception, message: str, at: int) -> None:
    async with working(tmp_path, Maker(failing(error, at))) as one:
        answered = await one.runs.start(plan())
        events = await followed(one, answered.id)
        response = await ended(one.store, answered.id)

    assert violations(events) == []
    assert (response.status, response.error.message) == ("failed", message)
    assert response.output[:1] == events[-1].failed.response.output[:1]


async def test_a_run_that_cannot_be_planned_any_more_fails(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn())) as one:
        one.planner.fails = UpstreamFailed("The model is gone.")
        events = await followed(one, (await one.runs.start(plan())).id)

    assert violations(events) == []
    assert events[-1].failed.response.error.message == "The model is gone."


async def test_a_run_whose_maker_forgets_the_end_fails(tmp_path: Path) -> None:
    async def script(_plan: Plan, assembly: Assembly, _steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        yield assembly.begin()

    async with working(tmp_path, Maker(script)) as one:
        events = await followed(one, (await one.runs.start(plan())).id)

    assert ends(events) == ["failed"]


async def test_a_run_that_takes_too_long_fails(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn(asyncio.Event())), max_seconds=0.3) as one:
        events = await followed(one, (await one.runs.start(plan())).id)

        assert one.maker.running == 0
    assert violations(events) == []
    assert events[-1].failed.response.error.message == "The response was not finished within 0.3 seconds."


async def test_what_was_said_in_a_conversation_is_added_to_it_at_the_end(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn())) as one:
        await one.store.add_conversation(StoredConversation("conv_1", OWNER, told().created_at), [])
        await followed(one, (await one.runs.start(plan(conversation="conv_1"))).id)

        kinds = [item.id.partition("_")[0] for item in await one.store.items("conv_1")]
    assert kinds == ["rs", "msg", "fc", "ctc"]


async def test_what_is_not_to_be_stored_can_be_asked_for_ten_minutes_after_its_end(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn(gate)), max_running=1) as one:
        long_ago = plan(store=False)
        long_ago.told.created_at -= 3600
        answered, waiting = await one.runs.start(long_ago), await one.runs.start(plan(store=False))
        await begun(one, answered.id)
        assert (await one.runs.cancel(waiting.id, OWNER)).status == "cancelled"
        gate.set()
        await followed(one, answered.id)

        for response_id in (answered.id, waiting.id):
            kept_until = await one.store.get(response_id, OWNER)
            assert kept_until is not None
            assert 0 <= kept_until.expires_at - waiting.created_at - 600 <= BOUND


# ---- in whose name ---------------------------------------------------------------------------------------------------


async def test_a_run_calls_others_in_the_name_of_who_asked_and_is_not_bound_by_their_deadline(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def script(_plan: Plan, assembly: Assembly, _steps: Mapping[str, bytes]) -> AsyncGenerator[Said]:
        call = current_call.get()
        seen.extend((call and call.principal, *outgoing(None, None)))
        yield assembly.end(told())

    secret = "Bearer sk-very-secret"
    async with working(tmp_path, Maker(script), max_seconds=100) as one:
        sent = {"authorization": secret, "x-request-id": "req_1", "x-trivet-more": "1"}
        with Caller(OWNER, sent).goes_on(0.001):
            answered = await one.runs.start(plan())
        assert secret.encode() not in (tmp_path / "t.db-wal").read_bytes()
        await followed(one, answered.id)

    principal, timeout, metadata = seen
    assert (principal, dict(metadata)) == (OWNER, sent)
    assert 10 < timeout <= 100
    assert current_call.get() is None


# ---- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_more(store: SqlStore) -> None:
    idle = process(store, Maker(turn()), max_queued=3, max_queued_per_key=2)
    for owner in ("alice", "alice", "bob"):
        await idle.runs.start(plan(owner))

    for owner, whose in (("alice", "your responses"), ("bob", "responses wait")):
        with pytest.raises(RateLimited, match=whose) as refused:
            await idle.runs.start(plan(owner))
        assert refused.value.retry_after == 5.0


async def test_no_more_run_at_once_than_a_process_may(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn(gate)), max_running=2, max_running_per_key=8) as one:
        started = [(await one.runs.start(plan())).id for _ in range(5)]
        await one.maker.until(lambda: one.maker.running == 2)
        gate.set()
        everything = [await followed(one, response_id) for response_id in started]

        assert one.maker.most == 2
    assert [ends(events) for events in everything] == [["completed"]] * 5


async def test_no_more_of_one_key_run_at_once_in_all_processes(tmp_path: Path) -> None:
    gate = asyncio.Event()
    mine, others = Maker(turn(gate)), Maker(turn(gate))
    limit = {"max_running_per_key": 2}
    async with working(tmp_path, mine, **limit) as one, working(tmp_path, others, "two", **limit) as two:
        first = [(await one.runs.start(plan())).id for _ in range(3)]
        first += [(await two.runs.start(plan())).id for _ in range(2)]
        bobs = (await one.runs.start(plan("bob"))).id
        # Of bob there is room for one, whoever waits before him.
        async with asyncio.timeout(BOUND):
            while (found := await one.store.get(bobs, "bob")) is None or found.status == "queued":
                await asyncio.sleep(0.02)
        assert mine.running + others.running == 3
        gate.set()
        assert [ends(await followed(one, response_id)) for response_id in first] == [["completed"]] * 5


async def test_a_process_that_may_run_nothing_leaves_everything_to_others(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn()), max_running=0) as front:
        answered = await front.runs.start(plan())
        async with working(tmp_path, Maker(turn()), "two") as back:
            events = await followed(front, answered.id)

        assert (front.maker.made, len(back.maker.made)) == ([], 1)
    assert ends(events) == ["completed"]


# ---- cancelling ------------------------------------------------------------------------------------------------------


async def test_a_queued_response_is_cancelled(store: SqlStore) -> None:
    idle = process(store, Maker(turn()))
    answered = await idle.runs.start(plan())

    cancelled = await idle.runs.cancel(answered.id, OWNER)

    events = await all_events(store, answered.id)
    assert cancelled.status == "cancelled"
    assert violations(events) == []
    assert [event.WhichOneof("event") for event in events] == ["created", "queued", "incomplete"]
    async with working(Path(store._settings.file or "").parent, Maker(turn()), "two") as other:
        assert await other.store.claim("anybody", 8) is None


async def test_a_running_response_is_cancelled_and_stops(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn(asyncio.Event()))) as one:
        answered = await one.runs.start(plan())
        await begun(one, answered.id)

        cancelled = await one.runs.cancel(answered.id, OWNER)
        await one.maker.until(lambda: one.maker.running == 0)

        events = await followed(one, answered.id)
        assert one.runs._running == {}
    assert violations(events) == []
    assert events[-1].incomplete.response == cancelled
    assert [item.WhichOneof("kind") for item in cancelled.output] == ["reasoning"]


async def test_a_response_that_runs_in_another_process_is_cancelled(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn()), max_running=0) as front, working(tmp_path, Maker(turn(gate)), "two") as back:
        answered = await front.runs.start(plan())
        await begun(front, answered.id)

        cancelled = await front.runs.cancel(answered.id, OWNER)
        gate.set()
        await back.maker.until(lambda: back.maker.running == 0)

        events = await followed(front, answered.id)
    assert violations(events) == []
    assert ends(events) == ["incomplete"]
    assert cancelled.status == "cancelled"


async def test_a_response_that_has_ended_stays_as_it_is_when_it_is_cancelled(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn())) as one:
        answered = await one.runs.start(plan())
        events = await followed(one, answered.id)

        assert await one.runs.cancel(answered.id, OWNER) == events[-1].completed.response
        assert await all_events(one.store, answered.id) == events


async def test_many_who_cancel_while_it_ends_see_one_end(tmp_path: Path) -> None:
    for _ in range(5):
        gate = asyncio.Event()
        async with working(tmp_path, Maker(turn(gate))) as one:
            answered = await one.runs.start(plan())
            await begun(one, answered.id)
            gate.set()
            cancelled = await asyncio.gather(*(one.runs.cancel(answered.id, OWNER) for _ in range(4)))
            events = await followed(one, answered.id)

        assert violations(events) == []
        assert len(ends(events)) == 1
        assert {response.status for response in cancelled} == {(await _final(events)).status}


async def _final(events: list[ResponseEvent]) -> Any:
    return getattr(events[-1], ends(events)[0]).response


async def test_only_what_is_made_in_the_background_is_cancelled_and_only_by_its_owner(store: SqlStore) -> None:
    idle = process(store, Maker(turn()))
    foreground = told()
    await store.add(kept.stored(foreground, background=False, status="completed"))
    answered = await idle.runs.start(plan())

    with pytest.raises(InvalidRequest):
        await idle.runs.cancel(foreground.id, OWNER)
    for response_id, owner in ((answered.id, "bob"), ("resp_other", OWNER)):
        with pytest.raises(ResponseNotFound):
            await idle.runs.cancel(response_id, owner)


# ---- those who make them -----------------------------------------------------------------------------------------------


async def test_a_process_that_is_told_to_end_hands_over_and_nothing_is_lost(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn(asyncio.Event(), remembered=Remembered("tool", b"result")))) as one:
        answered = await one.runs.start(plan())
        await begun(one, answered.id, 12)
    left = await _events_of(tmp_path, answered.id)

    async with working(tmp_path, Maker(turn()), "two", max_attempts=1) as two:
        events = await followed(two, answered.id)

        assert two.maker.made == [{"tool": b"result"}]
    assert events[: len(left)] == left
    assert len(left) >= 12
    assert ends(events) == ["completed"]
    assert violations(events) == []


async def _events_of(folder: Path, response_id: str) -> list[ResponseEvent]:
    async with kept.sqlite(folder) as store:
        return await all_events(store, response_id)


async def test_a_run_that_lost_its_claim_writes_nothing_more_and_stops(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn(gate))) as one:
        answered = await one.runs.start(plan())
        await begun(one, answered.id, 12)
        left = await all_events(one.store, answered.id)
        # As if the process had stood still until its claim was over.
        await one.store.take(answered.id, "another")
        gate.set()
        await one.maker.until(lambda: one.maker.running == 0)
        assert await all_events(one.store, answered.id) == left
        await one.store.release("another")
        events = await followed(one, answered.id)

    assert len(one.maker.made) == 2
    assert events[: len(left)] == left
    assert violations(events) == []


async def test_a_run_whose_claim_is_lost_while_the_model_is_silent_stops(tmp_path: Path) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn(asyncio.Event())))
        one.runs._around = _with_short_claims(one)
        async with one.runs.working():
            answered = await one.runs.start(plan())
            await begun(one, answered.id, 12)
            await store.delete(answered.id, OWNER)

            await one.maker.until(lambda: one.maker.running == 0)


def _with_short_claims(one: Process) -> Any:
    return replace(one.runs._around, claim_seconds=0.3)


async def test_a_run_whose_store_goes_away_is_left_to_whoever_claims_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    async with working(tmp_path, Maker(turn(gate))) as one:
        answered = await one.runs.start(plan())
        await begun(one, answered.id, 12)
        with monkeypatch.context() as away, caplog.at_level(logging.INFO):
            away.setattr(one.store, "change", _unreachable)
            gate.set()
            await until(lambda: not one.runs._running)
        assert "is left to others: The store" in caplog.text
        left = await all_events(one.store, answered.id)
        await one.store.take(answered.id, "another")
        await one.store.release("another")
        events = await followed(one, answered.id)

    assert events[: len(left)] == left
    assert ends(events) == ["completed"]
    assert violations(events) == []


async def _unreachable(*_arguments: Any, **_options: Any) -> bool:
    raise Overloaded("The store cannot be reached now; try again.")


async def test_a_response_whose_process_dies_each_time_fails_in_the_end(tmp_path: Path) -> None:
    gate = asyncio.Event()
    # Each time in the middle of the reasoning.
    async with working(tmp_path, Maker(turn(gate)), max_attempts=2) as one:
        answered = await one.runs.start(plan())
        for attempt in (1, 2):
            await begun(one, answered.id, 12 * attempt)
            await _die(one, answered.id)
        events = await followed(one, answered.id)

    assert violations(events) == []
    assert "2 times in a row the server ended" in events[-1].failed.response.error.message


async def test_a_response_that_gets_on_between_deaths_does_not_fail(tmp_path: Path) -> None:
    gate = asyncio.Event()
    # Each time the reasoning is finished.
    maker = Maker(*(turn(gate, at=20) for _ in range(3)), turn())
    async with working(tmp_path, maker, max_attempts=1) as one:
        answered = await one.runs.start(plan())
        for attempt in (1, 2, 3):
            await begun(one, answered.id, 20 * attempt)
            await _die(one, answered.id)
        events = await followed(one, answered.id)

    assert violations(events) == []
    assert ends(events) == ["completed"]


async def _die(one: Process, response_id: str) -> None:
    """What a process that is killed leaves behind: a claim that nobody renews, and in the end nobody has."""
    await one.store.take(response_id, "nobody")
    for task in list(one.runs._running):
        task.cancel()
    await one.maker.until(lambda: one.maker.running == 0)
    await one.store.release("nobody")


async def test_what_a_dead_process_was_answering_in_the_foreground_fails(tmp_path: Path) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn()))
        response = told(background=False)
        assembly = Assembly(told(background=False))
        assembly.response.CopyFrom(response)
        events = kept.a_whole_stream(response)[:9]
        left = kept.stored(assembly.response, background=False)
        await store.add(left, Change(events=batches(events, 0)), runner="dead")
        silent = kept.stored(told(background=False), background=False, streamed=False)
        await store.add(silent, runner="dead")
        await one.runs._end_strays()
        assert await all_events(store, left.id) == events
        await store.release("dead")
        await one.runs._end_strays()

        seen = await followed(one, left.id)
        ended_quietly = await ended(store, silent.id)
        assert await all_events(store, silent.id) == []
    assert violations(seen) == []
    assert seen[-1].failed.response.error.message == ended_quietly.error.message == "The server ended while it made the response."
    assert ended_quietly.status == "failed"


async def test_a_chore_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn()))
        one.runs._keeping = one.runs._keeping.model_copy(update={"sweep_seconds": 0.01})
        swept = asyncio.Event()
        answers: list[Any] = [Overloaded("away"), 1, 0]

        async def sweep() -> int:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            if answer == 0:
                swept.set()
            return int(answer)

        monkeypatch.setattr(store, "sweep", sweep)
        async with one.runs.working(), asyncio.timeout(BOUND):
            await swept.wait()


@pytest.mark.parametrize("error", [Overloaded("away"), ValueError("broken")], ids=["away", "broken"])
async def test_a_queue_that_cannot_be_read_for_a_while_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn()), max_running=1)
        claim, failed = store.claim, asyncio.Event()

        async def once_away(runner: str, per_owner: int) -> Any:
            if not failed.is_set():
                failed.set()
                raise error
            return await claim(runner, per_owner)

        monkeypatch.setattr(store, "claim", once_away)
        async with one.runs.working():
            events = await followed(one, (await one.runs.start(plan())).id)
    assert failed.is_set()
    assert ends(events) == ["completed"]


async def test_a_process_whose_store_is_away_ends_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept.sqlite(tmp_path) as store:
        one = process(store, Maker(turn()))
        asked = asyncio.Event()

        async def claim(_runner: str, _per_owner: int) -> None:
            asked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(store, "claim", claim)
        monkeypatch.setattr(store, "release", _unreachable)
        async with one.runs.working(), asyncio.timeout(BOUND):
            await asked.wait()
        claiming = one.runs._claiming

    assert claiming is not None
    assert claiming.cancelled()


async def test_nothing_of_a_response_stays_in_the_process_when_it_has_ended(tmp_path: Path) -> None:
    async with working(tmp_path, Maker(turn())) as one:
        for _ in range(3):
            await followed(one, (await one.runs.start(plan())).id)
        await until(lambda: not one.runs._running)

        assert one.follower._announcements._listeners == {}
