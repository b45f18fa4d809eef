"""What is asked for by its id: parameters in the path and the query, streams that go on, and what is let go of."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest

from tests.agent.neighbours import ScriptedTools
from tests.bridge.keepers import Conversations, Keeper
from tests.bridge.rig import KEY, Rig, bridge
from trivet.bridge.settings import BridgeSettings, CorsSettings
from trivet.kernel.errors import UpstreamFailed

BOUND_SECONDS = 30


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def conversations() -> Conversations:
    return Conversations()


@pytest.fixture
async def rig(keeper: Keeper, conversations: Conversations) -> AsyncIterator[Rig]:
    async with bridge(keeper, ScriptedTools({}), conversations=conversations) as rig:
        yield rig


@pytest.mark.parametrize(
    "query", ["include=a&include=b", "include[]=a&include[]=b", "include[0]=a&include[1]=b", "include%5B%5D=a&include=b"]
)
async def test_a_list_is_given_in_any_of_the_ways_in_use(rig: Rig, keeper: Keeper, query: str) -> None:
    status, _ = await rig.get(f"/v1/responses/resp_1?{query}")

    assert (status, list(keeper.asked[0].include)) == (200, ["a", "b"])


async def test_scalars_are_read_by_their_types_and_what_is_unknown_is_left_out(rig: Rig, keeper: Keeper) -> None:
    query = "after=item+1%2F2&limit=7&order=asc&beta=true&limit[]=9&response_id=resp_2"
    status, page = await rig.get(f"/v1/responses/resp_1/input_items?{query}")

    asked = keeper.asked[0]
    assert (status, page["object"], page["data"]) == (200, "list", [])
    assert (asked.response_id, asked.after, asked.limit, asked.order) == ("resp_1", "item 1/2", 7, "asc")
    assert not asked.HasField("before")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("resp_1?stream=yes", "stream"),
        ("resp_1?stream=", "stream"),
        ("resp_1?stream=true&starting_after=last", "starting_after"),
        ("resp_1?stream=true&starting_after=-1", "starting_after"),
        (f"resp_1?starting_after={'9' * 5000}", "starting_after"),
        ("resp_1?starting_after=1.5", "starting_after"),
        ("resp_1?starting_after=1&starting_after=2", "starting_after"),
        ("resp_1/input_items?limit=0", "limit"),
        ("resp_1/input_items?limit=101", "limit"),
        ("resp_1/input_items?limit=NaN", "limit"),
        ("resp_1/input_items?limit=99999999999", "limit"),
        ("resp_1/input_items?order=up", "order"),
    ],
)
async def test_a_wrong_value_in_the_query_is_refused_by_its_name(rig: Rig, path: str, param: str) -> None:
    status, body = await rig.get(f"/v1/responses/{path}")

    assert (status, body["error"]["param"], body["error"]["type"]) == (400, param, "invalid_request_error")
    assert len(body["error"]["message"]) < 300


@pytest.mark.parametrize(
    ("query", "wanted"), [("stream=false", False), ("stream=0", False), ("", False), ("stream=TRUE", True), ("stream=1", True)]
)
async def test_a_stream_is_asked_for_by_the_query(rig: Rig, query: str, wanted: bool) -> None:
    async with rig.http.get(f"/v1/responses/resp_1?{query}") as answer:
        assert answer.content_type == ("text/event-stream" if wanted else "application/json")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("a%2Fb", "a/b"),
        ("%25", "%"),
        ("a%20b", "a b"),
        ("%C3%A9", "é"),
        ("%7Bx%7D", "{x}"),
        ("..%2f", "../"),
        ("x" * 4000, "x" * 4000),
        ("input_tokens", "input_tokens"),
        ("%E2%80%A8", "\u2028"),
    ],
)
async def test_an_odd_id_is_handed_on_as_it_is_meant(rig: Rig, keeper: Keeper, sent: str, told: str) -> None:
    status, _ = await rig.get(f"/v1/responses/{sent}")

    assert (status, keeper.asked[0].response_id) == (200, told)


async def test_what_is_not_there_is_a_404_in_shape(rig: Rig) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        status, body = await rig.ask(method, f"/v1/responses/gone{path}")
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "response_not_found", "response_id")


async def test_a_response_is_deleted(rig: Rig, keeper: Keeper) -> None:
    answer = await rig.ask("DELETE", "/api/llm/responses/resp_1")

    assert answer == (200, {"object": "response", "id": "resp_1", "deleted": True})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": b""},
        {"json": {}},
        {"data": b"{}"},
        {"data": b"", "headers": {"Content-Type": "application/json"}},
        {"data": b"", "headers": {"Content-Type": "text/plain"}},
        {"data": b"what is this?", "headers": {"Content-Type": "text/plain"}},
    ],
)
async def test_what_needs_no_body_takes_any(rig: Rig, keeper: Keeper, body: Any) -> None:
    status, answer = await rig.ask("POST", "/v1/responses/resp_1/cancel", **body)

    assert (status, answer["id"]) == (200, "resp_1")
    assert (await rig.get("/v1/responses/resp_2"))[0] == 200


async def test_conversations_are_served_by_their_own_service(rig: Rig, conversations: Conversations) -> None:
    updated = await rig.ask("POST", "/v1/conversations/conv_1", json={"metadata": {"a": "b"}})
    deleted = await rig.ask("DELETE", "/v1/conversations/conv_1/items/msg_1")
    listed = await rig.get("/v1/conversations/conv_1/items?limit=3&include[0]=x")

    assert (updated[0], updated[1]["metadata"], deleted[0], listed[0]) == (200, {"a": "b"}, 200, 200)
    of_update, of_delete, of_list = conversations.asked
    assert (of_update.conversation_id, of_delete.item_id, of_list.limit, list(of_list.include)) == ("conv_1", "msg_1", 3, ["x"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/responses/resp_1", "DELETE, GET"),
        ("HEAD", "/v1/responses/resp_1", "DELETE, GET"),
        ("OPTIONS", "/v1/responses/resp_1", "DELETE, GET"),
        ("GET", "/v1/responses/resp_1/cancel", "POST"),
        ("PATCH", "/v1/conversations/conv_1", "DELETE, GET, POST"),
        ("GET", "/v1/responses", "POST"),
    ],
)
async def test_another_method_is_told_which_there_are(rig: Rig, method: str, path: str, allowed: str) -> None:
    async with rig.http.request(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)


async def test_pages_of_allowed_origins_may_delete(keeper: Keeper) -> None:
    settings = BridgeSettings(cors=CorsSettings(origins=("https://a.example",)))
    async with bridge(keeper, ScriptedTools({}), settings) as rig:
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "DELETE"}
        async with rig.http.options("/v1/responses/resp_1", headers=asked) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (204, "DELETE")


def numbers(raw: bytes) -> list[int]:
    return [orjson.loads(line[6:])["sequence_number"] for line in raw.split(b"\n") if line.startswith(b"data: {")]


async def test_a_stream_is_followed_from_where_the_client_left_it() -> None:
    async with bridge(Keeper([["a", "b", "c", "d"]]), ScriptedTools({})) as rig:
        async with rig.http.get("/v1/responses/resp_1?stream=true&starting_after=1") as answer:
            raw = await answer.read()

    assert numbers(raw) == [2, 3]
    assert raw.endswith(b"data: [DONE]\n\n")


async def test_the_error_of_a_stream_that_breaks_is_numbered_after_its_last_event() -> None:
    async with bridge(Keeper([["a", "b", "c", UpstreamFailed("It broke.")]]), ScriptedTools({})) as rig:
        async with rig.http.get("/v1/responses/resp_1?stream=true&starting_after=1") as answer:
            raw = await answer.read()

    assert numbers(raw) == [2, 3]
    error = orjson.loads(raw.split(b"event: error\ndata: ")[1].split(b"\n")[0])
    assert (error["message"], error["error"]["message"], error["error"]["type"]) == ("It broke.", "It broke.", "server_error")


async def test_the_error_of_a_stream_that_never_began_is_numbered_after_what_the_client_has() -> None:
    gate = asyncio.Event()
    settings = BridgeSettings(first_event_seconds=0.01, heartbeat_seconds=0.01)
    async with bridge(Keeper([["a", "b", gate, UpstreamFailed("It broke.")]]), ScriptedTools({}), settings) as rig:
        async with rig.http.get("/v1/responses/resp_1?stream=true&starting_after=1") as answer:
            assert await answer.content.readany() == b": keep-alive\n\n"
            gate.set()
            raw = await answer.content.read()

    assert numbers(raw) == [2]


async def test_a_client_that_leaves_ends_its_own_following_and_nothing_else() -> None:
    keeper = Keeper([["a", asyncio.Event()]])
    async with bridge(keeper, ScriptedTools({})) as rig, asyncio.timeout(BOUND_SECONDS):
        answer = await rig.http.get("/v1/responses/resp_1?stream=true")
        await answer.content.readany()
        answer.close()
        await keeper.cancelled.wait()

    assert [type(request).__name__ for request in keeper.asked] == ["GetResponseRequest"]


async def test_the_official_sdk_asks_in_these_ways(rig: Rig, keeper: Keeper, conversations: Conversations) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://{rig.address}/v1", api_key=KEY, max_retries=0) as sdk:
        assert (await sdk.responses.retrieve("resp_1", include=["reasoning.encrypted_content"])).id == "resp_1"
        stream = await sdk.responses.retrieve("resp_1", stream=True, starting_after=0)
        assert [event.sequence_number async for event in stream] == []
        page = await sdk.responses.input_items.list(
            "resp_1", limit=3, order="asc", after="x", include=["reasoning.encrypted_content"]
        )
        assert page.data == []
        assert (await sdk.responses.cancel("resp_1")).id == "resp_1"
        await sdk.responses.delete("resp_1")
        assert (await sdk.conversations.update("conv_1", metadata={"a": "b"})).metadata == {"a": "b"}
        assert [item async for item in sdk.conversations.items.list("conv_1", limit=3)] == []

    retrieved, followed, listed, _, _ = keeper.asked
    assert list(retrieved.include) == ["reasoning.encrypted_content"]
    assert (followed.stream, followed.starting_after) == (True, 0)
    assert (listed.limit, listed.order, listed.after, list(listed.include)) == (3, "asc", "x", ["reasoning.encrypted_content"])
