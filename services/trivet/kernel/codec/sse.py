"""The messages of a stream as server-sent events, as the RPC's `sse` option says."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from trivet.kernel.codec.encoding import ENCODERS, Encode
from trivet.kernel.codec.runs import RunFrames, runs_of
from trivet.kernel.codec.shape import ObjectShape, ShapeError, UnionShape, shape_of
from trivet.rest.v1 import annotations_pb2

_SMALL: Final = 96
"""The most bytes of an event that is remembered with how it is written."""

_MOST_REMEMBERED: Final = 256


class StreamCodec:
    """How the messages of one server-streaming RPC become events; get it from `stream_codec`."""

    def __init__(self, method: MethodDescriptor) -> None:
        options = method.GetOptions().Extensions[annotations_pb2.method].sse
        batch = method.output_type
        shape = shape_of(batch)
        events = batch.fields_by_name.get(options.events)
        if not isinstance(shape, ObjectShape) or events is None or not _is_list(events):
            raise ShapeError(method.full_name, "`sse.events` names no repeated field of messages of the stream")
        self.batch_class = GetMessageClass(batch)
        self.events_name = events.name
        self.end = b"data: [DONE]\n\n" if options.done else b""
        self.encode_event = ENCODERS.message(cast("Descriptor", events.message_type))
        self.encode_common = ENCODERS.object_without(shape, events.name)
        self.front = self.front_of(self.batch_class())
        self.discriminator, self.members = _named_events(events, method) if options.named else ("", {})
        self.runs = runs_of(cast("Descriptor", events.message_type))
        self.written: dict[bytes, tuple[bytes, bytes | None]] = {}
        """Small events as JSON, whole and as it goes on behind a front: what stands in nearly every stream, such as its first event and its
        last, is made only once."""
        self.lines: dict[str, bytes] = {}
        """The `event:` lines of events of known shapes, by the names of these."""

    def write(self, said: bytes, event: Message) -> tuple[bytes, bytes | None]:
        """An event that is not among those that have been `written`; `said` are its bytes."""
        data = orjson.dumps(self.encode_event(event))
        written = data, _rest(data)
        if len(said) <= _SMALL:
            if len(self.written) >= _MOST_REMEMBERED:
                self.written.clear()
            self.written[said] = written
        return written

    def line(self, value: Any) -> bytes:
        """The `event:` line; none for an event of no known shape that has no proper name."""
        known = isinstance(value, dict)
        event = value if known else orjson.loads(orjson.dumps(value))
        name = event.get(self.discriminator) if isinstance(event, dict) else None
        # A line break would end the line and begin one of the upstream's choice.
        line = b"event: %b\n" % name.encode() if isinstance(name, str) and name.isprintable() else b""
        if known and isinstance(name, str):
            self.lines[name] = line
        return line

    def front_of(self, common: Message) -> bytes:
        """The pairs that are common to the events, as the beginning of an object: `{"id":"1"`, empty if there are none."""
        pairs = orjson.dumps(self.encode_common(common))
        return b"" if pairs == b"{}" else pairs[:-1]

    def open(self) -> "EventStream":
        """The rendering of one stream, which remembers what is common to its events."""
        return EventStream(self)


class EventStream:
    """One stream on its way out."""

    def __init__(self, codec: StreamCodec) -> None:
        self._codec = codec
        self._common = codec.batch_class()
        self._front = codec.front
        self._runs = RunFrames(codec.runs)
        self._last: Message | None = None

    @property
    def count(self) -> int:
        """How many events have been written."""
        return self._runs.count

    @property
    def last(self) -> Message | None:
        """The event that was written last."""
        return None if self._last is None else getattr(self._last, self._codec.events_name)[-1]

    @property
    def after_last(self) -> int:
        """How many events were written after `last`, by `more`."""
        return self._runs.added

    @property
    def end(self) -> bytes:
        """What the stream ends with; empty where the dialect has no such thing."""
        return self._codec.end

    def frames(self, batch: Message) -> bytes:
        """All events of a message, ready for one write; empty if it has none.

        What the message says about the whole stream replaces what was said before, and stands in front of each event.
        """
        said = batch.ListFields()
        if len(said) != 1 or said[0][0].name != self._codec.events_name:
            self._learn(said)
        events = getattr(batch, self._codec.events_name)
        if not events:
            return b""
        self._last = batch
        frame = self._named if self._codec.discriminator else self._frame
        frames = self._runs.of(events[0], frame) if len(events) == 1 else self._runs.of_all(events, frame)
        return frames if frames.isascii() else _without_odd_breaks(frames)

    def of_run(self, batch: Message) -> bytes | None:
        """The events of a message that is nothing but a run; None for any other."""
        said = batch.ListFields()
        if len(said) != 1 or len(events := said[0][1]) != 1 or self._codec.runs.found_in(events[0]) is None:
            return None
        return self.frames(batch)

    def more(self, texts: Sequence[str]) -> bytes | None:
        """The events that are further texts of the run that was the last event; None if it was none, or they need a message."""
        frames = self._runs.more(texts)
        return frames if frames is None or frames.isascii() else _without_odd_breaks(frames)

    def _frame(self, event: Message) -> bytes:
        codec, front = self._codec, self._front
        said = event.SerializeToString()
        data, rest = codec.written.get(said) or codec.write(said, event)
        return b"data: %b\n\n" % (front + rest if front and rest is not None else data)

    def _named(self, event: Message) -> bytes:
        """An event under its name. It has a number as well, so none is like another."""
        codec, front = self._codec, self._front
        value: Any = None
        for kind, said in event.ListFields():
            convert = codec.members[kind]
            value = said if convert is None else convert(said)
        data = orjson.dumps(value)
        if front and (rest := _rest(data)) is not None:
            data = front + rest
        line = codec.lines.get(value[codec.discriminator]) if type(value) is dict else None
        return b"%bdata: %b\n\n" % (codec.line(value) if line is None else line, data)

    def _learn(self, fields: Iterable[tuple[FieldDescriptor, Any]]) -> None:
        codec, common = self._codec, self._common
        learned = False
        for field, value in fields:
            if field.name != codec.events_name:
                common.ClearField(field.name)
                common.MergeFrom(codec.batch_class(**{field.name: value}))
                learned = True
        if learned:
            self._front = codec.front_of(common)
            self._runs.forget()


@cache
def stream_codec(method: MethodDescriptor) -> StreamCodec:
    """The codec of a server-streaming RPC, compiled at the first call; raises `ShapeError` for a faulty proto."""
    return StreamCodec(method)


def _is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated and field.message_type is not None


def _named_events(events: FieldDescriptor, method: MethodDescriptor) -> tuple[str, Mapping[FieldDescriptor, Encode | None]]:
    """The key that has the name of an event, and how each kind of event is written."""
    shape = shape_of(cast("Descriptor", events.message_type))
    if not isinstance(shape, UnionShape) or not shape.discriminator:
        raise ShapeError(method.full_name, "events with names are a union that a key tells")
    return shape.discriminator, ENCODERS.members(shape)


# Line breaks to Unicode and so to some clients (whatever reads lines of text in Python), though not to SSE.
_ODD_BREAKS: Final = {"\u0085".encode(): rb"\u0085", "\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029"}


def _without_odd_breaks(frames: bytes) -> bytes:
    """In JSON, such a character stands in a string, where it may be written as an escape."""
    for character, escape in _ODD_BREAKS.items():
        if character in frames:
            frames = frames.replace(character, escape)
    return frames


def _rest(data: bytes) -> bytes | None:
    """What follows the pairs of a front in an object; None for what is none."""
    if not data.startswith(b"{"):
        return None
    rest = data[1:].lstrip()
    return rest if rest == b"}" else b"," + rest
