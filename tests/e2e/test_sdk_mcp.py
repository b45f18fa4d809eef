"""Tools of MCP servers that the gateway runs, with the official SDK: over either dialect, streamed to the end or whole."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.runs import calling
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])

ADDING = calling(("add", {"a": 2, "b": 3}))
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}


@pytest_asyncio.fixture(loop_scope="session")
async def client(shape: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{shape.url}/v1") as opened:
        yield opened


def tools(shape: Shape, **changes: Any) -> Any:
    """The tools of the MCP server, by its URL."""
    return [{"type": "mcp", "server_label": "sums", "server_url": shape.tools.url, "require_approval": "never", **changes}]


def kinds(response: Any) -> list[str]:
    return [item.type for item in response.output]


@of_each_dialect
async def test_a_turn_with_a_tool_streams_to_its_end(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(shape.upstream, ADDING, "It is 5.")
    seen: list[str] = []

    async with client.responses.stream(model=f"{dialect}/m", input="2 + 3?", tools=tools(shape)) as events:
        async for event in events:
            seen.append(event.type.removeprefix("response."))
        given = await events.get_final_response()

    assert kinds(given) == ["mcp_list_tools", "mcp_call", "message"]
    assert given.output_text == "It is 5."
    listed, call, _ = given.output
    assert listed.type == "mcp_list_tools"
    assert {tool.name for tool in listed.tools} >= {"add", "say"}
    assert call.type == "mcp_call"
    assert (call.name, call.arguments, call.output, call.error) == ("add", '{"a": 2, "b": 3}', "5", None)
    assert (call.server_label, call.status) == ("sums", "completed")
    assert given.usage is not None
    assert given.usage.total_tokens == given.usage.input_tokens + given.usage.output_tokens
    assert [kind for kind in seen if "mcp" in kind and "delta" not in kind] == [
        "mcp_list_tools.in_progress", "mcp_list_tools.completed",
        "mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call.completed",
    ]  # fmt: skip
    assert heard(shape.upstream.requests[-1].body) == [("user", "2 + 3?"), ("call", 'add {"a": 2, "b": 3}'), ("result", "5")]


@of_each_dialect
async def test_a_turn_with_a_tool_comes_whole(shape: Shape, client: openai.AsyncOpenAI, dialect: str) -> None:
    say(shape.upstream, ADDING, "It is 5.")

    given = await client.responses.create(model=f"{dialect}/m", input="2 + 3?", tools=tools(shape))
    again = await client.responses.retrieve(given.id)

    assert kinds(given) == ["mcp_list_tools", "mcp_call", "message"]
    assert again.to_dict() == given.to_dict()


async def test_a_turn_with_a_tool_runs_in_the_background(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, ADDING, "It is 5.")

    async with client.responses.stream(model="lab/m", input="2 + 3?", tools=tools(shape), background=True) as events:
        given = await events.get_final_response()

    assert kinds(given) == ["mcp_list_tools", "mcp_call", "message"]
    assert (await client.responses.retrieve(given.id)).output_text == "It is 5."


@of_each_dialect
@pytest.mark.parametrize("approve", [True, False], ids=["approved", "refused"])
async def test_a_call_waits_until_it_is_approved(shape: Shape, client: openai.AsyncOpenAI, dialect: str, approve: bool) -> None:
    asked: Any = {"model": f"{dialect}/m", "tools": tools(shape, require_approval="always")}
    say(shape.upstream, ADDING, "So be it.")
    async with client.responses.stream(input="2 + 3?", **asked) as events:
        first = await events.get_final_response()
    request: Any = first.output[-1]
    told = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}]

    async with client.responses.stream(input=told, previous_response_id=first.id, **asked) as events:
        given = await events.get_final_response()

    assert kinds(first) == ["mcp_list_tools", "mcp_approval_request"]
    assert (request.name, request.arguments, request.server_label) == ("add", '{"a": 2, "b": 3}', "sums")
    assert given.output_text == "So be it."
    assert shape.tools.seen["tools/call"] == int(approve)
    if approve:
        # The tools of the server stand in the conversation already.
        assert kinds(given) == ["mcp_call", "message"]
        call: Any = given.output[0]
        assert (call.approval_request_id, call.output) == (request.id, "5")
        assert heard(shape.upstream.requests[-1].body)[-1] == ("result", "5")


async def test_a_function_is_left_to_the_caller(shape: Shape, client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "lab/m", "tools": [*tools(shape), WEATHER]}
    say(shape.upstream, calling(("add", {"a": 2, "b": 3}), ("weather", {})), "5, and sunny.")

    first = await client.responses.create(input="2 + 3, and the weather?", **asked)
    (call,) = (item for item in first.output if item.type == "function_call")
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    given = await client.responses.create(input=result, previous_response_id=first.id, **asked)

    assert sorted(kinds(first)) == ["function_call", "mcp_call", "mcp_list_tools"]
    assert kinds(given) == ["message"]
    assert {text for who, text in heard(shape.upstream.requests[-1].body) if who == "result"} == {"5", "sunny"}


async def test_a_tool_that_fails_is_told_to_the_model(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, calling(("fail", {"why": "No."})), "It failed.")

    async with client.responses.stream(model="lab/m", input="go", tools=tools(shape)) as events:
        given = await events.get_final_response()

    call: Any = given.output[1]
    assert (call.status, call.output) == ("failed", None)
    assert call.error.type == "mcp_tool_execution_error"
    assert "No." in heard(shape.upstream.requests[-1].body)[-1][1]


async def test_a_server_that_is_down_is_told(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, "Hi.")
    down = tools(shape, server_url=f"http://{shape.world.nobody}/mcp")

    async with client.responses.stream(model="lab/m", input="go", tools=down) as events:
        given = await events.get_final_response()

    listed: Any = given.output[0]
    assert (listed.type, listed.tools) == ("mcp_list_tools", [])
    assert listed.error
    assert shape.world.nobody not in listed.error


async def test_tools_that_are_not_allowed_are_not_offered(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, "Hi.")

    given = await client.responses.create(model="lab/m", input="go", tools=tools(shape, allowed_tools=["add"]))

    listed: Any = given.output[0]
    assert [tool.name for tool in listed.tools] == ["add"]
    assert len(shape.upstream.requests[0].body["tools"]) == 1


async def test_secrets_are_not_echoed(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, ADDING, "It is 5.")
    secret = tools(shape, authorization="sk-secret", headers={"X-Key": "also-secret"})

    events = [
        event.to_json() async for event in await client.responses.create(model="lab/m", input="go", tools=secret, stream=True)
    ]

    assert [event for event in events if "secret" in event] == []


# The types of the SDK know only the connectors of one provider, and it says so when it copies another.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_a_registered_server_is_named(shape: Shape) -> None:
    say(shape.upstream, ADDING, "It is 5.")
    registered: Any = {"type": "mcp", "server_label": "sums", "connector_id": "tools", "require_approval": "never"}

    async with sdk(f"{shape.url}/v1", strict=False) as client:
        async with client.responses.stream(model="lab/m", input="2 + 3?", tools=[registered]) as events:
            given = await events.get_final_response()

    assert kinds(given) == ["mcp_list_tools", "mcp_call", "message"]


async def test_no_more_tools_are_called_than_allowed(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, ADDING, ADDING, "Enough.")

    given = await client.responses.create(model="lab/m", input="go", tools=tools(shape), max_tool_calls=1)

    assert shape.tools.seen["tools/call"] == 1
    assert given.max_tool_calls == 1


async def test_a_chain_goes_on_after_calls(shape: Shape, client: openai.AsyncOpenAI) -> None:
    say(shape.upstream, ADDING, "It is 5.", "As I said, 5.")
    first = await client.responses.create(model="lab/m", input="2 + 3?", tools=tools(shape))

    given = await client.responses.create(model="lab/m", input="Sure?", tools=tools(shape), previous_response_id=first.id)

    assert kinds(given) == ["message"]
    assert heard(shape.upstream.requests[-1].body) == [
        ("user", "2 + 3?"), ("call", 'add {"a": 2, "b": 3}'), ("result", "5"), ("assistant", "It is 5."), ("user", "Sure?"),
    ]  # fmt: skip
