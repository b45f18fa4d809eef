"""One request says the same over REST and over gRPC, in one process and in four: events, answers and errors."""

import json
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.answers import ANSWERS
from tests.e2e.bodies import USER
from tests.e2e.frames import Json, data_of
from tests.e2e.rpcs import AGENT, CHAT, RESPONSES, Method
from tests.e2e.runs import DONE, calling, play, run
from tests.e2e.shapes import SERVICES, Shape
from tests.upstreams.scripted import answer
from trivet.kernel.codec.message_codec import codec_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

VOLATILE = {"id", "created", "created_at", "completed_at", "item_id"}


def steady(value: Any) -> Any:
    """Without ids and times, which differ from call to call."""
    if isinstance(value, dict):
        return {key: "..." if key in VOLATILE else steady(inner) for key, inner in value.items()}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dialect", ["lab", "oai"])
@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
async def test_streams_of_a_model(one_process: Shape, four_processes: Shape, said: Any, dialect: str) -> None:
    responses = {"model": f"{dialect}/m", "input": "go", "stream": True}
    chat = {"model": f"{dialect}/m", "messages": USER, "stream": True, "stream_options": {"include_usage": True}}
    for method, path, body, faults in (
        (RESPONSES, "/v1/responses", responses, check_responses_sse),
        (CHAT, "/v1/chat/completions", chat, check_chat_sse),
    ):
        streams: list[bytes] = []
        for shape in (one_process, four_processes):
            for over in (shape.raw(path, body), method.frames(shape, body)):
                shape.upstream.play(said.script(dialect, streamed=True))
                streams.append(await over)
        first, *others = [steady(data_of(raw)) for raw in streams]
        assert [fault for raw in streams for fault in faults(raw)] == []
        assert len(first) > 3
        assert others == [first] * 3


async def test_runs_of_an_agent(one_process: Shape, four_processes: Shape) -> None:
    streams: list[bytes] = []
    body = run(stream_options={"include_usage": True})
    for shape in (one_process, four_processes):
        for over in (shape.raw("/v1/agent/responses", body), AGENT.frames(shape, body)):
            play(shape.upstream, calling(("add", {"a": 2, "b": 3})), DONE)
            streams.append(await over)

    first, *others = [steady(data_of(raw)) for raw in streams]
    assert [fault for raw in streams for fault in check_chat_sse(raw, agent=True)] == []
    assert others == [first] * 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (Method("model", "CreateResponse"), "/v1/responses", {"model": "lab/m", "input": "go"}),
        (Method("model", "CreateChatCompletion"), "/v1/chat/completions", {"model": "lab/m", "messages": USER}),
    ],
    ids=["responses", "chat"],
)
async def test_whole_answers(one_process: Shape, four_processes: Shape, method: Method, path: str, body: Json) -> None:
    found: list[Json] = []
    for shape in (one_process, four_processes):
        shape.upstream.play(DONE.script("lab", streamed=False))
        found.append((await shape.post(path, body))[1])
        shape.upstream.play(DONE.script("lab", streamed=False))
        found.append(codec_for(GetMessageClass(method.descriptor.output_type)).encode(await method.call(shape, body)))

    first, *others = [steady(json.loads(json.dumps(one, default=str))) for one in found]
    assert others == [first] * 3


async def test_a_whole_run(one_process: Shape, four_processes: Shape) -> None:
    method, found = Method("agent", "CreateAgentResponse"), []
    for shape in (one_process, four_processes):
        play(shape.upstream, calling(("add", {"a": 2, "b": 3})), DONE)
        found.append((await shape.post("/v1/agent/responses", run(stream=False)))[1])
        play(shape.upstream, calling(("add", {"a": 2, "b": 3})), DONE)
        answered = await method.call(shape, run())
        found.append(json.loads(codec_for(type(answered)).dumps(answered)))

    first, *others = map(steady, found)
    assert others == [first] * 3


@dataclass(frozen=True)
class Refusal:
    """A request that fails, and how it does."""

    method: Method
    path: str
    body: Json
    code: grpc.StatusCode
    reason: str
    status: int
    kind: str
    param: str | None = None
    told: str | None = None
    upstream: bytes = b""


Code = grpc.StatusCode
REJECTION = {"error": {"message": "Too long.", "type": "invalid_request_error", "param": "messages", "code": "too_long"}}
REFUSALS = {
    "unknown model": Refusal(
        CHAT, "/v1/chat/completions", {"model": "no/m", "messages": USER, "stream": True},
        Code.NOT_FOUND, "MODEL_NOT_FOUND", 404, "not_found_error", "model", "model_not_found",
    ),
    "a value out of range": Refusal(
        RESPONSES, "/v1/responses", {"model": "lab/m", "input": "go", "temperature": 3, "stream": True},
        Code.INVALID_ARGUMENT, "INVALID_REQUEST", 400, "invalid_request_error", "temperature",
    ),
    "a limit out of range": Refusal(
        AGENT, "/v1/agent/responses", run(iteration_limit=21),
        Code.INVALID_ARGUMENT, "INVALID_REQUEST", 400, "invalid_request_error", "iteration_limit",
    ),
    "unknown server": Refusal(
        AGENT, "/v1/agent/responses", run(mcp_servers=[{"integration_fqn": "nobody"}]),
        Code.NOT_FOUND, "MCP_SERVER_NOT_FOUND", 404, "not_found_error",
        "mcp_servers[0].integration_fqn", "mcp_server_not_found",
    ),
    "unknown tool": Refusal(
        AGENT, "/v1/agent/responses", run(mcp_servers=[{"integration_fqn": "tools", "tools": [{"name": "fly"}]}]),
        Code.NOT_FOUND, "TOOL_NOT_FOUND", 400, "invalid_request_error", "mcp_servers[0].tools[0].name", "tool_not_found",
    ),
    "server that is down": Refusal(
        AGENT, "/v1/agent/responses", run(mcp_servers=[{"integration_fqn": "down"}]),
        Code.UNAVAILABLE, "MCP_SERVER_UNAVAILABLE", 502, "server_error", "mcp_servers[0]", "mcp_server_unavailable",
    ),
    "the upstream's own refusal": Refusal(
        CHAT, "/v1/chat/completions", {"model": "lab/m", "messages": USER, "stream": True},
        Code.INVALID_ARGUMENT, "UPSTREAM_REJECTED", 400, "invalid_request_error", "messages", "too_long",
        upstream=answer(REJECTION, status=400),
    ),
    "the upstream's limit in a run": Refusal(
        AGENT, "/v1/agent/responses", run(),
        Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", 429, "rate_limit_error", None, "rate_limit_exceeded",
        upstream=answer({"error": {"message": "Slowly."}}, status=429, headers={"Retry-After": "7"}),
    ),
    "an upstream that is gone": Refusal(
        RESPONSES, "/v1/responses", {"model": "gone/m", "input": "go", "stream": True},
        Code.UNAVAILABLE, "UPSTREAM_FAILED", 502, "server_error", None, "upstream_failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_errors(shape: Shape, refusal: Refusal) -> None:
    if refusal.upstream:
        shape.upstream.play(refusal.upstream)
        shape.upstream.play(refusal.upstream)

    status, body = await shape.post(refusal.path, refusal.body)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in refusal.method.call(shape, refusal.body):
            pass

    error = body["error"]
    assert (status, error["type"], error["param"], error["code"]) == (
        refusal.status, refusal.kind, refusal.param, refusal.told,
    )  # fmt: skip
    told = rpc_status.from_call(caught.value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in told.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert (caught.value.code(), info.reason, info.domain) == (refusal.code, refusal.reason, "trivet")
    assert [violation.field for violation in bad.field_violations] == ([refusal.param] if refusal.param else [])
    assert told.message == caught.value.details() == error["message"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("metadata", "reason"), [((), "MISSING_KEY"), ((("authorization", "Bearer sk-other"),), "INVALID_KEY")], ids=["none", "other"]
)
async def test_no_call_is_without_a_key(shape: Shape, service: str, metadata: Any, reason: str) -> None:
    method = {"model": CHAT, "agent": AGENT, "tool": Method("tool", "ListServers")}[service]
    body: Json = {} if service == "tool" else {"model": "lab/m", "messages": USER}

    called = method.call(shape, body, metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (called.read() if method.descriptor.server_streaming else called)

    info = error_details_pb2.ErrorInfo()
    rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (Code.UNAUTHENTICATED, reason)
    assert shape.upstream.requests == []
