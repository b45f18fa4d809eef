"""Checks the events of a Responses stream against what the API promises of every stream."""

from collections.abc import Callable
from typing import Any

import orjson

Event = dict[str, Any]

_TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_REQUIRED = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "provider",
]
_NEVER_NULL = ["top_p", "temperature", "presence_penalty", "frequency_penalty", "top_logprobs", "service_tier"]
# What is streamed of an item outside of parts: delta event -> done event and the key that has the whole, there and in the item.
_WHOLES = {
    "response.function_call_arguments.delta": ("response.function_call_arguments.done", "arguments"),
    "response.mcp_call_arguments.delta": ("response.mcp_call_arguments.done", "arguments"),
    "response.custom_tool_call_input.delta": ("response.custom_tool_call_input.done", "input"),
    "response.code_interpreter_call_code.delta": ("response.code_interpreter_call_code.done", "code"),
}
_NEEDS_WHOLE = {"function_call": "arguments", "custom_tool_call": "input"}
# What is streamed of a part: kind -> the event's stem and the key that has the whole.
_PARTS = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
    "summary_text": ("response.reasoning_summary_text", "text"),
}


def check_responses_sse(raw: bytes, *, taken_up: bool = False) -> list[str]:
    """What is wrong with a stream as it came over HTTP; nothing when it is well. `taken_up` as below."""
    events: list[Event] = []
    violations: list[str] = []
    frames = [frame for frame in raw.decode().split("\n\n") if frame.strip()]
    frames = [frame for frame in frames if not all(line.startswith(":") for line in frame.splitlines())]
    if not frames or frames[-1] != "data: [DONE]":
        violations.append("the stream does not end with [DONE]")
    for frame in frames:
        fields = dict(line.partition(": ")[::2] for line in frame.splitlines() if not line.startswith(":"))
        if fields.get("data") == "[DONE]":
            if frame is not frames[-1]:
                violations.append("[DONE] is not last")
            continue
        event = orjson.loads(fields.get("data", "{}"))
        if fields.get("event") != event.get("type"):
            violations.append(f"the event line says {fields.get('event')}, the data {event.get('type')}")
        events.append(event)
    if not raw.endswith(b"\n\n"):
        violations.append("the last frame is not closed")
    return violations + check_responses_stream(events, taken_up=taken_up)


def check_responses_stream(events: list[Event], *, taken_up: bool = False) -> list[str]:
    """What is wrong with the events of a stream; nothing when it is well.

    `taken_up`: the response was gone on with after its process died. Only then may an item be incomplete, and others follow.
    """
    checker = _Checker(taken_up=taken_up)
    for number, event in enumerate(events):
        checker.check(number, event)
    checker.end()
    return checker.violations


class _Checker:
    def __init__(self, *, taken_up: bool) -> None:
        self.violations: list[str] = []
        self._taken_up = taken_up
        self._cancelled = False
        self._where = ""
        self._seen: list[str] = []
        self._response_id: str | None = None
        self._terminal = ""
        self._done: list[Event] = []
        self._ids: set[str] = set()
        self._item: Event | None = None
        self._parts: dict[str, list[Event]] = {}
        self._part: Event | None = None
        self._text: list[str] = []
        self._logprobs: list[Any] = []
        self._text_done = False
        self._annotations: list[Event] = []
        self._wholes: dict[str, list[str]] = {}
        self._whole_done: dict[str, str] = {}

    def say(self, problem: str) -> None:
        self.violations.append(f"{self._where}: {problem}")

    def expect(self, truth: object, problem: str) -> None:
        if not truth:
            self.say(problem)

    # ---- the stream ----------------------------------------------------------------------------------------------------

    def check(self, number: int, event: Event) -> None:
        kind = str(event.get("type"))
        self._where = f"event {number} {kind}"
        self.expect(event.get("sequence_number") == number, f"sequence_number is {event.get('sequence_number')}")
        self.expect(not self._terminal, "comes after the terminal event")
        self.expect(number != 0 or kind == "response.created", "is first")
        place = 2 if "response.queued" in self._seen else 1
        beginning = {"response.in_progress", "response.queued"} | ({"response.incomplete"} if place == 2 else set())
        self.expect(number != place or kind in beginning, "stands where in_progress belongs")
        if self._seen and self._seen[-1] == "error":
            self.expect(kind == "response.failed", "follows an error")
        self._seen.append(kind)
        self._handler(kind)(event)

    def _handler(self, kind: str) -> Callable[[Event], None]:
        if kind in {"response.created", "response.queued", "response.in_progress", *_TERMINAL}:
            return self._snapshot
        if kind == "error":
            return self._error
        named: dict[str, Callable[[Event], None]] = {
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.content_part.added": self._part_added,
            "response.content_part.done": self._part_done,
            "response.reasoning_summary_part.added": self._part_added,
            "response.reasoning_summary_part.done": self._part_done,
            "response.output_text.annotation.added": self._annotation,
        }
        if kind in named:
            return named[kind]
        if any(kind == f"{stem}.{end}" for stem, _ in _PARTS.values() for end in ("delta", "done")):
            return self._part_text
        if kind in _WHOLES or any(kind == done for done, _ in _WHOLES.values()):
            return self._whole
        return self._in_item

    def end(self) -> None:
        self._where = "the end"
        self.expect(self._terminal, "there is no terminal event")
        for kind in ("response.created", "response.in_progress"):
            # Who cancels a response that is queued never sees it in progress.
            never_began = kind == "response.in_progress" and self._cancelled and self._seen[1:2] == ["response.queued"]
            allowed = {0, 1} if never_began else {1}
            self.expect(self._seen.count(kind) in allowed, f"{kind} came {self._seen.count(kind)} times")
        self.expect(self._item is None, "an item is still open")

    # ---- the response --------------------------------------------------------------------------------------------------

    def _snapshot(self, event: Event) -> None:
        kind, response = event["type"], event.get("response") or {}
        self._response_id = self._response_id or response.get("id")
        self.expect(response.get("id") == self._response_id, "the response's id changed")
        for key in _REQUIRED:
            self.expect(key in response, f"the response lacks {key}")
        for key in _NEVER_NULL:
            self.expect(response.get(key, 0) is not None, f"the response's {key} is null")
        if kind not in _TERMINAL:
            self.expect(response.get("status") in {"in_progress", "queued"}, f"the status is {response.get('status')}")
            self.expect(not self._done and self._item is None and response.get("output") == [], "there is output already")
            return
        self._terminal = kind
        # The API has no event of a cancelled response: its stream ends as an incomplete one.
        self._cancelled = kind == "response.incomplete" and response.get("status") == "cancelled"
        self.expect(self._cancelled or response.get("status") == _TERMINAL[kind], f"the status is {response.get('status')}")
        if kind == "response.failed":
            # A provider may fail in the middle of an item, and tell of the items before or not.
            self._item = None
            told = [item.get("id") for item in response.get("output") or ()]
            self.expect(self._ids.issuperset(told), "the output has an item that was not streamed")
        else:
            self.expect(self._item is None, "an item is still open")
            self.expect(response.get("output") == self._done, "the output is not what was streamed")
        self.expect((response.get("error") is not None) == (kind == "response.failed"), "error does not fit")
        tells_why = kind == "response.incomplete" and not self._cancelled
        self.expect((response.get("incomplete_details") is not None) == tells_why, "incomplete_details does not fit")
        self._statuses(kind)

    def _statuses(self, kind: str) -> None:
        statuses = [item.get("status") for item in self._done]
        if kind != "response.failed" and not self._taken_up:
            self.expect("incomplete" not in statuses[:-1], "an incomplete item is not last")
        if kind == "response.completed" and not self._taken_up:
            self.expect("incomplete" not in statuses, "an item is incomplete")
        self.expect("in_progress" not in statuses, "an item is in progress")

    def _error(self, event: Event) -> None:
        nested = event.get("error") or {}
        self.expect(event.get("message") and nested.get("message") == event.get("message"), "the two forms of the message differ")
        self.expect("code" in event and "param" in event and "code" in nested and "param" in nested, "code or param is missing")
        self.expect(nested.get("type"), "the error has no type")

    # ---- items ---------------------------------------------------------------------------------------------------------

    def _item_added(self, event: Event) -> None:
        item = event["item"]
        self.expect(self._item is None, "the item before is still open")
        self.expect(event["output_index"] == len(self._done), f"output_index is {event['output_index']}")
        self.expect(item.get("id") and item["id"] not in self._ids, "the item's id is missing or taken")
        self._ids.add(item.get("id"))
        for key in ("content", "arguments", "input", "summary"):
            self.expect(
                not item.get(key) or item.get("type") not in {"message", "function_call", "custom_tool_call", "reasoning"},
                f"{key} is there before its events",
            )
        self._item = item
        self._parts = {"content_index": [], "summary_index": []}
        self._wholes, self._whole_done = {}, {}

    def _item_done(self, event: Event) -> None:
        item, begun = event["item"], self._item or {}
        self.expect(self._item is not None, "no item is open")
        self.expect(item.get("id") == begun.get("id") and item.get("type") == begun.get("type"), "it is another item")
        self.expect(event["output_index"] == len(self._done), f"output_index is {event['output_index']}")
        self.expect(self._part is None, "a part is still open")
        if item.get("type") in {"message", "reasoning"}:
            self.expect(
                (item.get("content") or []) == self._parts.get("content_index", []), "the content is not what was streamed"
            )
            self.expect(
                (item.get("summary") or []) == self._parts.get("summary_index", []), "the summary is not what was streamed"
            )
        needed = _NEEDS_WHOLE.get(item.get("type", ""))
        self.expect(needed is None or needed in self._whole_done, f"there was no done event for the {needed}")
        for key, whole in self._whole_done.items():
            self.expect(item.get(key) == whole, f"the {key} is not what was streamed")
        self._done.append(item)
        self._item = None

    def _in_item(self, event: Event) -> None:
        """An event of the open item; whatever else it says is its own business."""
        if "output_index" not in event:
            return
        self.expect(self._item is not None, "no item is open")
        self.expect(event["output_index"] == len(self._done), f"output_index is {event['output_index']}")
        self.expect("item_id" not in event or event["item_id"] == (self._item or {}).get("id"), "item_id is another item's")

    def _whole(self, event: Event) -> None:
        self._in_item(event)
        kind = event["type"]
        if kind in _WHOLES:
            key = _WHOLES[kind][1]
            self.expect(key not in self._whole_done, "comes after its done event")
            self._wholes.setdefault(key, []).append(event["delta"])
            return
        key = next(key for done, key in _WHOLES.values() if done == kind)
        self.expect(key not in self._whole_done, "comes twice")
        self.expect(event.get(key) == "".join(self._wholes.get(key, [])), f"the {key} is not what the deltas add up to")
        if kind == "response.function_call_arguments.done":
            self.expect(event.get("name") == (self._item or {}).get("name"), "the name is not the item's")
        self._whole_done[key] = event.get(key, "")

    # ---- parts ---------------------------------------------------------------------------------------------------------

    def _index(self, event: Event) -> str:
        self._in_item(event)
        return "summary_index" if "summary" in event["type"] else "content_index"

    def _part_added(self, event: Event) -> None:
        index = self._index(event)
        part = event["part"]
        self.expect(self._part is None, "the part before is still open")
        self.expect(event.get(index) == len(self._parts.get(index, [])), f"{index} is {event.get(index)}")
        self.expect(part.get("type") in _PARTS, f"the part is a {part.get('type')}")
        self.expect(not part.get(_PARTS.get(part.get("type"), ("", "text"))[1]), "the part is not empty")
        self._part, self._text_done = part, False
        self._text, self._logprobs, self._annotations = [], [], []

    def _part_text(self, event: Event) -> None:
        index = self._index(event)
        self.expect(self._part is not None, "no part is open")
        self.expect(event.get(index) == len(self._parts.get(index, [])), f"{index} is {event.get(index)}")
        stem, key = _PARTS.get((self._part or {}).get("type", ""), ("", "text"))
        self.expect(event["type"].rpartition(".")[0] == stem, "it is an event of another kind of part")
        self.expect(not self._text_done, "comes after the part's done event")
        if stem == "response.output_text":
            self.expect(isinstance(event.get("logprobs"), list), "logprobs is missing")
        if event["type"].endswith(".delta"):
            self._text.append(event["delta"])
            self._logprobs += event.get("logprobs") or []
            return
        self._text_done = True
        self.expect(event.get(key) == "".join(self._text), "the text is not what the deltas add up to")
        self.expect((event.get("logprobs") or []) == self._logprobs, "the logprobs are not what the deltas add up to")

    def _annotation(self, event: Event) -> None:
        self._index(event)
        self.expect((self._part or {}).get("type") == "output_text", "no text is open")
        self.expect(
            event.get("annotation_index") == len(self._annotations), f"annotation_index is {event.get('annotation_index')}"
        )
        self._annotations.append(event["annotation"])

    def _part_done(self, event: Event) -> None:
        index = self._index(event)
        part, begun = event["part"], self._part or {}
        self.expect(self._part is not None, "no part is open")
        self.expect(part.get("type") == begun.get("type"), "it is another part")
        self.expect(event.get(index) == len(self._parts.get(index, [])), f"{index} is {event.get(index)}")
        self.expect(self._text_done, "there was no done event for its text")
        self.expect(
            part.get(_PARTS.get(part.get("type"), ("", "text"))[1]) == "".join(self._text), "the text is not what was streamed"
        )
        if part.get("type") == "output_text":
            self.expect(part.get("annotations") == self._annotations, "the annotations are not what was streamed")
            self.expect(part.get("logprobs") == self._logprobs, "the logprobs are not what was streamed")
        self._parts.setdefault(index, []).append(part)
        self._part = None
