"""A response that is put together from turns is one stream, and can be gone on with from wherever it broke off."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.checkers.responses_stream import check_responses_stream
from tests.model.responses import recorded
from tests.model.responses.recorded import as_json, copies, told
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.responses.assembly import Assembly, TurnSplice

Events = list[ResponseEvent]


async def rendered() -> Events:
    return recorded.rendered()


TURNS: dict[str, Callable[[], Awaitable[Events]]] = {"chat": rendered, "native": recorded.native}
turns = pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
check_taken_up = partial(check_responses_stream, taken_up=True)


def spliced(assembly: Assembly, turn: Events) -> tuple[Events, Response]:
    splice = TurnSplice(assembly)
    said = copies(splice.pass_on(turn))
    assert splice.response is not None
    return said, splice.response


async def whole(turn: Callable[[], Awaitable[Events]], begun: Response) -> Events:
    """A background response of two turns."""
    assembly = Assembly(begun)
    events = copies(assembly.begin(queued=True)) + copies(assembly.begin())
    events += spliced(assembly, await turn())[0]
    more, last = spliced(assembly, await turn())
    return [*events, *more, *copies(assembly.end(last))]


@turns
async def test_turns_make_one_stream(turn: Callable[[], Awaitable[Events]]) -> None:
    events = await whole(turn, told())

    assert check_responses_stream(as_json(events)) == []
    assert len(events[-1].completed.response.output) == 2 * len((await turn())[-1].completed.response.output)


async def test_a_run_of_texts_takes_as_many_numbers_as_it_stands_for() -> None:
    assembly = Assembly(told())
    turn = recorded.rendered()
    at = next(index for index, event in enumerate(turn) if event.HasField("output_text_delta"))
    run = ResponseEvent()
    run.CopyFrom(turn[at])
    run.output_text_delta.deltas.extend(["one", " two", " three"])
    events = copies(assembly.begin()) + spliced(assembly, [*turn[:at], run, *turn[at:]])[0]

    single = [one for event in events for one in runs_of(ResponseEvent.DESCRIPTOR).singles(event)]
    assert [getattr(one, str(one.WhichOneof("event"))).sequence_number for one in single] == list(range(len(turn) + 2))


@turns
async def test_a_response_goes_on_from_wherever_it_broke_off(turn: Callable[[], Awaitable[Events]]) -> None:
    begun = told()
    events = (await whole(turn, _copy(begun)))[:-1]

    for cut in range(2, len(events) + 1):
        assembly = Assembly.restored(_copy(begun), copies(events[:cut]))
        assert assembly.last_number == cut - 1
        again = copies([*assembly.begin(), *assembly.close_interrupted()])
        more, last = spliced(assembly, await turn())
        stream = [*events[:cut], *again, *more, *copies(assembly.end(last))]
        assert check_taken_up(as_json(stream)) == [], f"cut after {cut}"


@turns
async def test_a_response_restored_from_all_its_events_has_ended_as_it_was(turn: Callable[[], Awaitable[Events]]) -> None:
    begun = told()
    events = await whole(turn, _copy(begun))

    assembly = Assembly.restored(_copy(begun), copies(events))

    assert assembly.ended
    assert assembly.response == events[-1].completed.response
    assert assembly.last_number == len(events) - 1
    assert assembly.interrupted == []


@turns
async def test_a_response_that_broke_off_can_be_cancelled_or_fail(turn: Callable[[], Awaitable[Events]]) -> None:
    begun = told()
    events = (await whole(turn, _copy(begun)))[:-1]

    for cut in range(2, len(events) + 1):
        for end in (Assembly.cancel, lambda it: it.fail(UpstreamFailed("It broke."))):
            assembly = Assembly.restored(_copy(begun), copies(events[:cut]))
            stream = [*events[:cut], *assembly.close_interrupted(), *end(assembly)]
            assert check_taken_up(as_json(stream)) == [], f"cut after {cut}"
            assert assembly.ended


@turns
async def test_what_was_streamed_of_an_interrupted_item_stays(turn: Callable[[], Awaitable[Events]]) -> None:
    events = (await whole(turn, told()))[:-1]

    for cut in range(3, len(events) + 1):
        assembly = Assembly.restored(told(), copies(events[:cut]))
        deltas = _deltas(events[:cut])
        assembly.close_interrupted()
        assert all(delta in str(assembly.response.output) for delta in deltas), f"cut after {cut}"


async def test_a_withheld_item_leaves_no_gap() -> None:
    assembly = Assembly(told())
    events = copies(assembly.begin())
    splice = TurnSplice(assembly, lambda item: item.HasField("function_call"))
    events += copies(splice.pass_on(recorded.rendered()))
    assert splice.response is not None
    events += copies(assembly.end(splice.response))

    assert [call.function_call.call_id for call in splice.calls] == ["call_1"]
    assert splice.calls[0].function_call.arguments == '{"a":1}'
    assert [item.WhichOneof("kind") for item in assembly.response.output] == ["reasoning", "message", "custom_tool_call"]
    assert check_responses_stream(as_json(events)) == []


async def test_an_interrupted_item_that_is_taken_up_is_not_closed() -> None:
    events = [*copies(Assembly(told()).begin()), *recorded.rendered()[2:]]
    added = next(n for n, one in enumerate(events) if one.output_item_added.item.HasField("function_call"))
    assembly = Assembly.restored(told(), copies(events[: added + 2]))
    [item] = assembly.interrupted
    assert item.function_call.arguments == '{"a"'

    assert assembly.reopen("fc_other") is None
    reopened = assembly.reopen(item.function_call.id)
    assert reopened is not None
    assert reopened.output_index == 2
    assert assembly.close_interrupted() == []
    item.function_call.status = "completed"
    done = assembly.done(2, item)

    assert (done.output_item_done.output_index, done.output_item_done.sequence_number) == (2, added + 2)


async def test_a_turn_that_fails_fails_the_response() -> None:
    assembly = Assembly(told())
    events = copies(assembly.begin())
    turn = recorded.rendered()[:6]
    failing = Assembly.restored(told(), copies(turn))
    splice = TurnSplice(assembly)
    events += copies(splice.pass_on([*turn, *copies(failing.fail(UpstreamFailed("It broke.")))]))
    assert splice.response is not None
    events += copies(assembly.end(splice.response))

    assert check_responses_stream(as_json(events)) == []
    assert events[-1].failed.response.error.message == "It broke."


async def test_the_tokens_of_turns_add_up() -> None:
    assembly = Assembly(told())
    for _ in range(2):
        assembly.add_usage((await recorded.native())[-1].completed.response.usage)

    usage = assembly.response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 10, 30)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (8, 4)


@turns
async def test_what_was_only_said_whole_stays_too(turn: Callable[[], Awaitable[Events]]) -> None:
    events = [one for one in await turn() if not (one.WhichOneof("event") or "").endswith("_delta")]

    for cut, event in enumerate(events, start=1):
        kind = event.WhichOneof("event") or ""
        whole = next((text for key in ("text", "arguments", "input") if (text := getattr(getattr(event, kind), key, ""))), "")
        if kind.endswith("_done") and whole:
            [item] = Assembly.restored(told(), copies(events[:cut])).interrupted
            assert whole.replace('"', '\\"') in str(item)


def test_an_image_that_was_not_finished_has_failed() -> None:
    assembly = Assembly(told())
    events = copies(assembly.begin())
    item = recorded.item({"type": "image_generation_call", "id": "ig_1", "status": "in_progress", "result": None})
    events.append(assembly.open(item)[1])

    restored = Assembly.restored(told(), copies(events))
    restored.close_interrupted()

    # The API has no incomplete images.
    assert restored.response.output[0].image_generation_call.status == "failed"


def _copy(response: Response) -> Response:
    copy = Response()
    copy.CopyFrom(response)
    return copy


def _deltas(events: Events) -> list[str]:
    kinds = [one.WhichOneof("event") or "" for one in events]
    said = [getattr(one, kind) for one, kind in zip(events, kinds, strict=True) if kind.endswith("_delta")]
    return [delta.delta.replace('"', '\\"') for delta in said]
