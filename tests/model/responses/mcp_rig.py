"""Responses with MCP tools: a real MCP server, the real ToolService, and an upstream of either dialect that plays answers."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.checkers.responses_stream import check_responses_stream
from tests.e2e.answers import Answer, Call
from tests.e2e.tool_server import ToolServer, tool_server
from tests.model.responses.recorded import as_json, copies
from tests.upstreams.scripted import ScriptedUpstream
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.testing import serving
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.item_ids import own
from trivet.model_service.responses.making import ResponseMaker
from trivet.model_service.responses.mcp.steps import Step
from trivet.model_service.responses.mcp.tools import McpTools
from trivet.model_service.responses.plan import Plan
from trivet.model_service.routing.router import Router
from trivet.model_service.turns import ModelTurns, Native
from trivet.tool.v1.tool_service_pb2_grpc import ToolServiceStub, add_ToolServiceServicer_to_server
from trivet.tool_service.server import open_tool_service
from trivet.tool_service.settings import McpServerSettings, SecuritySettings, ToolSettings

Json = dict[str, Any]

DIALECTS = ("lab", "oai")
NOBODY = "http://127.0.0.1:9/mcp"

NEVER: Json = {"type": "mcp", "server_label": "math", "connector_id": "tools", "require_approval": "never"}
ALWAYS: Json = NEVER | {"require_approval": "always"}


def calling(*calls: tuple[str, Json], text: tuple[str, ...] = ()) -> Answer:
    """An answer that calls these tools."""
    made = tuple(Call(f"call_{number}", name, json.dumps(arguments)) for number, (name, arguments) in enumerate(calls))
    return Answer(text=text, calls=made)


_turns = count()

DONE = Answer(text=("All ", "done."))
ADD = calling(("add", {"a": 1, "b": 2}))


@dataclass
class Run:
    """What became of a response: its events, and those that were told between the steps; `steps` by name."""

    events: list[Json]
    steps: Mapping[str, bytes]
    response: Json

    @property
    def kinds(self) -> list[str]:
        """The events by what follows `response.` in their types."""
        return [event["type"].removeprefix("response.") for event in self.events]

    @property
    def output(self) -> list[Json]:
        """The items in the end."""
        found: list[Json] = self.response["output"]
        return found

    def items(self, kind: str) -> list[Json]:
        """The items of a type."""
        return [item for item in self.output if item["type"] == kind]


def _singles(events: Sequence[ResponseEvent]) -> list[ResponseEvent]:
    return [single for event in events for single in runs_of(ResponseEvent.DESCRIPTOR).singles(event)]


@dataclass
class McpWorld:
    """Makes responses. The providers `lab` and `oai` play what the `upstream` is given, `math` is what requests call `tools`."""

    upstream: ScriptedUpstream
    server: ToolServer
    turns: ModelTurns
    maker: ResponseMaker
    said: list[list[ResponseEvent] | Step] = field(default_factory=list)

    def play(self, dialect: str, *answers: Answer) -> None:
        """What the upstream answers, turn by turn."""
        for answer in answers:
            self.upstream.play(_with_other_ids(answer, dialect, next(_turns)))

    async def make(self, plan: Plan, *, checked: bool = True) -> Run:
        """The response to its end, as somebody who keeps nothing reads it."""
        self.said = []
        async with aclosing(self.maker.make(plan, Assembly(plan.told), {})) as making:
            async for said in making:
                self.said.append(copies(_singles(said)) if isinstance(said, list) else said)
        return self.run(self.said, checked=checked)

    async def ask(self, dialect: str = "lab", /, **changes: Any) -> Run:
        """The response to a request with the tools of `math`, which need no approval unless something else is said."""
        return await self.make(plan(dialect, **changes))

    def run(self, said: Sequence[list[ResponseEvent] | Step], *, checked: bool = True, taken_up: bool = False) -> Run:
        """What was said, as a stream without defects."""
        events = as_json(event for batch in said if isinstance(batch, list) for event in batch)
        steps = {step.name: step.data for step in said if isinstance(step, Step)}
        if checked:
            assert check_responses_stream(events, taken_up=taken_up) == []
        return Run(events, steps, events[-1]["response"])

    def bodies(self) -> list[Json]:
        """What the upstream was asked."""
        return [request.body for request in self.upstream.requests]


def plan(dialect: str = "lab", /, *, history: Sequence[Item] = (), **changes: Any) -> Plan:
    """What is planned for a request."""
    asked = {"model": f"{dialect}/m", "input": "go", "tools": [NEVER], "store": False, **changes}
    request = codec_for(CreateResponseRequest).decode(asked, strict=True)
    given = [Item.FromString(item.SerializeToString()) for item in request.input.items.items]
    if request.input.WhichOneof("kind") == "text":
        given = [codec_for(Item).decode({"type": "message", "role": "user", "content": request.input.text})]
    told = begin(request, dialect)
    return Plan("test", request, told, list(history), own(given), Native(*2 * [dialect == "oai"]))


def items(run: Run, *more: Json) -> list[Item]:
    """The history that a response leaves, and other items behind it."""
    user = {"type": "message", "role": "user", "content": "go"}
    return [codec_for(Item).decode(item) for item in [user, *run.output, *more]]


def told(response: Response) -> Json:
    """A response as a client reads it."""
    found: Json = json.loads(codec_for(Response).dumps(response))
    return found


@asynccontextmanager
async def mcp_world(*, allow_private: bool = True) -> AsyncIterator[McpWorld]:
    """A world with the registered servers `tools`, and `gone` where nobody listens.

    `allow_private`: whether requests may bring addresses of this machine.
    """
    async with ScriptedUpstream() as upstream, tool_server() as server:
        registered = tuple(McpServerSettings(name=name, url=url) for name, url in (("tools", server.url), ("gone", NOBODY)))
        settings = ToolSettings(mcp_servers=registered, security=SecuritySettings(allow_private_networks=allow_private))
        http = [UpstreamHttp(name, Endpoint(upstream.base_url, ""), limits=UpstreamLimits(5, 20, 60)) for name in DIALECTS]
        dialects = OpenAIChat(http[0]), OpenAIResponses(http[1])
        providers = [Provider(name, dialect) for name, dialect in zip(DIALECTS, dialects, strict=True)]
        registry = Registry(providers)
        turns = ModelTurns(registry, Router(registry), AddressGuard(allow_private=True))
        async with (
            open_tool_service(settings) as service,
            serving(add_ToolServiceServicer_to_server, service.tools) as channel,
        ):
            yield McpWorld(upstream, server, turns, ResponseMaker(turns, McpTools(ToolServiceStub(channel))))
        for dialect in dialects:
            await dialect.aclose()


def _with_other_ids(answer: Answer, dialect: str, turn: int) -> Any:
    """A script whose items have other ids in each turn: a provider never gives one twice."""
    steps = answer.script(dialect, streamed=True)
    names = (b"msg_1", b"rs_1", *(f"fc_{n}".encode() for n in range(len(answer.calls))), b"call_0", b"call_1")
    return [_renamed(step, names, turn) if isinstance(step, bytes) else step for step in steps]


def _renamed(step: bytes, names: Sequence[bytes], turn: int) -> bytes:
    head, found, body = step.partition(b"\r\n")
    if not found or head.startswith(b"HTTP/"):
        return step
    for name in names:
        body = body.replace(name + b'"', name + b"_%d" % turn + b'"')
    length = len(body) - len(b"\r\n")
    return b"%x\r\n%b" % (length, body) if length else step
