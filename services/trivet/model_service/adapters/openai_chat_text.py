"""Pieces of text in a stream of chunks, read without reading all else that each chunk repeats.

Nearly every chunk of a stream is the one before it with another text. So a chunk that was read, and found to add nothing but text, is
cut at its text into what stands before and after it; a later chunk that begins and ends with just the same bytes, and has a JSON
string between them, says the same with that string. No provider's layout is assumed: it is learned from each stream.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from google.protobuf.message import Message

from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk
from trivet.kernel.codec.runs import More
from trivet.model_service.adapters.sse import SseEvent

_CONTENT: Final = re.compile(rb'"content"\s*:\s*("(?:[^"\\]|\\.)*")')
_PROBE: Final = "\0"
_MOST_FAILURES: Final = 3
"""Chunks that were cut in vain, as where each has random characters in it, after which it is no more tried."""


class TextPieces:
    """Texts of chunks that came together; `like` is what each of these chunks says beside its text."""

    __slots__ = ("like", "texts")

    def __init__(self, texts: list[str], like: ChatCompletionChunk) -> None:
        self.texts = texts
        self.like = like

    def chunk(self) -> ChatCompletionChunk:
        """The chunk that stands for all of them."""
        run = ChatCompletionChunk()
        run.CopyFrom(self.like)
        run.contents.extend(self.texts)
        return run


class TextTemplate:
    """Learns how the chunks of one stream look that only add text to its first answer, and reads those that look so."""

    def __init__(self) -> None:
        self.before = b""
        """What stands before the text; empty while nothing has been learned."""
        self._after = b""
        self._head: object = None
        self._opening = b""
        self._closing = b""
        self._chunk = ChatCompletionChunk()
        self._fits = True
        self._failures = 0

    def texts(self, events: list[SseEvent], start: int) -> list[str]:
        """The texts of the events from `start` on, up to the first one that looks different."""
        before, after = self.before, self._after
        if not before:
            return []
        first, last, least = len(before), -len(after), len(before) + len(after)
        strings = []
        for position in range(start, len(events)):
            name, data = events[position]
            if name or not data.startswith(before) or not data.endswith(after) or len(data) < least:
                break
            strings.append(data[first:last])
        texts = _strings(strings)
        self._fits = self._fits or bool(texts)
        return texts

    def texts_of(self, data: bytes) -> list[str]:
        """The texts of bytes that are nothing but whole events of that look, as they come; none, if they are anything else."""
        opening, closing = self._opening, self._closing
        if (
            not self.before
            or not data.startswith(opening)
            or not data.endswith(closing)
            or len(data) < len(opening) + len(closing)
        ):
            return []
        inner = data[len(opening) : -len(closing)]
        # No JSON string holds a line break: those there are stand between two events.
        return _strings(inner.split(closing + opening) if b"\n" in inner else [inner])

    def taker(self, more: More) -> Callable[[bytes], bool]:
        """Gives `more` the texts of bytes that are whole events of that look; whether it took them."""

        def taken(data: bytes) -> bool:
            texts = self.texts_of(data)
            return bool(texts) and more(texts)

        return taken

    def pieces(self, texts: list[str]) -> TextPieces:
        """What chunks with these texts say."""
        return TextPieces(texts, self._chunk)

    def learn(self, data: bytes, head: object, chunk: ChatCompletionChunk) -> TextPieces | None:
        """Take note of a chunk that was read in full, `data` being what the provider sent, and `head` what it says of the stream.

        If it says no more than its text would as one of the pieces that are read from now on, it is given as that.
        """
        is_same, self._head = head == self._head, head
        self._failures += not self._fits
        self.before, self._fits = b"", True
        if self._failures < _MOST_FAILURES and only_adds_text(chunk) and self._cut(data, chunk) and is_same:
            return self.pieces([chunk.choices[0].delta.content])
        return None

    def resume(self, before: bytes, after: bytes, head: object, like: ChatCompletionChunk) -> bool:
        """Take note of a chunk of text that is known to look so; whether its head has been told, so that it may be one of the pieces."""
        is_same, self._head = head == self._head, head
        self.before, self._after = before, after
        self._opening, self._closing = b"data: " + before, after + b"\n\n"
        self._chunk, self._fits = like, True
        return is_same

    def pass_by(self, head: object) -> None:
        """Take note of a chunk that is known not to be one of text."""
        self._head, self.before, self._fits = head, b"", True

    def forget(self) -> None:
        """What came now was no chunk of text."""
        self.before, self._fits = b"", True

    def _cut(self, data: bytes, chunk: ChatCompletionChunk) -> bool:
        place = _CONTENT.search(data)
        if place is None:
            return False
        before, after = data[: place.start(1)], data[place.end(1) :]
        # Only if that was the text, and not some other string under a key of that name.
        if _content(orjson.loads(before + orjson.dumps(_PROBE) + after)) != _PROBE:
            return False
        self.before, self._after, self._fits = before, after, False
        self._opening, self._closing = b"data: " + before, after + b"\n\n"
        # Its own object: pieces that were read by an earlier template still have that one's.
        self._chunk = beside_text(chunk)
        return True


def only_adds_text(chunk: ChatCompletionChunk) -> bool:
    """Whether a chunk adds text to the first answer and tells nothing else, but for what any other may repeat."""
    choices = chunk.choices
    if len(choices) != 1:
        return False
    choice = choices[0]
    delta = choice.delta
    # First what most chunks that are more than text are told by.
    if not delta.HasField("content") or delta.HasField("role") or choice.HasField("finish_reason"):
        return False
    return (
        has_only(chunk, "choices", "extra")
        and has_only(choice, "delta", "extra")
        and has_only(delta, "content", "extra")
        and tells_nothing(choice.extra)
        and tells_nothing(delta.extra)
    )


def beside_text(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    """What a chunk that only adds text says beside it."""
    like = ChatCompletionChunk()
    like.CopyFrom(chunk)
    choice = like.choices[0]
    choice.delta.ClearField("content")
    if not choice.extra and not choice.delta.extra:
        like.ClearField("choices")
    return like


def has_only(message: Message, *names: str) -> bool:
    """Whether no other fields of a message are set."""
    return set(names).issuperset([field.name for field, _ in message.ListFields()])


def tells_nothing(extra: str) -> bool:
    """Whether the keys that no field stands for are none, or null."""
    return not extra or all(value is None for value in orjson.loads(extra).values())


def _content(chunk: Any) -> object:
    try:
        return chunk["choices"][0]["delta"]["content"]
    except (LookupError, TypeError):
        return None


def _strings(texts: list[bytes]) -> list[str]:
    """The strings in as many JSON texts; none, if there is something else among them."""
    try:
        if len(texts) == 1:
            text = orjson.loads(texts[0])
            return [text] if isinstance(text, str) else []
        found = orjson.loads(b"[%b]" % b",".join(texts))
    except orjson.JSONDecodeError:
        return []
    return found if len(found) == len(texts) and set(map(type, found)) == {str} else []
