"""Makes responses: asks the model for its turns, and makes the calls of MCP tools between them."""

from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from trivet.kernel.codec.runs import More, without_runs
from trivet.kernel.errors import ServiceError, UnsupportedParameter
from trivet.kernel.loop import CallFinished, Streamed, run
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_mcp_pb2 import McpCall, McpListTools
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.mcp.approvals import approved_calls
from trivet.model_service.responses.mcp.conversation import MOST_TURNS, CallBox, ResponseConversation
from trivet.model_service.responses.mcp.items import ListingShow, listed
from trivet.model_service.responses.mcp.servers import LabelledServer, read_servers
from trivet.model_service.responses.mcp.steps import RecordedSteps, Step, call_step
from trivet.model_service.responses.mcp.tools import McpTools, Toolset
from trivet.model_service.responses.plan import Plan, sole_request
from trivet.model_service.turns import ModelTurns

_MOST_ROUNDS = MOST_TURNS + 2
"""The turns of the model, calls to make before the first, and the end where the tokens are used up."""


class ResponseMaker:
    """Makes what was planned. Without `tools`, requests with MCP servers are refused."""

    def __init__(self, turns: ModelTurns, tools: McpTools | None) -> None:
        self._turns = turns
        self._plain = turns.plain
        self._tools = tools

    def check(self, plan: Plan) -> None:
        """Find fault with the MCP servers and answers of a request, as far as that can be done without asking anybody.

        Raises InvalidRequest, UnsupportedParameter.
        """
        self._judged(plan)

    def make(self, plan: Plan, assembly: Assembly, steps: Mapping[str, bytes]) -> AsyncGenerator[list[ResponseEvent] | Step]:
        """All events of the response, from the first that `assembly` has not told yet to its end. Pieces of text may come as runs
        where it is not made in the background.

        At a `Step` whoever keeps the response makes it durable, with all that was told before it, and then goes on; who keeps
        none goes on at once. `steps` are those of a response that is taken up, by name. An error before the first event of
        the response is raised, a later one is told by the last events. Closing the iterator ends calls of model and tools.
        """
        if not assembly.next_number and not self._is_ours(plan):
            return self._sole(plan)
        return self._kept(plan, assembly, RecordedSteps.read(steps))

    def stream(self, plan: Plan, more: More | None = None) -> AsyncGenerator[ResponseEventBatch]:
        """The response as it comes, which may be in runs, and by `more`. See `make` for what is raised."""
        if plan.is_plain:
            return self._plain.stream(plan.request, plan.told, more)
        if self._is_ours(plan):
            return self._stream(plan)
        return self._turns.stream(sole_request(plan), plan.told, more)

    def whole(self, plan: Plan) -> Coroutine[Any, Any, Response]:
        """The response in one piece. Raises what `make` raises; what fails later is a response that says so."""
        if plan.is_plain:
            return self._plain.create(plan.request, plan.told)
        return self._whole(plan) if self._is_ours(plan) else self._turns.create(sole_request(plan), plan.told)

    async def _sole(self, plan: Plan) -> AsyncGenerator[list[ResponseEvent] | Step]:
        async with aclosing(self.stream(plan)) as batches:
            async for batch in batches:
                yield list(without_runs(batch, "events").events)

    async def _kept(
        self, plan: Plan, assembly: Assembly, steps: RecordedSteps | None
    ) -> AsyncGenerator[list[ResponseEvent] | Step]:
        told = assembly.next_number > 0
        made = self._made(plan, assembly, steps)
        try:
            async for said in made:
                told = True
                yield said
        except ServiceError as error:
            if not told:
                raise
            yield _failed(assembly, error)
        finally:
            await made.aclose()

    async def _whole(self, plan: Plan) -> Response:
        assembly = Assembly(plan.told)
        async with aclosing(self._kept(plan, assembly, None)) as making:
            async for _ in making:
                pass
        return assembly.response

    async def _stream(self, plan: Plan) -> AsyncGenerator[ResponseEventBatch]:
        # As `_kept`, which is not asked: each step of a stream would pass through one generator more.
        assembly = Assembly(plan.told)
        told = False
        made = self._made(plan, assembly, None)
        try:
            async for said in made:
                if isinstance(said, list):
                    told = True
                    yield ResponseEventBatch(events=said)
        except ServiceError as error:
            if not told:
                raise
            yield ResponseEventBatch(events=_failed(assembly, error))
        finally:
            await made.aclose()

    async def _made(
        self, plan: Plan, assembly: Assembly, steps: RecordedSteps | None
    ) -> AsyncGenerator[list[ResponseEvent] | Step]:
        """See `make`. Without `steps`, nobody keeps any, and none come."""
        taken_up = assembly.next_number > 0
        servers, allowed = self._judged(plan)
        known = listed([*plan.history, *plan.input, *assembly.response.output])
        tools = await self._open(plan, servers, known)
        listing = ListingShow(assembly, tools.listings, known)
        conversation = ResponseConversation(self._turns, plan, assembly, tools, steps)
        closing = conversation.close_interrupted() if taken_up else ()
        begun = [*assembly.begin(), *closing, *listing.events()]
        conversation.allow(allowed)
        if begun and (taken_up or conversation.begins_with_calls):
            yield begun
            begun = []
        events = run(conversation, CallBox(conversation, tools), _MOST_ROUNDS)
        try:
            async for event in events:
                match event:
                    case Streamed(said):
                        if begun:
                            # Not before the model has begun to answer: until then an error is the answer to the request.
                            if isinstance(said, Step):
                                yield begun
                            else:
                                said = [*begun, *said]
                            begun = []
                        yield said
                    case CallFinished(_, call):
                        if steps is not None and call.id not in conversation.finished:
                            yield call_step(call)
                        if shown := conversation.show(call):
                            yield shown
        finally:
            await events.aclose()
        yield [*begun, *conversation.last_events, *assembly.end(conversation.ending)]

    def _is_ours(self, plan: Plan) -> bool:
        """Whether there is more to do than to ask a model once."""
        if plan.runs_mcp:
            return False
        for tool in plan.request.tools:
            if tool.HasField("mcp"):
                return True
        return any(item.HasField("mcp_approval_response") for item in plan.input)

    def _judged(self, plan: Plan) -> tuple[list[LabelledServer], list[McpCall]]:
        """The servers of a request, and the calls that it allows."""
        if not self._is_ours(plan):
            return [], []
        servers = read_servers(plan.request.tools)
        if servers and self._tools is None:
            raise UnsupportedParameter("There are no MCP servers here.", servers[0].param)
        return servers, approved_calls(plan.history, plan.input, {server.label for server in servers})

    async def _open(self, plan: Plan, servers: Sequence[LabelledServer], known: Mapping[str, McpListTools]) -> Toolset:
        if self._tools is None or not servers:
            return Toolset.none(plan.request.tools)
        return await self._tools.open(plan.request.tools, servers, known)


def _failed(assembly: Assembly, error: ServiceError) -> list[ResponseEvent]:
    """The events that end a response which has begun with `error`."""
    return [*assembly.close_interrupted(), *assembly.fail(error)]
