"""Chunks that come in nearly every stream of a provider, such as the first, the last, and those of text: read once, and remembered.

Two streams of one provider differ in their id and their time, which nearly all providers write first, and in what the model says. So a
chunk is taken apart at the bytes: its *start*, which is the same in a whole stream; one string, which is its text, a piece of a call's
arguments, or the id of a call that begins; and what stands before and after that. Of what stands there nothing is assumed: a chunk of
that look was read in full before, and only what says nothing but its string, roles, names of functions and ends is remembered.
"""

import re
from typing import Any, Final

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk, ChatDelta, ChatToolCallDelta
from trivet.model_service.adapters.openai_chat_text import beside_text, has_only, only_adds_text, tells_nothing

HEAD: Final = {"id": str, "created": int, "model": str, "service_tier": str, "system_fingerprint": str}
"""What all chunks of a stream share, and of what type it is."""

_PAIR: Final = rb'"(?:id|model|service_tier|system_fingerprint)"\s*:\s*"[^"\\\x00-\x1f]*"|"created"\s*:\s*[1-9][0-9]{0,14}'
_START: Final = re.compile(rb'\{(?:\s*(?:%b|"object"\s*:\s*"chat\.completion\.chunk")\s*,)+' % _PAIR)
_SAID: Final = re.compile(rb'"(?:content|arguments|id)"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_PROBE: Final = orjson.dumps("\0")
_MOST_BYTES: Final = 512
_MOST_REMEMBERED: Final = 64

Key = tuple[bool, bytes, bytes]
"""Whether the answer had begun, and what stands before and after the string; all of it before that, if there is none."""


class Shape:
    """What chunks of one look say. `head` is what they say of their stream, `call` the index of the call that they go on with, or,
    if `begins`, begin."""

    __slots__ = ("begins", "call", "finishes", "head", "like", "whole")

    def __init__(self, chunk: ChatCompletionChunk, head: dict[str, Any]) -> None:
        self.whole = ChatCompletionChunk()
        """One of them, but for its string, which somebody else's model has said."""
        self.whole.CopyFrom(chunk)
        choice = self.whole.choices[0]
        delta = choice.delta
        self.begins = bool(delta.tool_calls) and delta.tool_calls[0].HasField("id")
        if self.begins:
            delta.tool_calls[0].id = ""
        elif delta.tool_calls:
            delta.tool_calls[0].function.arguments = ""
        elif delta.HasField("content"):
            delta.content = ""
        self.head = head
        self.call = delta.tool_calls[0].index if delta.tool_calls else None
        self.finishes = choice.HasField("finish_reason")
        self.like = beside_text(chunk) if only_adds_text(chunk) else None
        """What they say beside their text, if they add nothing else to the answer."""

    def chunk(self, said: str) -> ChatCompletionChunk:
        """The chunk with this string."""
        chunk = ChatCompletionChunk()
        chunk.CopyFrom(self.whole)
        delta = chunk.choices[0].delta
        if self.call is None:
            delta.content = said
        elif self.begins:
            delta.tool_calls[0].id = said
        else:
            delta.tool_calls[0].function.arguments = said
        return chunk


class ChunkShapes:
    """The shapes of one provider's chunks."""

    def __init__(self) -> None:
        self.known: dict[Key, Shape] = {}
        self.get = self.known.get
        """The shape of a key, if it is known."""

    def learn(self, data: bytes, start: bytes, chunk: ChatCompletionChunk, *, begun: bool) -> None:
        """Take note of a chunk that was read in full, and is one of the only answer; `begun` as it was before."""
        if len(data) > _MOST_BYTES or not _is_plain(chunk):
            return
        before, said, after = cut(data, len(start))
        if not (_is_found(b"{%b%b%b" % (before, _PROBE, after), chunk.choices[0].delta) if said else _has_no_string(chunk)):
            return
        whole = orjson.loads(b"{" + data[len(start) :])
        head = {key: whole[key] for key in HEAD if key in whole}
        # What is of another type is not worth a rule of its own.
        if not all(isinstance(value, HEAD[key]) for key, value in head.items()):
            return
        if len(self.known) >= _MOST_REMEMBERED:
            self.known.clear()
        self.known[begun, before, after] = Shape(chunk, head)


def start_of(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """What a chunk begins with that says only whose it is, and what that says; nothing if it begins otherwise."""
    found = _START.match(data)
    if found is None:
        return b"", {}
    try:
        head = orjson.loads(found[0][:-1] + b"}")
    except orjson.JSONDecodeError:
        return b"", {}
    head.pop("object", None)
    return found[0], head


def cut(data: bytes, start: int) -> tuple[bytes, bytes, bytes]:
    """What stands behind the start of a chunk: before its string, the string, and after it."""
    found = _SAID.search(data, start)
    if found is None:
        return data[start:], b"", b""
    return data[start : found.start(1)], found[1], data[found.end(1) :]


def _is_plain(chunk: ChatCompletionChunk) -> bool:
    """Whether a chunk says nothing but one string of the model, a role or an end, so that another stream may have the same."""
    if len(chunk.choices) != 1 or not has_only(chunk, "choices", "extra"):
        return False
    choice = chunk.choices[0]
    delta = choice.delta
    calls = delta.tool_calls
    if len(calls) > 1 or (calls and (delta.HasField("content") or not _is_plain_call(calls[0]))):
        return False
    return (
        has_only(choice, "delta", "finish_reason", "extra")
        and has_only(delta, "role", "content", "tool_calls", "extra")
        and all(map(tells_nothing, (chunk.extra, choice.extra, delta.extra)))
    )


def _is_plain_call(call: ChatToolCallDelta) -> bool:
    """Whether a call only begins, or only goes on."""
    function = call.function
    if not (tells_nothing(call.extra) and tells_nothing(function.extra)):
        return False
    if not call.HasField("id"):
        return has_only(call, "index", "function", "extra") and has_only(function, "arguments", "extra")
    has_name = bool(call.id and function.name) and not function.arguments
    return has_name and has_only(call, "index", "id", "type", "function", "extra")


def _is_found(probed: bytes, delta: ChatDelta) -> bool:
    """Whether the string is the text, or the arguments or the id of the call, and not some other one under a key of that name."""
    try:
        told = orjson.loads(probed)["choices"][0]["delta"]
        if not delta.tool_calls:
            return bool(told["content"] == "\0")
        call, (known,) = told["tool_calls"][0], delta.tool_calls
        found = call["id"] if known.HasField("id") else call["function"]["arguments"]
        # A call has another index, too, where a provider gives all of them the same.
        return bool(found == "\0" and call["index"] == known.index)
    except (LookupError, TypeError):
        return False


def _has_no_string(chunk: ChatCompletionChunk) -> bool:
    """Whether there is no such string, not even under a key that is written in some other way."""
    delta = chunk.choices[0].delta
    return not (delta.HasField("content") or delta.tool_calls)
