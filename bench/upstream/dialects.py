"""The bytes of each dialect, made once for each script: whole answers, and the events of streams."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

CREATED = 1_700_000_000
USAGE = {"prompt_tokens": 12, "completion_tokens": 200, "total_tokens": 212}
CALL_ID = "call_1"


@dataclass(frozen=True)
class ToolCall:
    """The call that an agent's model makes."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Frames:
    """A stream in pieces: what comes before the chunks that are counted, these, and what comes after."""

    head: bytes
    chunks: Sequence[bytes]
    tail: bytes


@cache
def words(count: int) -> tuple[str, ...]:
    """That many pieces of text."""
    return tuple(f" word{number}" for number in range(count))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Chat:
    """OpenAI's chat completions."""

    path = "/v1/chat/completions"

    @staticmethod
    def tool_of(asked: Any) -> str | None:
        """The tool to call, unless there is none or one has answered already."""
        if any(message.get("role") == "tool" for message in asked["messages"]):
            return None
        return next((str(tool["function"]["name"]) for tool in asked.get("tools", ())), None)

    @staticmethod
    @cache
    def whole(texts: tuple[str, ...], call: ToolCall | None = None) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
        if call:
            function = {"name": call.name, "arguments": call.arguments}
            message["tool_calls"] = [{"id": CALL_ID, "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if call else "stop"}
        answer = {"id": "chatcmpl-abc123", "object": "chat.completion", "created": CREATED, "model": "m"}
        return _json({**answer, "choices": [choice], "usage": USAGE})

    @staticmethod
    @cache
    def stream(texts: tuple[str, ...], call: ToolCall | None = None, *, usage: bool = False) -> Frames:
        """The role, a chunk for each text, or two for the call, and the finish."""
        deltas: list[dict[str, Any]] = [{"content": text} for text in texts]
        if call:
            begun = {"index": 0, "id": CALL_ID, "type": "function", "function": {"name": call.name, "arguments": ""}}
            deltas += [{"tool_calls": [begun]}, {"tool_calls": [{"index": 0, "function": {"arguments": call.arguments}}]}]
        tail = _chat_chunk({}, "tool_calls" if call else "stop")
        if usage:
            tail += b"data: " + _json({**_CHAT_CHUNK, "choices": [], "usage": USAGE}) + b"\n\n"
        head = _chat_chunk({"role": "assistant", "content": None if call else ""}, None)
        return Frames(head, [_chat_chunk(delta, None) for delta in deltas], tail + b"data: [DONE]\n\n")

    @staticmethod
    def chunk(text: str) -> bytes:
        """A chunk with a text of its own."""
        return _chat_chunk({"content": text}, None)


_CHAT_CHUNK = {
    "id": "chatcmpl-abc123",
    "object": "chat.completion.chunk",
    "created": CREATED,
    "model": "m",
    "system_fingerprint": "fp_1",
}


def _chat_chunk(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return b"data: " + _json({**_CHAT_CHUNK, "choices": [choice]}) + b"\n\n"


class Responses:
    """OpenAI's responses."""

    path = "/v1/responses"

    @staticmethod
    def tool_of(asked: Any) -> str | None:
        given = asked["input"]
        if isinstance(given, list) and any(item.get("type") == "function_call_output" for item in given):
            return None
        return next((str(tool["name"]) for tool in asked.get("tools", ()) if tool.get("type") == "function"), None)

    @staticmethod
    @cache
    def whole(texts: tuple[str, ...], call: ToolCall | None = None) -> bytes:
        return _json(_response("completed", [_responses_call(call, "completed") if call else _message("".join(texts))]))

    @staticmethod
    @cache
    def stream(texts: tuple[str, ...], call: ToolCall | None = None, *, usage: bool = False) -> Frames:
        """Each text is a delta."""
        del usage
        events = _Events()
        events.add("created", response=_response("in_progress", []))
        events.add("in_progress", response=_response("in_progress", []))
        if call:
            begun = _responses_call(ToolCall(call.name, ""), "in_progress")
            events.add("output_item.added", output_index=0, item=begun)
            head, chunks = events.taken(), []
            at = {"item_id": begun["id"], "output_index": 0}
            events.add("function_call_arguments.delta", **at, delta=call.arguments)
            chunks.append(events.taken())
            events.add("function_call_arguments.done", **at, name=call.name, arguments=call.arguments)
            item = _responses_call(call, "completed")
        else:
            events.add("output_item.added", output_index=0, item={**_message(""), "status": "in_progress", "content": []})
            at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
            events.add("content_part.added", **at, part=_part(""))
            head, chunks = events.taken(), []
            for text in texts:
                events.add("output_text.delta", **at, delta=text, logprobs=[])
                chunks.append(events.taken())
            item = _message("".join(texts))
            events.add("output_text.done", **at, text="".join(texts), logprobs=[])
            events.add("content_part.done", **at, part=_part("".join(texts)))
        events.add("output_item.done", output_index=0, item=item)
        events.add("completed", response=_response("completed", [item]))
        return Frames(head, chunks, events.taken())


class _Events:
    def __init__(self) -> None:
        self._number = 0
        self._waiting: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        event = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._waiting.append(b"event: response.%s\ndata: %s\n\n" % (kind.encode(), _json(event)))
        self._number += 1

    def taken(self) -> bytes:
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(text: str) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [_part(text)]}


def _responses_call(call: ToolCall, status: str) -> dict[str, Any]:
    return {
        "id": "fc_1",
        "type": "function_call",
        "status": status,
        "call_id": CALL_ID,
        "name": call.name,
        "arguments": call.arguments,
    }


def _response(status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 200,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 212,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "m",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if status == "completed" else None,
        "metadata": {},
    }


class Messages:
    """Anthropic's messages; without tools."""

    path = "/v1/messages"

    @staticmethod
    def tool_of(asked: Any) -> str | None:
        del asked
        return None

    @staticmethod
    @cache
    def whole(texts: tuple[str, ...], call: ToolCall | None = None) -> bytes:
        del call
        content = [{"type": "text", "text": "".join(texts)}]
        return _json({**_MESSAGE, "content": content, "stop_reason": "end_turn", "usage": _MESSAGE_USAGE})

    @staticmethod
    @cache
    def stream(texts: tuple[str, ...], call: ToolCall | None = None, *, usage: bool = False) -> Frames:
        """Each text is a delta."""
        del call, usage
        head = _message_event("message_start", message={**_MESSAGE, "content": [], "stop_reason": None, "usage": _MESSAGE_USAGE})
        head += _message_event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        chunks = [_message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts]
        tail = _message_event("content_block_stop", index=0)
        tail += _message_event(
            "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 200}
        )
        return Frames(head, chunks, tail + _message_event("message_stop"))


_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
_MESSAGE_USAGE = {"input_tokens": 12, "output_tokens": 200}


def _message_event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _json({"type": kind, **fields}))


DIALECTS = {dialect.path: dialect for dialect in (Chat, Responses, Messages)}
