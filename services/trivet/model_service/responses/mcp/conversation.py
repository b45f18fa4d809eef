"""The conversation of a response with its model: the turns that it takes, and what becomes of the calls in them."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, Final

from trivet.kernel.codec.runs import without_runs
from trivet.kernel.errors import ServiceError
from trivet.kernel.loop import ToolCall
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_mcp_pb2 import McpApprovalRequest, McpCall
from trivet.model.v1.response_item_pb2 import FunctionCall, Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.responses.assembly import Assembly, TurnSplice
from trivet.model_service.responses.item_ids import new_item_id
from trivet.model_service.responses.mcp.choice import first_choice, later_choice, no_choice
from trivet.model_service.responses.mcp.items import CallShow, call_id
from trivet.model_service.responses.mcp.steps import RecordedSteps, RecordedTurn, Step
from trivet.model_service.responses.mcp.tools import Toolset, failed, tool_failure
from trivet.model_service.responses.plan import Plan, turn_request
from trivet.model_service.turns import ModelTurns

Batch = list[ResponseEvent] | Step

MOST_TURNS: Final = 50
"""How often the model is asked for one response; the last time it may not call anything."""

_FEWEST_TOKENS: Final = 16
"""Models take no smaller limit than this: with less left, the response ends."""

_OF_THE_WHOLE: Final = frozenset(
    {
        *("id", "created_at", "completed_at", "status", "error", "incomplete_details", "output", "usage", "model", "provider"),
        *("tools", "tool_choice", "max_output_tokens", "max_tool_calls", "metadata", "store", "background"),
        *("previous_response_id", "conversation"),
    }
)
"""What a turn does not know of its response, or only its own part of it."""

_FOR_THE_CALLER: Final = frozenset(
    {"function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call"}
)
"""Items that the caller has to answer before the model can go on."""

_NO_STEPS: Final = RecordedSteps()


class ResponseConversation:
    """Asks the model for turn after turn, and gathers what it says in the assembly; a `Conversation` of the loop.

    What `steps` has is not done again: an interrupted turn is asked for anew, and calls that it records are gone on with. Where it is
    None, nobody keeps steps, and none are made. `ending` is how the response ends when the loop has.
    """

    def __init__(self, turns: ModelTurns, plan: Plan, assembly: Assembly, tools: Toolset, steps: RecordedSteps | None) -> None:
        self.ending = Response(status="completed")
        self.keeps_steps = steps is not None
        steps = steps or _NO_STEPS
        self.finished: dict[str, McpCall] = dict(steps.calls)
        self.to_run: dict[str, McpCall] = {}
        self._turns = turns
        self._plan = plan
        self._assembly = assembly
        self._tools = tools
        self._steps = steps
        self._own = {tool.function.name for tool in plan.request.tools}
        self.has_whole_calls = plan.told.background
        """Whether calls of the caller's are only told when they are complete."""
        self.last_events: list[ResponseEvent] = []
        """What the last turn said with its end: it is told together with the end of the response."""
        self._going_on: RecordedTurn | None = None
        self._told = _begun(plan.told)
        self._choice = first_choice(plan.request.tool_choice, tools) if plan.request.HasField("tool_choice") else None
        self._first: CallsTurn | None = None
        self._show = CallShow(assembly, ())
        self._number = self._ran = 0
        self._no_more = self._is_over = False
        self._left_out: set[int] = set()
        if steps.turns:
            self._go_on(steps.turns)

    # ---- its course ------------------------------------------------------------------------------------------------

    def close_interrupted(self) -> list[ResponseEvent]:
        """The events that end what was interrupted in a turn that was not recorded: it will be asked for anew."""
        closing = self._assembly.close_interrupted()
        self._leave_out()
        return closing

    def allow(self, calls: Sequence[McpCall]) -> None:
        """Make these calls before the model is asked for the first time."""
        if calls and not self._steps.turns:
            items = [Item(mcp_call=self._admitted(call)) for call in calls]
            shown = len(self._assembly.response.output)
            self._first = CallsTurn(self, RecordedTurn(0, items, is_last=False, shown=shown), is_new=True)

    @property
    def begins_with_calls(self) -> bool:
        """Whether there is something to do before the model is asked."""
        return self._first is not None

    def turn(self) -> "CallsTurn | ModelTurn":
        """See `Conversation.turn`."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        request = None if self._is_over else self._request()
        if request is None:
            return CallsTurn(self, RecordedTurn(self._number, (), is_last=True, shown=0), is_new=False)
        self._number += 1
        return ModelTurn(self, request)

    def add_outcome(self, call: ToolCall, outcome: McpCall) -> None:
        """Nothing to do: the model reads what was shown."""

    def show(self, call: McpCall) -> list[ResponseEvent]:
        """The events that can be told now that a call of the turn has finished."""
        return self._show.finish(call)

    # ---- for its turns ---------------------------------------------------------------------------------------------

    def ask(self, request: CreateResponseRequest) -> AsyncGenerator[ResponseEventBatch]:
        """What the model says to `request`, as events of its own."""
        return self._turns.stream(request, _begun(self._told))

    def splice(self) -> TurnSplice:
        """Fits a turn into the response, but for calls that are made here."""
        return TurnSplice(self._assembly, self._is_withheld)

    def end_turn(self, splice: TurnSplice) -> RecordedTurn | None:
        """Take the end of a turn into account; the calls in it that are to be gone on with, if there are any."""
        said = splice.response
        if said is None:
            raise AssertionError("a turn that did not raise has an end")
        self.ending = said
        self._choice = later_choice(self._choice) if self._choice is not None else None
        if said.HasField("usage"):
            self._assembly.add_usage(said.usage)
        _carry_over(said, self._assembly.response)
        if said.status != "completed" or not splice.calls or self._number >= MOST_TURNS:
            # The calls of a turn that was cut short may be cut short themselves.
            return None
        return self._record(splice.calls, said)

    def begin_calls(self, turn: RecordedTurn) -> tuple[list[ToolCall], list[ResponseEvent]]:
        """The calls of a turn that are left to make, and the events that can be told of them now."""
        done = self._done()
        if self._going_on is not turn:
            self._show = CallShow(self._assembly, turn.items, done)
        self.to_run = {}
        calls: list[ToolCall] = []
        for item in turn.items:
            call = item.mcp_call
            if call.status == "failed":
                self.finished[call.id] = call
            if item.HasField("mcp_call") and call.id not in done:
                self.to_run[call.id] = call
                calls.append(ToolCall(call.id, call.name, call.arguments))
        return calls, self._show.advance()

    # ---- what is inside --------------------------------------------------------------------------------------------

    def _is_withheld(self, item: Item) -> bool:
        # What nobody offered is withheld too: the model is told so, and the caller is not bothered.
        call = item.function_call
        gateway = bool(self._tools.listings)
        return gateway and item.HasField("function_call") and not call.namespace and call.name not in self._own

    def _go_on(self, turns: Sequence[RecordedTurn]) -> None:
        """Go on where the steps end."""
        last = turns[-1]
        self._number = last.number
        self._ran = sum(len(turn.to_run) for turn in turns)
        self._no_more = any(item.mcp_call.status == "failed" for item in last.items)
        if last.number and self._choice is not None:
            self._choice = later_choice(self._choice)
        if last.usage is not None:
            self._assembly.response.usage.CopyFrom(last.usage)
        done = self._done()
        if last.is_last or any(call_id(item) not in done for item in last.items):
            # Made now, so that an item of the turn that was begun is not taken for one of an interrupted turn.
            self._show = CallShow(self._assembly, last.items, done)
            self._going_on = last
            self._first = CallsTurn(self, last, is_new=False)

    def _leave_out(self) -> None:
        """Keep what an interrupted turn said from the model."""
        turns, output = self._steps.turns, self._assembly.response.output
        recorded = {call_id(item) for turn in turns for item in turn.items}
        shown = turns[-1].shown if turns else 0
        self._left_out = {index for index in range(shown, len(output)) if call_id(output[index]) not in recorded}
        # A call of the caller's that was shown has to be answered, whatever else the turn would have said.
        self._is_over = any(_is_for_the_caller(output[index]) and _is_whole(output[index]) for index in self._left_out)

    def _done(self) -> set[str]:
        return {call_id(item) for item in self._assembly.response.output}

    def _record(self, calls: Iterable[Item], said: Response) -> RecordedTurn:
        made: list[Item] = []
        asking: list[Item] = []
        withheld: set[str] = set()
        for call in calls:
            item = self._item(call.function_call)
            (asking if item.HasField("mcp_approval_request") else made).append(item)
            withheld.add(call.function_call.call_id)
        for_caller = any(_is_for_the_caller(item) and item.function_call.call_id not in withheld for item in said.output)
        response = self._assembly.response
        usage = response.usage if response.HasField("usage") else None
        return RecordedTurn(self._number, made + asking, bool(asking) or for_caller, len(response.output), usage)

    def _item(self, call: FunctionCall) -> Item:
        label, name = self._tools.origin(call.name)
        arguments = call.arguments.strip() or "{}"
        if self._tools.needs_approval(label, name):
            item_id = new_item_id("mcp_approval_request")
            return Item(mcp_approval_request=McpApprovalRequest(id=item_id, server_label=label, name=name, arguments=arguments))
        item_id = new_item_id("mcp_call")
        made = McpCall(id=item_id, server_label=label, name=name, arguments=arguments, status="in_progress")
        return Item(mcp_call=self._admitted(made))

    def _admitted(self, call: McpCall) -> McpCall:
        """The call, or its failure if there were too many before it."""
        request = self._plan.request
        if request.HasField("max_tool_calls") and self._ran >= request.max_tool_calls:
            self._no_more = True
            return failed(call, tool_failure(f"This call was not made: at most {request.max_tool_calls} are allowed."))
        self._ran += 1
        return call

    def _request(self) -> CreateResponseRequest | None:
        """The request of the next turn; None if the response has no tokens left for it."""
        output = self._assembly.response.output
        more = [item for index, item in enumerate(output) if index not in self._left_out] if self._left_out else output[:]
        request = turn_request(self._plan, more, self._tools.names)
        del request.tools[:]
        request.tools.extend(self._tools.definitions())
        request.ClearField("tool_choice")
        if self._no_more or self._number + 1 >= MOST_TURNS:
            request.tool_choice.CopyFrom(no_choice())
        elif self._choice is not None:
            request.tool_choice.CopyFrom(self._choice)
        if request.HasField("max_output_tokens") and (used := self._assembly.response.usage.output_tokens):
            request.max_output_tokens -= used
            if request.max_output_tokens < _FEWEST_TOKENS:
                self.ending = Response(status="incomplete")
                self.ending.incomplete_details.reason = "max_output_tokens"
                return None
        return request


class ModelTurn:
    """One turn of the model; a `Turn` of the loop."""

    def __init__(self, conversation: ResponseConversation, request: CreateResponseRequest) -> None:
        self._conversation = conversation
        self._request = request
        self.calls: Sequence[ToolCall] = ()
        self.is_last = False

    async def batches(self) -> AsyncGenerator[Batch]:
        """See `Turn.batches`; the calls are recorded before they are made."""
        conversation = self._conversation
        splice = conversation.splice()
        held = WholeCalls() if conversation.has_whole_calls else None
        said = conversation.ask(self._request)
        passed: list[ResponseEvent] = []
        try:
            async for batch in said:
                events = batch.events if held is None else held.pass_on(without_runs(batch, "events").events)
                passed += splice.pass_on(events)
                if passed and splice.response is None:
                    yield passed
                    passed = []
        except ServiceError:
            if passed:
                yield passed
            raise
        finally:
            await said.aclose()
        recorded = conversation.end_turn(splice)
        if recorded is None:
            conversation.last_events = passed
        else:
            if passed:
                yield passed
            if conversation.keeps_steps:
                yield recorded.step()
            self.calls, events = conversation.begin_calls(recorded)
            self.is_last = recorded.is_last
            if events:
                yield events


class CallsTurn:
    """The calls of a turn, without the turn; a `Turn` of the loop."""

    def __init__(self, conversation: ResponseConversation, turn: RecordedTurn, *, is_new: bool) -> None:
        self._conversation = conversation
        self._turn = turn
        self._is_new = is_new
        self.calls: Sequence[ToolCall] = ()
        self.is_last = turn.is_last

    async def batches(self) -> AsyncGenerator[Batch]:
        """See `Turn.batches`."""
        if self._is_new and self._conversation.keeps_steps:
            yield self._turn.step()
        self.calls, events = self._conversation.begin_calls(self._turn)
        if events:
            yield events


class CallBox:
    """Makes the calls of a conversation; a `ToolBox` of the loop. A call that has finished is not made again."""

    def __init__(self, conversation: ResponseConversation, tools: Toolset) -> None:
        self._conversation = conversation
        self._tools = tools

    async def call(self, call: ToolCall) -> McpCall:
        """See `ToolBox.call`."""
        finished = self._conversation.finished.get(call.id)
        return finished or await self._tools.call(self._conversation.to_run[call.id])


class WholeCalls:
    """Holds calls of the caller's back until they are complete: half a call, once shown, could never be taken back."""

    def __init__(self) -> None:
        self._held: dict[int, list[ResponseEvent]] = {}

    def pass_on(self, events: Iterable[ResponseEvent]) -> list[ResponseEvent]:
        """What may be told now."""
        return [passed for event in events for passed in self._passed(event)]

    def _passed(self, event: ResponseEvent) -> Iterator[ResponseEvent]:
        kind = event.WhichOneof("event") or ""
        index = getattr(getattr(event, kind, None), "output_index", -1)
        if kind == "output_item_added" and event.output_item_added.item.WhichOneof("kind") in _FOR_THE_CALLER:
            self._held[index] = [event]
        elif index not in self._held:
            yield event
        else:
            self._held[index].append(event)
            if kind == "output_item_done":
                yield from self._held.pop(index)


def _carry_over(said: Response, response: Response) -> None:
    """Tell of the response what the provider of a turn tells of it."""
    carried: dict[str, Any] = {}
    for field, value in said.ListFields():
        if field.name not in _OF_THE_WHOLE:
            carried[field.name] = value
            response.ClearField(field.name)  # type: ignore[arg-type]
    response.MergeFrom(Response(**carried))


def _is_for_the_caller(item: Item) -> bool:
    return item.WhichOneof("kind") in _FOR_THE_CALLER


def _is_whole(item: Item) -> bool:
    return str(getattr(item, item.WhichOneof("kind") or "").status) != "incomplete"


def _begun(told: Response) -> Response:
    """The response as it begins, for one turn to be told in."""
    begun = Response()
    begun.CopyFrom(told)
    for name in ("output", "usage"):
        begun.ClearField(name)
    return begun
