"""The MCP servers of a request: which may be given, what the model is offered of them, and how it may choose."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.model.responses.mcp_rig import ADD, DIALECTS, DONE, NEVER, NOBODY, Json, McpWorld, calling, items, mcp_world, plan
from trivet.kernel.call import Call, current_call
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import (
    AddressRefused,
    InvalidRequest,
    McpServerNotFound,
    McpServerUnavailable,
    ServiceError,
    UnsupportedParameter,
)
from trivet.kernel.rpc import Context
from trivet.model.v1.response_tool_pb2 import Tool
from trivet.model_service.responses.making import ResponseMaker
from trivet.model_service.responses.mcp.servers import LabelledServer, read_servers
from trivet.tool.v1.tool_pb2 import Tool as ServerTool

READ = ServerTool(name="read", annotations='{"readOnlyHint":true}')
WRITE = ServerTool(name="write", annotations='{"readOnlyHint":false}')
DROP = ServerTool(name="drop")


@pytest.fixture
async def world() -> AsyncIterator[McpWorld]:
    async with mcp_world() as made:
        yield made


def server(**changes: Any) -> LabelledServer:
    """The one server of a request."""
    return read_servers([codec_for(Tool).decode(NEVER | changes, strict=True)])[0]


def offered(world: McpWorld, turn: int = 0) -> list[str]:
    """The functions that the model was offered."""
    return [tool["function"]["name"] for tool in world.bodies()[turn]["tools"]]


@contextmanager
def asked_with(metadata: Json) -> Iterator[None]:
    """Inside of an RPC with this metadata."""
    context = SimpleNamespace(invocation_metadata=lambda: tuple(metadata.items()))
    token = current_call.set(Call("/m", None, cast("Context", context)))
    try:
        yield
    finally:
        current_call.reset(token)


# ---- what a request may say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"server_url": "https://a.example/mcp"}, "tools[0]"),
        ({"connector_id": None}, "tools[0]"),
        ({"tunnel_id": "t"}, "tools[0].tunnel_id"),
        ({"require_approval": "sometimes"}, "tools[0].require_approval"),
        ({"allowed_callers": ["programmatic"]}, "tools[0].allowed_callers"),
        ({"novel": 1}, "tools[0].novel"),
        ({"allowed_tools": {"tool_names": ["a"], "novel": True}}, "tools[0].allowed_tools.novel"),
        ({"server_label": ""}, "tools[0].server_label"),
    ],
)
def test_a_server_that_is_described_wrongly_is_refused(changes: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_servers([codec_for(Tool).decode(NEVER | changes)])

    assert refused.value.param == param


def test_two_servers_of_one_label_are_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_servers([codec_for(Tool).decode(NEVER), codec_for(Tool).decode(NEVER)])

    assert refused.value.param == "tools[1].server_label"


def test_more_servers_than_anybody_needs_are_refused() -> None:
    many = [codec_for(Tool).decode(NEVER | {"server_label": f"s{number}"}) for number in range(65)]
    assert len(read_servers(many[:64])) == 64

    with pytest.raises(InvalidRequest) as refused:
        read_servers(many)

    assert refused.value.param == "tools"


def test_what_only_permits_is_taken() -> None:
    assert server(defer_loading=True, allowed_callers=["direct", "programmatic"]).label == "math"


def test_an_access_token_is_a_bearer_token() -> None:
    given = server(headers={"X-A": "1", "authorization": "Basic x"}, authorization="secret")

    assert dict(given.ref.headers) == {"X-A": "1", "Authorization": "Bearer secret"}


def test_headers_for_a_registered_server_may_come_with_the_call() -> None:
    sent = {"tools": {"X-A": "call", "X-B": "call"}, "other": {"X-C": "c"}}
    with asked_with({"x-trivet-mcp-headers": json.dumps(sent)}):
        given = server(headers={"x-b": "request"})

    assert dict(given.ref.headers) == {"X-A": "call", "x-b": "request"}


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        (None, ["read", "write", "drop"]),
        (["drop", "read", "gone"], ["read", "drop"]),
        ([], []),
        ({"tool_names": ["write"]}, ["write"]),
        ({"read_only": True}, ["read"]),
        ({"read_only": False}, ["write", "drop"]),
        ({"tool_names": ["read", "drop"], "read_only": True}, ["read"]),
        ({}, ["read", "write", "drop"]),
    ],
)
def test_the_request_says_which_tools_the_model_gets(allowed: Any, names: list[str]) -> None:
    assert [tool.name for tool in server(allowed_tools=allowed).allowed([READ, WRITE, DROP])] == names


@pytest.mark.parametrize(
    ("approval", "asked"),
    [
        (None, ["read", "write", "drop"]),
        ("always", ["read", "write", "drop"]),
        ("never", []),
        ({"never": {"tool_names": ["read"]}}, ["write", "drop"]),
        ({"never": {"read_only": True}}, ["write", "drop"]),
        ({"always": {"tool_names": ["drop"]}}, ["drop"]),
        ({"always": {"tool_names": ["read"]}, "never": {"read_only": True}}, ["read", "write", "drop"]),
        ({"always": {"tool_names": ["drop"]}, "never": {"tool_names": ["write"]}}, ["read", "drop"]),
        ({"never": {}}, ["read", "write", "drop"]),
        ({}, ["read", "write", "drop"]),
    ],
)
def test_the_request_says_which_calls_need_approval(approval: Any, asked: list[str]) -> None:
    given = server(require_approval=approval)

    assert [tool.name for tool in (READ, WRITE, DROP) if given.needs_approval(tool)] == asked


# ---- listing -----------------------------------------------------------------------------------------------------------


async def test_the_tools_are_listed_and_offered_as_functions(world: McpWorld) -> None:
    world.play("lab", DONE)

    run = await world.ask(tools=[NEVER | {"allowed_tools": ["add"], "server_description": "Knows numbers."}])

    (listed,) = run.items("mcp_list_tools")
    assert [tool["name"] for tool in listed["tools"]] == ["add"]
    assert listed["server_label"] == "math"
    (tool,) = world.bodies()[0]["tools"]
    assert tool["function"]["description"] == "Knows numbers.\n\nAdd two integers."
    assert tool["function"]["parameters"] == listed["tools"][0]["input_schema"]
    assert run.kinds[2:6] == ["output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done"]
    assert run.events[2]["item"]["tools"] == []


async def test_a_list_that_is_in_the_conversation_is_not_repeated(world: McpWorld) -> None:
    world.play("lab", DONE, DONE)
    first = await world.ask()

    second = await world.make(plan(history=items(first)))

    assert [item["type"] for item in second.output] == ["message"]
    assert offered(world, 1) == offered(world)


async def test_a_server_that_is_away_is_told_and_done_without(world: McpWorld) -> None:
    world.play("lab", DONE)

    run = await world.ask(tools=[NEVER, NEVER | {"server_label": "away", "connector_id": "gone"}])

    found, away = run.items("mcp_list_tools")
    assert "gone" in away["error"]
    assert away["tools"] == []
    assert "error" not in found
    assert "mcp_list_tools.failed" in run.kinds
    assert run.response["status"] == "completed"
    assert "add" in offered(world)


async def test_a_server_that_is_away_keeps_the_tools_that_the_conversation_knows(world: McpWorld) -> None:
    world.play("lab", DONE, ADD, DONE)
    first = await world.ask(tools=[NEVER | {"allowed_tools": ["add", "say"]}])

    run = await world.make(plan(history=items(first), tools=[NEVER | {"connector_id": "gone", "allowed_tools": ["add"]}]))

    assert offered(world, 1) == ["add"]
    (call,) = run.output[:1]
    assert (call["status"], call["error"]["type"], call["error"]["code"]) == ("failed", "http_error", 502)


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"connector_id": "unheard"}, McpServerNotFound, "tools[0].connector_id"),
        ({"headers": {"Host": "x"}}, InvalidRequest, "tools[0].headers"),
        ({"authorization": "\n"}, InvalidRequest, "tools[0].authorization"),
    ],
)
async def test_a_server_that_cannot_be_meant_is_an_error_of_the_request(
    world: McpWorld, changes: Json, error: type[ServiceError], param: str
) -> None:
    with pytest.raises(error) as refused:
        await world.ask(tools=[NEVER | changes])

    assert refused.value.param == param
    assert world.bodies() == []


async def test_an_address_that_requests_may_not_reach_is_an_error_of_the_request() -> None:
    async with mcp_world(allow_private=False) as world:
        with pytest.raises(AddressRefused) as refused:
            await world.ask(tools=[{"type": "mcp", "server_label": "here", "server_url": world.server.url}])

    assert refused.value.param == "tools[0].server_url"


async def test_a_server_by_its_url_is_reached(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)

    run = await world.ask(
        tools=[{"type": "mcp", "server_label": "u", "server_url": world.server.url, "require_approval": "never"}]
    )

    assert [call["output"] for call in run.items("mcp_call")] == ["3"]


async def test_secrets_are_not_repeated(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)

    run = await world.ask(tools=[NEVER | {"headers": {"X-Key": "hush-1"}, "authorization": "hush-2"}])

    assert "hush" not in json.dumps(run.events)
    assert b"hush" not in b"".join(run.steps.values())
    assert "hush" not in json.dumps(world.bodies())


# ---- names and choices -------------------------------------------------------------------------------------------------


async def test_a_tool_that_is_named_like_a_function_of_the_caller_gets_its_label_in_front(world: McpWorld) -> None:
    world.play("lab", calling(("math_add", {"a": 1, "b": 2})), calling(("add", {})))
    own = {"type": "function", "name": "add", "parameters": {"type": "object"}}

    run = await world.ask(tools=[NEVER | {"allowed_tools": ["add"]}, own])

    assert offered(world) == ["math_add", "add"]
    assert [item["type"] for item in run.output] == ["mcp_list_tools", "mcp_call", "function_call"]
    assert run.output[1]["name"] == "add"
    assert world.bodies()[1]["messages"][1]["tool_calls"][0]["function"]["name"] == "math_add"


CHOICES: list[tuple[Any, Any]] = [
    ({"type": "mcp", "server_label": "math", "name": "add"}, {"type": "function", "name": "add"}),
    (
        {"type": "mcp", "server_label": "math"},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "add"}, {"type": "function", "name": "say"}],
        },
    ),
    (
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "mcp", "server_label": "math", "name": "say"}, {"type": "function", "name": "own"}],
        },
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "say"}, {"type": "function", "name": "own"}],
        },
    ),
    ("required", "required"),
    ({"type": "function", "name": "own"}, {"type": "function", "name": "own"}),
]


@pytest.mark.parametrize(("choice", "told"), CHOICES)
async def test_a_choice_is_told_in_functions(world: McpWorld, choice: Any, told: Any) -> None:
    world.play("oai", DONE)
    own = {"type": "function", "name": "own", "parameters": None, "strict": False}

    await world.ask("oai", tools=[NEVER | {"allowed_tools": ["add", "say"]}, own], tool_choice=choice)

    found = world.bodies()[0]["tool_choice"]
    if isinstance(told, dict) and "tools" in told:
        found = found | {"tools": [{"type": tool["type"], "name": tool["name"]} for tool in found["tools"]]}
    assert found == told


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_choice_that_forces_a_call_is_for_the_first_turn(world: McpWorld, dialect: str) -> None:
    world.play(dialect, ADD, DONE)

    await world.ask(dialect, tool_choice="required")

    assert [body.get("tool_choice") for body in world.bodies()] == ["required", None]


async def test_tools_that_alone_are_allowed_stay_so(world: McpWorld) -> None:
    world.play("lab", ADD, DONE)
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp", "server_label": "math", "name": "add"}]}

    await world.ask(tool_choice=choice)

    assert [offered(world, turn) for turn in (0, 1)] == [["add"], ["add"]]
    assert [body["tool_choice"] for body in world.bodies()] == ["required", "auto"]


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "mcp", "server_label": "other"},
        {"type": "mcp", "server_label": "math", "name": "other"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "other"}]},
    ],
)
async def test_a_choice_of_what_is_not_there_is_refused(world: McpWorld, choice: Json) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await world.ask(tool_choice=choice)

    assert refused.value.param == "tool_choice"


@pytest.mark.parametrize("choice", ["required", {"type": "mcp", "server_label": "math"}])
async def test_a_choice_that_needs_a_server_that_is_away_fails_with_it(world: McpWorld, choice: Any) -> None:
    with pytest.raises(McpServerUnavailable):
        await world.ask(tools=[NEVER | {"connector_id": "gone"}], tool_choice=choice)


async def test_servers_are_refused_where_no_tools_are_run(world: McpWorld) -> None:
    maker = ResponseMaker(world.turns, None)
    with pytest.raises(UnsupportedParameter) as refused:
        await maker.whole(plan(tools=[NEVER | {"connector_id": None, "server_url": NOBODY}]))

    assert refused.value.param == "tools[0]"
