"""The fault drill of routing: each fault of a target ends in what the configuration says, streamed or not, over each dialect."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import NEVER as STALLS
from tests.e2e.answers import begun
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import data_of, read_until
from tests.e2e.routed import NEVER, Json, Routed, routed, smart
from tests.e2e.runs import DONE
from tests.model.chat_chunks import chunk
from tests.model.responses_events import numbered, snapshot
from tests.model.responses_events import sse as named_sse
from tests.upstreams.scripted import CLOSE, RESET, Step, answer, piece, response, sse, stream, stream_head

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])
streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
of_each_face = pytest.mark.parametrize("face", ["responses", "chat"])

SOON: Json = {"timeouts": {"first_token_ms": 60, "total_ms": 60}}


def refused(status: int, **headers: str) -> list[Step]:
    return [answer({"error": {"message": "It told why."}}, status=status, headers=headers)]


@dataclass(frozen=True)
class Fault:
    """What the first upstream plays each time, how often it is asked, and how its target is configured."""

    steps: list[Step]
    asked: int = 2
    target: Any = None


EARLY = {
    "429": Fault(refused(429)),
    "429 with a short Retry-After": Fault(refused(429, **{"retry-after-ms": "5"})),
    "429 with a long Retry-After": Fault(refused(429, **{"Retry-After": "60"}), 1),
    "500": Fault(refused(500)),
    "503": Fault(refused(503)),
    "529": Fault(refused(529)),
    "504": Fault(refused(504), 1),
    "401": Fault(refused(401), 1),
    "403": Fault(refused(403), 1),
    "404": Fault(refused(404), 1),
    "a closed connection": Fault([CLOSE]),
    "a reset connection": Fault([RESET]),
    "half an answer": Fault([answer({"choices": []})[:-3], CLOSE]),
    "JSON that is cut": Fault([response(b'{"choices": [{"in')]),
    "a wrong type": Fault([response(b"<html>hello</html>", headers={"Content-Type": "text/html"})]),
    "a stall": Fault([NEVER], 1, SOON),
}


async def whole(rig: Routed, face: str, streamed: bool, **headers: str) -> tuple[int, bytes]:
    async with rig.http.post(PATHS[face], json=body(face, "smart", streamed=streamed), headers=headers) as given:
        return given.status, await given.read()


@streamed_or_not
@of_each_face
@of_each_dialect
async def test_early_faults_fall_back_and_no_target_is_asked_more_often_than_allowed(
    dialect: str, face: str, streamed: bool
) -> None:
    # One gateway for all faults; each has a model with targets of its own, so that no circuit of another one is open.
    models = []
    for number, fault in enumerate(EARLY.values()):
        model = smart(dialect, fault.target)
        for target in model["targets"]:
            target["model"] += str(number)
        models.append(model | {"name": f"smart{number}"})
    async with routed(*models) as rig:
        for number, (name, fault) in enumerate(EARLY.items()):
            rig.one.forget()
            rig.two.forget()
            rig.one.always = fault.steps
            rig.two.play(*DONE.script(dialect, streamed=streamed) if streamed else [DONE.script(dialect, streamed=False)])

            asked = body(face, f"smart{number}", streamed=streamed)
            async with rig.http.post(PATHS[face], json=asked) as given:
                raw = await given.read()
                assert (given.status, given.headers["x-trivet-resolved-model"]) == (200, f"two-{dialect}/m{number}"), (name, raw)
            assert b"All " in raw, name
            assert rig.asked == (fault.asked, 1), name


@of_each_face
@of_each_dialect
async def test_a_stream_that_breaks_before_the_model_said_anything_falls_back(dialect: str, face: str) -> None:
    begins = named_sse(numbered([snapshot("created"), snapshot("in_progress")]))
    head = sse(chunk({"role": "assistant", "content": ""}), done=False) if dialect == "lab" else begins
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    faults: dict[str, tuple[list[Step], int]] = {
        "tells an error": (stream(head, error), 2),
        "sends what is no JSON": (stream(head, b"data: {oops\n\n"), 2),
        "ends early": (stream(head), 2),
        "closes": ([stream_head(), piece(head), CLOSE], 2),
        "stalls": ([stream_head(), piece(head), NEVER], 1),
    }
    models = []
    for number in range(len(faults)):
        model = smart(dialect, SOON)
        for target in model["targets"]:
            target["model"] += str(number)
        models.append(model | {"name": f"smart{number}"})
    async with routed(*models) as rig:
        for number, (name, (steps, often)) in enumerate(faults.items()):
            rig.one.forget()
            rig.two.forget()
            rig.one.always = steps
            rig.two.play(*DONE.script(dialect, streamed=True))
            async with rig.http.post(PATHS[face], json=body(face, f"smart{number}", streamed=True)) as given:
                raw = await given.read()
                assert given.status == 200, (name, raw)
            assert b"All " in raw, name
            assert rig.asked == (often, 1), name
            if face == "responses":
                assert check_responses_sse(raw) == [], name
                assert data_of(raw)[-1]["response"]["provider"] == f"two-{dialect}"


LATE: dict[str, tuple[Step, ...]] = {
    "closes": (CLOSE,),
    "resets": (RESET,),
    "ends early": (b"0\r\n\r\n",),
    "sends what is no JSON": (piece(b"data: {oops\n\n"),),
    "breaks its framing": (b"zz\r\n",),
    "tells an error": (piece(b'event: error\ndata: {"type":"error","error":{"message":"Oh.","type":"overloaded_error"}}\n\n'),),
    "stalls": (STALLS,),
}


@of_each_face
@of_each_dialect
@pytest.mark.parametrize("steps", LATE.values(), ids=LATE)
async def test_a_stream_that_breaks_after_that_is_never_gone_on_with_by_another_target(
    steps: tuple[Any, ...], dialect: str, face: str
) -> None:
    stalls = STALLS in steps
    async with routed(smart(dialect, {"timeouts": {"total_ms": 500}} if stalls else None)) as rig:
        heard = asyncio.Event()
        rig.one.play(*begun(dialect, heard, *steps))
        async with rig.http.post(PATHS[face], json=body(face, "smart", streamed=True)) as given:
            raw = await read_until(given, b"Hello")
            heard.set()
            raw += await given.content.read()

        assert rig.asked == (1, 0)
        told = data_of(raw)
        assert raw.endswith(b"data: [DONE]\n\n")
        if face == "responses":
            assert check_responses_sse(raw) == []
            assert [one["type"] for one in told[-2:]] == ["error", "response.failed"]
        else:
            assert set(told[-1]) == {"error"}


@streamed_or_not
@of_each_face
async def test_a_request_that_is_at_fault_itself_is_not_put_to_another_target(face: str, streamed: bool) -> None:
    async with routed(smart("lab")) as rig:
        rig.one.play(*refused(400))
        status, raw = await whole(rig, face, streamed)
        assert (status, b"It told why." in raw, rig.asked) == (400, True, (1, 0))


@streamed_or_not
async def test_when_all_fail_the_caller_gets_the_limit_that_is_over_first(streamed: bool) -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always = refused(429, **{"Retry-After": "30"})
        rig.two.always = refused(500)
        async with rig.http.post(PATHS["chat"], json=body("chat", "smart", streamed=streamed)) as given:
            assert (given.status, given.headers["Retry-After"]) == (429, "30")
        assert rig.asked == (1, 2)


@streamed_or_not
async def test_with_one_target_dead_every_request_that_may_fall_back_succeeds(streamed: bool) -> None:
    weighted = smart("lab", {"weight": 80}, {"weight": 20}, route={"strategy": "weight"})
    async with routed(weighted) as rig:
        rig.one.always = [RESET]
        rig.two.always = DONE.script("lab", streamed=True) if streamed else [DONE.script("lab", streamed=False)]
        answers = await asyncio.gather(*(whole(rig, "chat", streamed) for _ in range(100)))
        assert {(status, b"All " in raw) for status, raw in answers} == {(200, True)}
        # Its circuit is open now: it is not asked at all.
        rig.one.forget()
        assert {(await whole(rig, "chat", streamed))[0] for _ in range(10)} == {200}
        assert rig.asked[0] == 0


async def test_a_client_that_leaves_while_is_waited_ends_the_call() -> None:
    patient = {"retry": {"attempts": 3, "delay_ms": 60_000, "max_delay_ms": 60_000}}
    async with routed(smart("lab", patient)) as rig:
        rig.one.always = refused(500)
        calling = asyncio.create_task(whole(rig, "chat", streamed=False))
        await rig.one.until(lambda: len(rig.one.requests) == 1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        # What stops the gateway waits for calls that still run: it would be cut off by the time that the test has.
        assert rig.asked == (1, 0)


async def test_a_model_of_a_provider_is_asked_once_unless_its_caller_wants_more() -> None:
    async with routed() as rig:
        rig.one.always = refused(500)
        asked = body("chat", "one-lab/m", streamed=False)
        async with rig.http.post(PATHS["chat"], json=asked) as given:
            assert (given.status, rig.asked) == (502, (1, 0))
        wanted = {"x-tfy-retry-config": '{"attempts": 3, "onStatusCodes": [500]}'}
        async with rig.http.post(PATHS["chat"], json=asked, headers=wanted) as given:
            assert (given.status, rig.asked) == (502, (4, 0))
