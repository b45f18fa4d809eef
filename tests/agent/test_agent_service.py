"""Agent runs over scripted neighbours, in process and over loopback."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from tests.agent.neighbours import (
    ScriptedModels,
    ScriptedTools,
    agent,
    chunks,
    finish,
    result,
    role,
    text,
    tool_call,
    usage,
)
from tests.checkers.chat_stream import check_chat_stream
from trivet.agent.v1 import agent_service_pb2
from trivet.agent_service.settings import AgentSettings
from trivet.content.v1 import chat_completion_pb2
from trivet.kernel.catalogue import error_body, from_rpc_error
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import McpServerUnavailable, UpstreamFailed
from trivet.kernel.testing import TRANSPORTS, Transport

BOUND_SECONDS = 30


def request(**fields: Any) -> agent_service_pb2.CreateAgentResponseRequest:
    """A request for a run of the model `lab/m`, with the server `files` unless others are given."""
    body = {"model": "lab/m", "messages": [{"role": "user", "content": "go"}], "mcp_servers": [{"integration_fqn": "files"}]}
    return codec_for(agent_service_pb2.CreateAgentResponseRequest).decode({**body, **fields}, strict=True)


async def streamed(
    models: ScriptedModels, tools: ScriptedTools, transport: Transport = "in-process", **fields: Any
) -> list[dict[str, Any]]:
    """The chunks of a run, checked for what every run's chunks keep; `lies` is what the model itself got wrong."""
    lies = fields.pop("lies", [])
    async with agent(models, tools, transport) as stub:
        seen = chunks([batch async for batch in stub.StreamAgentResponse(request(**fields))])
    assert check_chat_stream(seen, agent=True) == lies
    return seen


async def refused(models: ScriptedModels, neighbour: ScriptedTools, metadata: Any = None, **fields: Any) -> tuple[int, Any]:
    """The HTTP status and the error of a run that fails before its first chunk."""
    async with agent(models, neighbour) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.StreamAgentResponse(request(**fields), metadata=metadata).read()
    status, body = error_body(from_rpc_error(raised.value))
    return status, body["error"]


def deltas(seen: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], str | None]]:
    return [(choice["delta"], choice["finish_reason"]) for chunk in seen for choice in chunk["choices"]]


TWO_TURNS = [
    [role(), tool_call(0, "read", '{"path":"a"}'), finish("tool_calls"), usage(10, 2, cached_tokens=4)],
    [role(), text("It says"), text(" hi."), finish("stop"), usage(20, 3, cached_tokens=8)],
]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_run_streams_calls_results_and_the_answer_in_order(transport: Transport) -> None:
    models, tools = ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]})

    seen = await streamed(models, tools, transport)

    call = seen[1]["choices"][0]["delta"]["tool_calls"][0]
    assert call["tool_info"] == {"mcp_server": "files", "tool": "read"}
    assert deltas(seen)[2:] == [
        ({}, "tool_calls"),
        ({"role": "tool", "content": "read ran", "tool_call_id": "call_0"}, None),
        ({"role": "assistant", "content": ""}, None),
        ({"content": "It says"}, None),
        ({"content": " hi."}, None),
        ({}, "stop"),
    ]
    assert seen[-1]["run"] == {"iterations": 2, "stopped_by": "model"}
    assert all(chunk["id"].startswith("chatcmpl-") and chunk["model"] == "lab/m" for chunk in seen)


async def test_what_comes_together_goes_together() -> None:
    models = ScriptedModels(TWO_TURNS, together=True)
    async with agent(models, ScriptedTools({"files": ["read"]})) as stub:
        batches = [batch async for batch in stub.StreamAgentResponse(request())]

    assert [len(batch.chunks) for batch in batches] == [2, 2, 4]
    assert deltas(chunks(batches))[-3:] == [({"content": "It says"}, None), ({"content": " hi."}, None), ({}, "stop")]
    assert batches[-1].chunks[-1].run.stopped_by == "model"


async def test_what_all_chunks_share_is_said_once_though_each_turn_says_it() -> None:
    async with agent(ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]})) as stub:
        first, *later = [batch async for batch in stub.StreamAgentResponse(request())]

    assert (first.model, first.service_tier) == ("lab/m", "default")
    assert {field.name for batch in later for field, _ in batch.ListFields()} == {"chunks"}


async def test_an_answer_whose_end_fails_has_come_all_the_same() -> None:
    models = ScriptedModels([[*TWO_TURNS[1], UpstreamFailed("The provider broke off.")]], together=True)
    seen: list[Any] = []
    async with agent(models, ScriptedTools({"files": ["read"]})) as stub:
        call = stub.StreamAgentResponse(request())
        seen.append(await call.read())
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()

    assert deltas(chunks(seen))[1:] == [({"content": "It says"}, None), ({"content": " hi."}, None)]


async def test_the_second_model_call_has_the_call_and_its_result() -> None:
    models, tools = ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]})

    await streamed(models, tools)

    user, assistant, told = models.requests[1].messages
    assert user.user.content.text == "go"
    assert (
        assistant.assistant.tool_calls[0].function.id,
        assistant.assistant.tool_calls[0].function.function.arguments,
    ) == ("call_0", '{"path":"a"}')
    assert (told.tool.tool_call_id, told.tool.content.text) == ("call_0", "read ran")
    assert [tool.function.function.name for tool in models.requests[0].tools] == ["read"]


async def test_usage_of_all_turns_comes_last_when_it_is_asked_for() -> None:
    seen = await streamed(ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]}), stream_options={"include_usage": True})

    assert seen[-1]["choices"] == []
    counts = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
    assert {**counts, "prompt_tokens_details": {"cached_tokens": 12}} == seen[-1]["usage"]
    assert seen[-1]["run"] == {"iterations": 2, "stopped_by": "model"}
    assert all("usage" not in chunk and "run" not in chunk for chunk in seen[:-1])


async def test_at_the_limit_the_calls_still_run_and_the_end_says_so() -> None:
    models = ScriptedModels([TWO_TURNS[0], TWO_TURNS[0]])

    seen = await streamed(models, ScriptedTools({"files": ["read"]}), iteration_limit=2)

    assert deltas(seen)[-2] == ({"role": "tool", "content": "read ran", "tool_call_id": "call_0"}, None)
    assert deltas(seen)[-1] == ({}, "length")
    assert seen[-1]["run"] == {"iterations": 2, "stopped_by": "iteration_limit"}


async def test_the_limit_is_five_when_none_is_given() -> None:
    models = ScriptedModels([TWO_TURNS[0]] * 9)

    await streamed(models, ScriptedTools({"files": ["read"]}))

    assert len(models.requests) == 5


async def test_a_turn_that_was_cut_off_runs_no_calls() -> None:
    tools = ScriptedTools({"files": ["read"]})

    seen = await streamed(ScriptedModels([[role(), tool_call(0, "read", '{"pa'), finish("length")]]), tools)

    assert deltas(seen)[-1] == ({}, "length")
    assert seen[-1]["run"] == {"iterations": 1, "stopped_by": "model"}
    assert tools.called == []


@pytest.mark.parametrize("reason", ["stop", "function_call"])
async def test_calls_run_whatever_finish_reason_a_sloppy_upstream_gives(reason: str) -> None:
    turn = [role(), tool_call(0, "read", ""), finish(reason)]

    seen = await streamed(ScriptedModels([turn, TWO_TURNS[1]]), ScriptedTools({"files": ["read"]}))

    assert [reason for _, reason in deltas(seen) if reason] == ["tool_calls", "stop"]


@pytest.mark.parametrize(
    ("call", "said", "lies"),
    [
        (tool_call(0, "nothing", "{}"), "There is no tool `nothing`. Available tools: read.", []),
        (
            tool_call(0, "read", "{never"),
            "The arguments are not a JSON object: {never",
            ["chunk 2: the arguments of call 0 add up to no JSON"],
        ),
        (tool_call(0, "read", "[1]"), "The arguments are not a JSON object: [1]", []),
    ],
)
async def test_a_call_that_cannot_be_made_tells_the_model_why(call: dict[str, Any], said: str, lies: list[str]) -> None:
    tools = ScriptedTools({"files": ["read"]})

    seen = await streamed(ScriptedModels([[role(), call, finish("tool_calls")], TWO_TURNS[1]]), tools, lies=lies)

    told = next(delta for delta, _ in deltas(seen) if delta.get("role") == "tool")
    assert {"error": said} == json.loads(told["content"])
    assert tools.called == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (result("no such file", is_error=True), "no such file"),
        (McpServerUnavailable("files", "The MCP server went away."), "The MCP server went away."),
    ],
)
async def test_a_tool_that_fails_does_not_end_the_run(answer: Any, said: str) -> None:
    tools = ScriptedTools({"files": ["read"]}, answer=lambda _: answer)

    seen = await streamed(ScriptedModels(TWO_TURNS), tools)

    told = next(delta for delta, _ in deltas(seen) if delta.get("role") == "tool")
    assert said in json.loads(told["content"])["error"]
    assert deltas(seen)[-1] == ({}, "stop")


async def test_tools_of_one_name_on_two_servers_both_can_be_called() -> None:
    tools = ScriptedTools({"a": ["add"], "b": ["add"]})
    turn = [role(), tool_call(0, "add", "{}"), tool_call(1, "b_add", "{}"), finish("tool_calls")]

    seen = await streamed(
        ScriptedModels([turn, TWO_TURNS[1]]), tools, mcp_servers=[{"integration_fqn": "a"}, {"integration_fqn": "b"}]
    )

    assert {("a", "add"), ("b", "add")} == {(request.server.name, request.tool) for request in tools.called}
    infos = [call["tool_info"] for delta, _ in deltas(seen) for call in delta.get("tool_calls", ())]
    assert infos == [{"mcp_server": "a", "tool": "add"}, {"mcp_server": "b", "tool": "add"}]


@pytest.mark.parametrize(
    ("server", "offered"),
    [
        ({}, ["x", "y", "z"]),
        ({"enable_all_tools": True, "tools": [{"name": "y"}]}, ["x", "y", "z"]),
        ({"enable_all_tools": False, "tools": [{"name": "y"}]}, ["y"]),
        ({"tools": [{"name": "z"}, {"name": "x"}, {"name": "z"}]}, ["z", "x"]),
        ({"enable_all_tools": False}, []),
    ],
)
async def test_the_request_says_which_tools_the_model_gets(server: dict[str, Any], offered: list[str]) -> None:
    models = ScriptedModels([TWO_TURNS[1]])

    await streamed(models, ScriptedTools({"s": ["x", "y", "z"]}), mcp_servers=[{"integration_fqn": "s", **server}])

    assert offered == [tool.function.function.name for tool in models.requests[0].tools]


async def test_headers_reach_the_server_they_are_for_and_the_request_goes_first() -> None:
    tools = ScriptedTools({"a": [], "http://b/mcp": []})
    servers = [{"integration_fqn": "a", "headers": {"X-B": "body"}}, {"url": "http://b/mcp", "headers": {"X-C": "c"}}]
    sent = (("x-trivet-mcp-headers", json.dumps({"a": {"X-A": "a", "X-B": "header"}, "http://b/mcp": {"X-D": "d"}})),)

    async with agent(ScriptedModels([TWO_TURNS[1]]), tools) as stub:
        async for _ in stub.StreamAgentResponse(request(mcp_servers=servers), metadata=sent):
            pass

    assert [dict(server.headers) for server in tools.listed] == [{"X-A": "a", "X-B": "body"}, {"X-C": "c"}]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"X": 1}}'])
async def test_headers_that_are_no_headers_are_refused(text: str) -> None:
    sent = (("x-trivet-mcp-headers", text),)

    status, error = await refused(ScriptedModels([]), ScriptedTools({"files": []}), sent)

    assert (status, error["param"]) == (400, "x-trivet-mcp-headers")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"mcp_servers": [{"integration_fqn": "files"}, {"integration_fqn": "no"}]}, 404, "mcp_servers[1].integration_fqn"),
        ({"mcp_servers": [{"integration_fqn": "files", "tools": [{"name": "w"}]}]}, 400, "mcp_servers[0].tools[0].name"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"n": 2}, 400, "n"),
        ({"seed": "x"}, 400, "seed"),
    ],
)
async def test_a_request_that_cannot_be_run_is_refused_naming_the_field(fields: dict[str, Any], status: int, param: str) -> None:
    answer = await refused(ScriptedModels([]), ScriptedTools({"files": ["read"]}), **fields)

    assert (status, param) == (answer[0], answer[1]["param"])


async def test_parameters_that_the_run_does_not_know_reach_the_model() -> None:
    models = ScriptedModels(TWO_TURNS)

    await streamed(
        models,
        ScriptedTools({"files": ["read"]}),
        seed=7,
        top_k=3,
        max_tokens=9,
        chat_template_kwargs={"a": 1},
        tool_choice="required",
    )

    for sent in models.requests:
        assert (sent.seed, sent.top_k, sent.max_tokens, sent.extra) == (7, 3, 9, '{"chat_template_kwargs":{"a":1}}')
    assert [sent.HasField("tool_choice") for sent in models.requests] == [True, False]


async def test_no_more_calls_of_a_run_are_under_way_than_the_settings_allow() -> None:
    tools = ScriptedTools({"files": ["read"]}, gate=asyncio.Event())
    calls = [tool_call(index, "read", "{}") for index in range(40)]
    run = asyncio.create_task(streamed(ScriptedModels([[role(), *calls, finish("tool_calls")], TWO_TURNS[1]]), tools))
    async with asyncio.timeout(BOUND_SECONDS):
        await tools.running.wait()
        # Nothing but turns of the loop is needed for the rest to start.
        for _ in range(500):
            await asyncio.sleep(0)
    started = len(tools.called)
    assert tools.gate is not None
    tools.gate.set()
    await run

    assert (started, len(tools.called)) == (AgentSettings().max_parallel_tool_calls, 40)


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
async def test_a_model_that_announces_calls_and_makes_none_has_answered(reason: str) -> None:
    seen = await streamed(ScriptedModels([[role(), text("Hi."), finish(reason)]]), ScriptedTools({"files": ["read"]}))

    assert deltas(seen)[-1] == ({}, "stop")


async def test_parameters_that_ask_for_nothing_are_no_reason_to_refuse() -> None:
    asked = request(n=1, tools=[], functions=[], function_call=None)
    async with agent(ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]})) as stub:
        seen = chunks([batch async for batch in stub.StreamAgentResponse(asked)])

    assert seen[-1]["run"]["stopped_by"] == "model"


async def test_a_model_that_fails_first_fails_the_call() -> None:
    models = ScriptedModels([[UpstreamFailed("The provider failed.")]])

    status, error = await refused(models, ScriptedTools({"files": []}))

    assert (status, error["message"]) == (502, "The provider failed.")


async def test_a_model_that_fails_later_ends_the_stream_with_its_error() -> None:
    models = ScriptedModels([TWO_TURNS[0], [role(), text("a"), UpstreamFailed("The provider failed.")]])

    async with agent(models, ScriptedTools({"files": ["read"]})) as stub:
        seen = []
        call = stub.StreamAgentResponse(request())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await _read_into(seen, call)

    assert chunks(seen)[-1]["choices"][0]["delta"]["content"] == "a"
    assert from_rpc_error(raised.value).message == "The provider failed."


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_chunks_come_before_the_model_has_finished(transport: Transport) -> None:
    gate = asyncio.Event()
    models = ScriptedModels([[role(), text("early"), gate, text("late"), finish("stop")]])

    async with agent(models, ScriptedTools({"files": []}), transport) as stub, asyncio.timeout(BOUND_SECONDS):
        call = stub.StreamAgentResponse(request())
        first = [await call.read(), await call.read()]
        assert chunks(first)[-1]["choices"][0]["delta"]["content"] == "early"
        gate.set()
        rest = [batch async for batch in _reading(call)]

    assert check_chat_stream(chunks(first + rest), agent=True) == []


async def _read_into(seen: list[Any], call: Any) -> None:
    async for batch in _reading(call):
        seen.append(batch)


async def _reading(call: Any) -> Any:
    while isinstance(batch := await call.read(), chat_completion_pb2.ChatCompletionChunkBatch):
        yield batch


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_leaving_during_a_model_call_cancels_it(transport: Transport) -> None:
    models = ScriptedModels([[role(), asyncio.Event()]])

    async with agent(models, ScriptedTools({"files": []}), transport) as stub, asyncio.timeout(BOUND_SECONDS):
        call = stub.StreamAgentResponse(request())
        await call.read()
        call.cancel()
        await models.cancelled.wait()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_leaving_during_a_tool_call_cancels_it(transport: Transport) -> None:
    tools = ScriptedTools({"files": ["read"]}, gate=asyncio.Event())

    async with agent(ScriptedModels(TWO_TURNS), tools, transport) as stub, asyncio.timeout(BOUND_SECONDS):
        call = asyncio.ensure_future(stub.CreateAgentResponse(request()))
        await tools.running.wait()
        call.cancel()
        await tools.cancelled.wait()


async def test_a_run_to_its_end_has_the_messages_beside_the_answer() -> None:
    async with agent(ScriptedModels(TWO_TURNS), ScriptedTools({"files": ["read"]})) as stub:
        message = await stub.CreateAgentResponse(request())

    completion = codec_for(chat_completion_pb2.ChatCompletion).encode(message)
    assert completion["object"] == "chat.completion"
    (choice,) = completion["choices"]
    assert (
        choice["message"]["role"],
        choice["message"]["content"],
        choice["finish_reason"],
    ) == ("assistant", "It says hi.", "stop")
    assert [added["role"] for added in completion["messages"]] == ["assistant", "tool"]
    assert completion["messages"][0]["tool_calls"][0]["tool_info"] == {"mcp_server": "files", "tool": "read"}
    assert completion["usage"]["total_tokens"] == 35
    assert completion["run"] == {"iterations": 2, "stopped_by": "model"}


async def test_a_run_to_the_limit_has_an_empty_answer_beside_its_messages() -> None:
    async with agent(ScriptedModels([TWO_TURNS[0]]), ScriptedTools({"files": ["read"]})) as stub:
        completion = await stub.CreateAgentResponse(request(iteration_limit=1))

    assert (completion.choices[0].finish_reason, completion.choices[0].message.HasField("content")) == ("length", False)
    assert [message.WhichOneof("message") for message in completion.messages] == ["assistant", "tool"]
    assert completion.run.stopped_by == "iteration_limit"
