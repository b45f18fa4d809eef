"""The items of a response while they come: each turns its share of a turn's events into events of the stream.

An item is opened, fed and closed, and is whole afterwards: `item` then is what the stream said.
"""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1 import response_event_tool_pb2 as tool_body
from trivet.model.v1 import response_item_pb2 as pb
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import HostedItem, ToolCallDelta, ToolCallStarted, TurnEvent
from trivet.model_service.faces.upstream_json import read_upstream_json


def is_object(pieces: Sequence[str]) -> bool:
    """Whether these pieces together are a JSON object: whatever followed would break it."""
    if not pieces or not pieces[-1].rstrip().endswith("}"):
        return False
    try:
        return isinstance(orjson.loads("".join(pieces)), dict)
    except orjson.JSONDecodeError:
        return False


class OutputItem:
    """An item that comes. `sequence` numbers the events of the stream; `waiting` is for events that come too early."""

    def __init__(self, sequence: Iterator[int], item: pb.Item, item_id: str) -> None:
        self._sequence = sequence
        self.item = item
        self.item_id = item_id
        self.output_index = -1
        self.waiting: list[TurnEvent] = []
        self.ended = False

    @property
    def is_open(self) -> bool:
        return self.output_index >= 0

    @property
    def can_end(self) -> bool:
        """Whether nothing more has to come, so that the item may be closed when another one waits."""
        return True

    @property
    def says_text(self) -> bool:
        """Whether the next piece of text goes on where the last one ended, so that `tell` may tell it."""
        return False

    def tell(self, run: body.OutputTextDeltaEvent, texts: Sequence[str]) -> None:
        """Make `run` the event for more of a text."""
        raise NotImplementedError

    def open(self, output_index: int) -> Iterator[ResponseEvent]:
        """The event that begins the item, at this place of the output."""
        self.output_index = output_index
        yield ResponseEvent(output_item_added=self._whole())

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        """The events for one that belongs to this item."""
        raise NotImplementedError

    def close(self, status: str) -> Iterator[ResponseEvent]:
        """The events that end the item with this status."""
        yield from self._end(status)
        yield ResponseEvent(output_item_done=self._whole())

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        raise NotImplementedError

    def _item_delta(self, delta: str) -> tool_body.ItemDeltaEvent:
        return tool_body.ItemDeltaEvent(
            sequence_number=next(self._sequence), item_id=self.item_id, output_index=self.output_index, delta=delta
        )

    def _whole(self) -> body.OutputItemEvent:
        return body.OutputItemEvent(sequence_number=next(self._sequence), output_index=self.output_index, item=self.item)


class FunctionCallOutput(OutputItem):
    """A call of a function of the caller. `names` tells the namespace and own name of functions that have one."""

    def __init__(self, sequence: Iterator[int], call: ToolCallStarted, names: Mapping[str, tuple[str, str]]) -> None:
        item_id = new_id("fc")
        space, name = names.get(call.name, ("", call.name))
        made = pb.FunctionCall(id=item_id, call_id=call.id, name=name, namespace=space or None, status="in_progress")
        super().__init__(sequence, pb.Item(function_call=made), item_id)
        self._arguments: list[str] = []
        # Asked for each event of the calls that wait, so it is found out once for each of its own.
        self._parses: bool | None = None

    @property
    def can_end(self) -> bool:
        if self._parses is None:
            self._parses = is_object(self._arguments)
        return self._parses

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        if isinstance(event, ToolCallDelta) and event.arguments:
            yield self._delta(event.arguments)

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        if not self._arguments and status == "completed":
            # Upstreams write nothing for a function without parameters; clients parse what they get.
            yield self._delta("{}")
        call = self.item.function_call
        call.arguments, call.status = "".join(self._arguments), status
        done = tool_body.ArgumentsDoneEvent(
            sequence_number=next(self._sequence),
            item_id=self.item_id,
            output_index=self.output_index,
            name=call.name,
            arguments=call.arguments,
        )
        yield ResponseEvent(function_call_arguments_done=done)

    def _delta(self, arguments: str) -> ResponseEvent:
        self._arguments.append(arguments)
        self._parses = None
        return ResponseEvent(function_call_arguments_delta=self._item_delta(arguments))


class CustomCallOutput(OutputItem):
    """A call of a tool of the caller that takes free text, which ends where the turn does."""

    def __init__(self, sequence: Iterator[int], call: ToolCallStarted, names: Mapping[str, tuple[str, str]]) -> None:
        item_id = new_id("ctc")
        space, name = names.get(call.name, ("", call.name))
        made = pb.CustomToolCall(id=item_id, call_id=call.id, name=name, namespace=space or None, status="in_progress")
        super().__init__(sequence, pb.Item(custom_tool_call=made), item_id)
        self._input: list[str] = []

    @property
    def can_end(self) -> bool:
        return False

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        if isinstance(event, ToolCallDelta) and event.arguments:
            self._input.append(event.arguments)
            yield ResponseEvent(custom_tool_call_input_delta=self._item_delta(event.arguments))

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        call = self.item.custom_tool_call
        call.input, call.status = "".join(self._input), status
        done = tool_body.InputDoneEvent(
            sequence_number=next(self._sequence), item_id=self.item_id, output_index=self.output_index, input=call.input
        )
        yield ResponseEvent(custom_tool_call_input_done=done)


class HostedOutput(OutputItem):
    """An item that came in one piece."""

    def __init__(self, sequence: Iterator[int], event: HostedItem) -> None:
        super().__init__(sequence, read_upstream_json(pb.Item, event.raw), "")
        self.ended = True

    def feed(self, event: TurnEvent) -> Iterator[ResponseEvent]:
        yield from ()

    def _end(self, status: str) -> Iterator[ResponseEvent]:
        yield from ()
