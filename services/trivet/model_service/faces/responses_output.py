"""The items of a response while they come: each tells its share of a turn's events in events of the stream.

An item is opened, fed and closed, and is whole afterwards: `item` then is what the stream said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from trivet.model.v1 import response_item_pb2 as pb
from trivet.model_service.domain.identity import new_id
from trivet.model_service.domain.turn import HostedItem, ToolCallDelta, ToolCallStarted, TurnEvent
from trivet.model_service.faces.responses_telling import Telling
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
    """An item that comes. `telling` makes the events of the stream; `waiting` is for events that come too early."""

    def __init__(self, telling: Telling, item: pb.Item, item_id: str) -> None:
        self._telling = telling
        self.item = item
        self.item_id = item_id
        self.output_index = -1
        """Where it is opened in the output; before that, nowhere."""
        self.says_text = False
        """Whether the next piece of text goes on where the last one ended, so that `tell` may tell it."""
        self.waiting: list[TurnEvent] = []
        self.ended = False

    @property
    def can_end(self) -> bool:
        """Whether nothing more has to come, so that the item may be closed when another one waits."""
        return True

    def tell(self, texts: Sequence[str]) -> None:
        """Tell more of a text, in one event."""
        raise NotImplementedError

    def told(self, texts: Sequence[str]) -> None:
        """Take note of more of a text that somebody else has told, by as many events."""
        raise NotImplementedError

    def open(self, output_index: int) -> None:
        """Tell that the item begins, at this place of the output."""
        self.output_index = output_index
        self._tell_whole("output_item_added")

    def feed(self, event: TurnEvent) -> None:
        """Tell what an event says that belongs to this item."""
        raise NotImplementedError

    def close(self, status: str) -> None:
        """Tell that the item ends, with this status."""
        self._end(status)
        self._tell_whole("output_item_done")

    def _end(self, status: str) -> None:
        raise NotImplementedError

    def _add(self, kind: str) -> Any:
        """A new event about this item."""
        said = self._telling.add(kind)
        said.item_id = self.item_id
        said.output_index = self.output_index
        return said

    def _tell_whole(self, kind: str) -> None:
        said = self._telling.add(kind)
        said.output_index = self.output_index
        said.item.CopyFrom(self.item)


class FunctionCallOutput(OutputItem):
    """A call of a function of the caller. `names` tells the namespace and own name of functions that have one."""

    def __init__(self, telling: Telling, call: ToolCallStarted, names: Mapping[str, tuple[str, str]]) -> None:
        item_id = new_id("fc")
        space, name = names.get(call.name, ("", call.name))
        made = pb.FunctionCall(id=item_id, call_id=call.id, name=name, namespace=space or None, status="in_progress")
        super().__init__(telling, pb.Item(function_call=made), item_id)
        self._arguments: list[str] = []
        # Asked for each event of the calls that wait, so it is found out once for each of its own.
        self._parses: bool | None = None

    @property
    def can_end(self) -> bool:
        if self._parses is None:
            self._parses = is_object(self._arguments)
        return self._parses

    def feed(self, event: TurnEvent) -> None:
        if isinstance(event, ToolCallDelta) and event.arguments:
            self._tell_more(event.arguments)

    def _end(self, status: str) -> None:
        if not self._arguments and status == "completed":
            # Upstreams write nothing for a function without parameters; clients parse what they get.
            self._tell_more("{}")
        call = self.item.function_call
        call.arguments, call.status = "".join(self._arguments), status
        done = self._add("function_call_arguments_done")
        done.name, done.arguments = call.name, call.arguments

    def _tell_more(self, arguments: str) -> None:
        self._arguments.append(arguments)
        self._parses = None
        self._add("function_call_arguments_delta").delta = arguments


class CustomCallOutput(OutputItem):
    """A call of a tool of the caller that takes free text, which ends where the turn does."""

    def __init__(self, telling: Telling, call: ToolCallStarted, names: Mapping[str, tuple[str, str]]) -> None:
        item_id = new_id("ctc")
        space, name = names.get(call.name, ("", call.name))
        made = pb.CustomToolCall(id=item_id, call_id=call.id, name=name, namespace=space or None, status="in_progress")
        super().__init__(telling, pb.Item(custom_tool_call=made), item_id)
        self._input: list[str] = []

    @property
    def can_end(self) -> bool:
        return False

    def feed(self, event: TurnEvent) -> None:
        if isinstance(event, ToolCallDelta) and event.arguments:
            self._input.append(event.arguments)
            self._add("custom_tool_call_input_delta").delta = event.arguments

    def _end(self, status: str) -> None:
        call = self.item.custom_tool_call
        call.input, call.status = "".join(self._input), status
        self._add("custom_tool_call_input_done").input = call.input


class HostedOutput(OutputItem):
    """An item that came in one piece."""

    def __init__(self, telling: Telling, event: HostedItem) -> None:
        super().__init__(telling, read_upstream_json(pb.Item, event.raw), "")
        self.ended = True

    def feed(self, event: TurnEvent) -> None:
        pass

    def _end(self, status: str) -> None:
        pass
