"""Going on from a response over one WebSocket, where the response is kept nowhere else."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest

from tests.bridge.keepers import Keeper
from tests.bridge.rig import KEY
from tests.bridge.sockets import PATH, asked, over, talk, text_of
from tests.checkers.responses_stream import check_responses_stream
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import RateLimited, UpstreamFailed
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

UNKNOWN = (404, "previous_response_not_found", "previous_response_id")


def said(request: CreateResponseRequest) -> list[tuple[str, str]]:
    """Role and text of each message of a request's input."""
    items = orjson.loads(codec_for(CreateResponseRequest).dumps(request))["input"]
    if isinstance(items, str):
        return [("user", items)]
    contents = [(item["role"], item["content"]) for item in items]
    return [(role, content if isinstance(content, str) else content[0]["text"]) for role, content in contents]


def ended(frames: list[Any]) -> tuple[str, Any, Any]:
    """Status, id and previous id of the response that frames end with."""
    last = frames[-1]["response"]
    return last["status"], last["id"], last["previous_response_id"]


def refusal(frames: list[Any]) -> tuple[int, str, str]:
    assert [frame["type"] for frame in frames] == ["error"], frames
    return frames[0]["status"], frames[0]["error"]["code"], frames[0]["error"]["param"]


async def test_a_response_that_is_not_stored_is_gone_on_from_again_and_again() -> None:
    keeper = Keeper([["one"], ["two"], ["three"]])
    async with talk(keeper) as (_, socket):
        await asked(socket, store=False, input="a", instructions="Be short.")
        second = await asked(socket, store=False, input="b", previous_response_id="resp_0")
        third = await asked(socket, store=False, input=[{"role": "user", "content": "c"}], previous_response_id="resp_1")

    assert [said(request) for request in keeper.created] == [
        [("user", "a")],
        [("user", "a"), ("assistant", "one"), ("user", "b")],
        [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"), ("user", "c")],
    ]
    assert not any(request.HasField("previous_response_id") for request in keeper.created)
    assert [request.instructions for request in keeper.created] == ["Be short.", "", ""]
    assert (ended(second), ended(third)) == (("completed", "resp_1", "resp_0"), ("completed", "resp_2", "resp_1"))
    assert {frame["response"]["previous_response_id"] for frame in third if "response" in frame} == {"resp_1"}
    assert check_responses_stream(third) == []


async def test_a_stored_response_is_gone_on_from_by_the_service() -> None:
    keeper = Keeper(kept={"resp_0"})
    async with talk(keeper) as (_, socket):
        await asked(socket, input="a")
        await asked(socket, input="b", previous_response_id="resp_0")

    assert (said(keeper.created[1]), keeper.created[1].previous_response_id) == ([("user", "b")], "resp_0")


async def test_what_went_on_from_a_stored_one_does_so_when_it_is_gone_on_from() -> None:
    keeper = Keeper([["one"]], kept={"resp_stored"})
    async with talk(keeper) as (_, socket):
        await asked(socket, store=False, input="a", previous_response_id="resp_stored")
        frames = await asked(socket, input="b", previous_response_id="resp_0")

    request = keeper.created[1]
    assert (said(request), request.previous_response_id) == ([("user", "a"), ("assistant", "one"), ("user", "b")], "resp_stored")
    assert ended(frames)[2] == "resp_0"


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [("upstream", {}), ("type", {"temperature": "warm"}), ("range", {"temperature": 9}), ("both", {"conversation": "conv_1"})],
)
async def test_a_response_that_could_not_be_gone_on_from_is_forgotten(kind: str, pairs: dict[str, Any]) -> None:
    class Picky(Keeper):
        async def StreamResponse(self, request: Any, context: Any) -> Any:
            if len(self.created) == 1:
                self.created.append(request)
                raise RateLimited("Too many.")
            async for batch in super().StreamResponse(request, context):
                yield batch

    keeper = Picky() if kind == "upstream" else Keeper()
    async with talk(keeper) as (_, socket):
        await asked(socket, store=False)
        failed = await asked(socket, store=False, previous_response_id="resp_0", **pairs)
        again = await asked(socket, store=False, previous_response_id="resp_0")

    assert failed[0]["type"] == "error"
    assert refusal(again) == UNKNOWN


async def test_a_response_that_breaks_is_not_gone_on_from() -> None:
    async with talk(Keeper([["a"], ["b", UpstreamFailed("It broke.")]])) as (_, socket):
        await asked(socket, store=False)
        await asked(socket, store=False, previous_response_id="resp_0")
        assert refusal(await asked(socket, previous_response_id="resp_1")) == UNKNOWN
        assert refusal(await asked(socket, previous_response_id="resp_0")) == UNKNOWN


async def test_only_the_latest_is_remembered_and_only_by_its_connection() -> None:
    async with talk(Keeper()) as (rig, socket):
        await asked(socket, store=False)
        await asked(socket, store=False)
        assert refusal(await asked(socket, previous_response_id="resp_0")) == UNKNOWN
        async with rig.http.ws_connect(PATH) as other:
            assert refusal(await asked(other, previous_response_id="resp_1")) == UNKNOWN
        assert ended(await asked(socket, previous_response_id="resp_1"))[2] == "resp_1"


async def test_a_failure_that_goes_on_from_nothing_forgets_nothing() -> None:
    async with talk(Keeper()) as (_, socket):
        await asked(socket, store=False)
        assert (await asked(socket, temperature=9))[0]["status"] == 400
        assert ended(await asked(socket, previous_response_id="resp_0"))[0] == "completed"


async def test_no_more_is_remembered_than_a_message_may_hold() -> None:
    async with talk(Keeper([["x" * 3000]]), BridgeSettings(max_body_bytes=2048)) as (_, socket):
        await asked(socket, store=False)
        assert refusal(await asked(socket, previous_response_id="resp_0")) == UNKNOWN


async def test_going_on_without_input_is_refused_as_over_http() -> None:
    async with talk(Keeper()) as (_, socket):
        await asked(socket, store=False)
        assert refusal(await asked(socket, input=None, previous_response_id="resp_0"))[2] == "input"


@pytest.mark.parametrize("store", [True, False])
async def test_a_warm_up_asks_for_no_output_and_is_gone_on_from(store: bool) -> None:
    keeper = Keeper([["never"], ["one"]], kept={"resp_0"} if store else set())
    async with talk(keeper) as (_, socket):
        warm = await asked(socket, generate=False, store=store, input=[{"role": "user", "content": "a"}])
        frames = await asked(socket, generate=True, store=store, input="b", previous_response_id="resp_0")

    assert [frame["type"] for frame in warm] == ["response.created", "response.in_progress", "response.completed"]
    assert (warm[-1]["response"]["output"], warm[-1]["response"]["usage"]["total_tokens"]) == ([], 0)
    assert orjson.loads(keeper.created[0].extra) == {"generate": False}
    assert keeper.created[1].extra == ""
    assert said(keeper.created[1]) == ([("user", "b")] if store else [("user", "a"), ("user", "b")])
    assert (text_of(frames), ended(frames)[2] or "resp_0") == ("one", "resp_0")


async def test_a_warm_up_needs_no_input() -> None:
    async with talk(Keeper()) as (_, socket):
        await socket.send_json({"type": "response.create", "model": "lab/m", "generate": False})
        assert orjson.loads(await socket.receive_str())["type"] == "response.created"


async def test_the_official_sdk_talks_over_a_connection() -> None:
    keeper = Keeper([["Hel", "lo."], ["again"]])
    async with over(keeper) as rig:
        sdk = openai.AsyncOpenAI(base_url=f"http://{rig.address}/v1", api_key=KEY, max_retries=0)
        async with sdk, sdk.responses.connect() as connection:
            await connection.response.steer(input="x", previous_response_id="resp_0")
            steered = await connection.recv()
            await connection.response.create(model="lab/m", input="a", store=False, stream_id="lane")
            first = [event async for event in until_completed(connection)]
            await connection.response.create(model="lab/m", input="b", store=False, previous_response_id=first[-1].response.id)
            second = [event async for event in until_completed(connection)]

    assert (steered.type, steered.status, steered.error.code) == ("error", 400, "unsupported_parameter")
    assert "".join(event.delta for event in first if event.type == "response.output_text.delta") == "Hello."
    assert {event.stream_id for event in first} == {"lane"}
    assert second[-1].response.output_text == "again"
    assert said(keeper.created[1]) == [("user", "a"), ("assistant", "Hello."), ("user", "b")]


async def until_completed(connection: Any) -> AsyncIterator[Any]:
    async for event in connection:
        yield event
        if event.type == "response.completed":
            return


async def test_the_official_sdk_is_told_what_is_wrong_and_goes_on() -> None:
    async with over(Keeper()) as rig:
        sdk = openai.AsyncOpenAI(base_url=f"http://{rig.address}/v1", api_key=KEY, max_retries=0)
        async with sdk, sdk.responses.connect() as connection:
            await connection.response.create(model="lab/m", input="a", previous_response_id="resp_none")
            refused = await connection.recv()
            await connection.response.create(model="lab/m", input="a")
            assert [event async for event in until_completed(connection)]

    assert (refused.type, refused.status, refused.error.code) == ("error", 404, "previous_response_not_found")
