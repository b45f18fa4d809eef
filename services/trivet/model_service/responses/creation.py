"""Creates responses: asked for, made, and kept as their requests say."""

from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, Protocol

from trivet.kernel.codec.runs import More
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response, ResponseUsage
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.faces.rendered import RenderedAnswer
from trivet.model_service.faces.responses_echo import Begun
from trivet.model_service.faces.responses_request import given_by
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.background.follower import Follower
from trivet.model_service.responses.background.run import Making
from trivet.model_service.responses.background.runs import Runs
from trivet.model_service.responses.include import NOTHING_MORE, Shown
from trivet.model_service.responses.keeping.recorder import Recorder
from trivet.model_service.responses.plan import Plan, Planner, is_fleeting, turn_request
from trivet.model_service.responses.turns.compaction import opened
from trivet.model_service.turns import ModelTurns

Batches = AsyncGenerator[ResponseEventBatch]


class Maker(Making, Protocol):
    """Makes what was planned, streamed or whole."""

    def check(self, plan: Plan) -> None:
        """Find fault with what the request says about MCP."""
        ...

    def whole(self, plan: Plan) -> Coroutine[Any, Any, Response]:
        """The whole response. Raises what the provider raises."""
        ...

    def stream(self, plan: Plan, more: More | None = None) -> Batches:
        """The response as it comes, of which text that goes on may go to `more`. Raises what the provider raises before it says anything."""
        ...


class Creation:
    """Creates responses in the foreground, and hands those for the background to `runs`.

    Both ways raise what `Planner.plan` raises, RateLimited and Overloaded, and what the model's provider does before it says
    anything: then nothing is kept.
    """

    def __init__(
        self, turns: ModelTurns, planner: Planner, maker: Maker, *, recorder: Recorder, runs: Runs, follower: Follower
    ) -> None:
        self._turns = turns
        self._planner = planner
        self._maker = maker
        self._recorder = recorder
        self._runs = runs
        self._follower = follower

    def create(
        self, request: CreateResponseRequest, owner: str, *, accepts_rendered: bool = False
    ) -> Coroutine[Any, Any, Response | RenderedAnswer]:
        """The whole response, kept; or one that is queued. Where the caller `accepts_rendered`, it may be JSON."""
        given = given_by(request)
        if not is_fleeting(given):
            return self._planned(request, owner, given)
        return self._turns.plain.answer(request, Begun(given), NOTHING_MORE.response, accepts_rendered=accepts_rendered)

    async def _planned(self, request: CreateResponseRequest, owner: str, given: Mapping[str, Any]) -> Response:
        shown = Shown.asked(request.include)
        plan = await self._planner.plan(request, owner, given)
        if plan.told.background:
            return await self._queued(plan)
        response = _warmed_up(plan) if plan.is_warm_up else await self._maker.whole(plan)
        if plan.is_remembered:
            await self._recorder.keep(plan, response)
        return shown.response(response)

    async def stream(self, request: CreateResponseRequest, owner: str, more: More | None = None) -> Batches:
        """The events of the response, but for what `more` takes; those of one in the background are followed as they are kept."""
        shown = Shown.asked(request.include)
        plan = await self._planner.plan(request, owner)
        batches = await self._batches(plan, more)
        try:
            async for batch in batches:
                yield shown.batch(batch)
        finally:
            await batches.aclose()

    async def _queued(self, plan: Plan) -> Response:
        # Later nobody would be there to be told what is wrong with the request.
        self._maker.check(plan)
        await self._turns.check(_asked_of_model(plan))
        return await self._runs.start(plan)

    async def _batches(self, plan: Plan, more: More | None) -> Batches:
        if plan.told.background:
            queued = await self._queued(plan)
            return self._follower.follow(queued.id, plan.owner)
        recording = self._recorder.recording(plan) if plan.kept else None
        if recording is not None:
            more = recording.taking(more)
        made = _warm_up_stream(plan) if plan.is_warm_up else self._maker.stream(plan, more)
        if recording is not None:
            return self._recorder.record(recording, made)
        return self._recorder.converse(plan, made) if plan.is_remembered else made


async def _warm_up_stream(plan: Plan) -> Batches:
    yield _warm_up(plan)


def _warmed_up(plan: Plan) -> Response:
    _warm_up(plan)
    return plan.told


def _warm_up(plan: Plan) -> ResponseEventBatch:
    """Completes a response that no model is asked for: its events."""
    assembly = Assembly(plan.told)
    begun = assembly.begin()
    assembly.add_usage(ResponseUsage())
    return ResponseEventBatch(events=[*begun, *assembly.end(Response(status="completed"))])


def _asked_of_model(plan: Plan) -> CreateResponseRequest:
    """The first request to the model, without what is done for it here."""
    asked = opened(turn_request(plan))
    for name in ("truncation", "context_management"):
        asked.ClearField(name)
    if not plan.runs_mcp and any(tool.HasField("mcp") for tool in asked.tools):
        others = [tool for tool in asked.tools if not tool.HasField("mcp")]
        del asked.tools[:]
        asked.tools.extend(others)
        # It may name what only the servers can tell.
        asked.ClearField("tool_choice")
    return asked
