"""Items whose stream broke off, with its upstream or its process: how far they came, and how they are ended."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1 import response_event_tool_pb2 as tool_body
from trivet.model.v1.response_content_pb2 import ContentPart
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item

_TEXTS: Final = {
    "output_text_delta": ("output_text", "text"),
    "refusal_delta": ("refusal", "refusal"),
    "reasoning_text_delta": ("reasoning_text", "text"),
    "reasoning_summary_text_delta": ("summary_text", "text"),
}
"""Events that add to a part -> the part's kind and the field with its text."""

_TEXTS_DONE: Final = {
    "output_text_done": ("output_text", "text"),
    "refusal_done": ("refusal", "refusal"),
    "reasoning_text_done": ("reasoning_text", "text"),
    "reasoning_summary_text_done": ("summary_text", "text"),
}
"""Events that have the whole text of a part -> the same."""

_PART_DONE: Final = frozenset({"content_part_done", "reasoning_summary_part_done"})

_PIECES: Final = {
    "function_call_arguments_delta": "arguments",
    "mcp_call_arguments_delta": "arguments",
    "custom_tool_call_input_delta": "input",
    "code_interpreter_call_code_delta": "code",
}
"""Events that add to the item itself -> the field."""

_PIECES_DONE: Final = {
    "function_call_arguments_done": "arguments",
    "mcp_call_arguments_done": "arguments",
    "custom_tool_call_input_done": "input",
    "code_interpreter_call_code_done": "code",
}
"""Events that have the whole of it -> the same."""

_BROKEN: Final = {"image_generation_call": "failed"}
"""The status of an item that was not finished, where the API knows no `incomplete` for its kind."""


class InterruptedItem:
    """One item at its place in the output; `take` its events, then `item` is what they amount to.

    `seen` are the names of its events in `ResponseEvent`, but for the first.
    """

    def __init__(self, output_index: int, item: Item) -> None:
        self.output_index = output_index
        self.seen: set[str] = set()
        self.item = Item()
        self.item.CopyFrom(item)
        self._kind = item.WhichOneof("kind") or ""
        self._body: Any = getattr(self.item, self._kind) if self._kind not in {"", "unknown"} else None
        self._place = {"item_id": self.item_id, "output_index": output_index}
        self._part: ContentPart | None = None
        self._part_kind = ""
        self._said_all = False

    @property
    def item_id(self) -> str:
        """The item's id; "" for one of a kind that is not known here."""
        return "" if self._body is None else str(self._body.id)

    def take(self, kind: str, said: Any) -> None:
        """One event of the item, by its name in `ResponseEvent`; one that its kind does not have says nothing."""
        self.seen.add(kind)
        if kind == "content_part_added" or kind == "reasoning_summary_part_added":
            self._begin_part(said.part, summary=kind != "content_part_added")
        elif kind in _PART_DONE and self._part is not None:
            self._part.CopyFrom(said.part)
            self._part = None
        elif kind in _TEXTS and self._part is not None:
            self._add_text(kind, said)
        elif kind == "output_text_annotation_added" and self._part is not None:
            self._part.output_text.annotations.append(said.annotation)
        elif kind in _TEXTS_DONE and self._part is not None:
            part_kind, field = _TEXTS_DONE[kind]
            setattr(getattr(self._part, part_kind), field, getattr(said, field))
            self._said_all = True
        elif (field := _PIECES.get(kind, "")) and hasattr(self._body, field):
            setattr(self._body, field, getattr(self._body, field) + said.delta)
        elif (field := _PIECES_DONE.get(kind, "")) and hasattr(self._body, field):
            setattr(self._body, field, getattr(said, field))
            self._said_all = True

    def close(self) -> Iterator[ResponseEvent]:
        """The events that end it as incomplete, not numbered yet."""
        if self._part is not None:
            if not self._said_all:
                yield self._text_done()
            yield self._part_done()
        elif self._kind in _CLOSERS and not self._said_all:
            yield _CLOSERS[self._kind](self._body, self._place)
        self._end()
        yield ResponseEvent(output_item_done=body.OutputItemEvent(output_index=self.output_index, item=self.item))

    def _end(self) -> None:
        if self._kind == "unknown":
            self.item.unknown = _ended(self.item.unknown)
        elif self._body is not None and "status" in self._body.DESCRIPTOR.fields_by_name:
            self._body.status = _BROKEN.get(self._kind, "incomplete")

    def _begin_part(self, part: ContentPart, *, summary: bool) -> None:
        parts = self._parts(summary=summary)
        if parts is None:
            return
        parts.add().CopyFrom(part)
        self._part, self._part_kind, self._said_all = parts[-1], part.WhichOneof("kind") or "", False

    def _parts(self, *, summary: bool) -> Any:
        if self._kind == "message":
            return self._body.content.parts.parts
        return getattr(self._body, "summary" if summary else "content", None)

    def _add_text(self, kind: str, said: Any) -> None:
        part_kind, field = _TEXTS[kind]
        part = getattr(self._part, part_kind)
        setattr(part, field, getattr(part, field) + said.delta)
        if kind == "output_text_delta":
            part.logprobs.extend(said.logprobs)

    def _part_place(self) -> dict[str, Any]:
        summary = self._part_kind == "summary_text"
        index = len(self._parts(summary=summary)) - 1
        return {**self._place, "summary_index" if summary else "content_index": index}

    def _text_done(self) -> ResponseEvent:
        place, part = self._part_place(), self._part or ContentPart()
        match self._part_kind:
            case "refusal":
                return ResponseEvent(refusal_done=body.RefusalDoneEvent(refusal=part.refusal.refusal, **place))
            case "reasoning_text":
                return ResponseEvent(reasoning_text_done=body.ContentTextDoneEvent(text=part.reasoning_text.text, **place))
            case "summary_text":
                done = body.SummaryTextDoneEvent(text=part.summary_text.text, **place)
                return ResponseEvent(reasoning_summary_text_done=done)
            case _:
                text = part.output_text
                return ResponseEvent(output_text_done=body.OutputTextDoneEvent(text=text.text, logprobs=text.logprobs, **place))

    def _part_done(self) -> ResponseEvent:
        place = self._part_place()
        if self._part_kind == "summary_text":
            return ResponseEvent(reasoning_summary_part_done=body.SummaryPartEvent(part=self._part, **place))
        return ResponseEvent(content_part_done=body.ContentPartEvent(part=self._part, **place))


def _ended(unknown: str) -> str:
    """An item of an unknown kind, as JSON, that is not in progress any more."""
    item = orjson.loads(unknown)
    if item.get("status") == "in_progress":
        item["status"] = "incomplete"
    return orjson.dumps(item).decode()


def _function_done(call: Any, place: dict[str, Any]) -> ResponseEvent:
    done = tool_body.ArgumentsDoneEvent(name=call.name, arguments=call.arguments, **place)
    return ResponseEvent(function_call_arguments_done=done)


def _mcp_done(call: Any, place: dict[str, Any]) -> ResponseEvent:
    return ResponseEvent(mcp_call_arguments_done=tool_body.ArgumentsDoneEvent(arguments=call.arguments, **place))


def _custom_done(call: Any, place: dict[str, Any]) -> ResponseEvent:
    return ResponseEvent(custom_tool_call_input_done=tool_body.InputDoneEvent(input=call.input, **place))


_CLOSERS: Final[dict[str, Callable[[Any, dict[str, Any]], ResponseEvent]]] = {
    "function_call": _function_done,
    "mcp_call": _mcp_done,
    "custom_tool_call": _custom_done,
}
