"""Runs: events that stand for many alike, of which each has the next one of their texts.

A model's text comes in hundreds of pieces that differ in nothing but a few characters. As a run they are one event with a list of
strings: to make, to send and to write that costs a small part of what as many events do.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from trivet.kernel.call import current_call
from trivet.kernel.codec.shape import ShapeError, UnionShape, Value, fields_of, shape_of

ACCEPTED: Final = ("trivet-accept-runs", "true")
"""The metadata by which the maker of a call says that it understands runs; it is not passed on to further calls."""

B = TypeVar("B", bound=Message)

More = Callable[[list[str]], bool]
"""Takes further texts of the run that the last message of a stream ended with, in place of a message that says them.

What it takes has gone on when it returns, so the next message stays behind it. It takes all or, if it returns False, nothing: they
need a message then.
"""

_TEXT: Final = "\ue000run\ue000"
_NUMBER: Final = 7_030_201_901_130_701
"""What stands in a frame in the place of the text and of the number, while the frame is made a template."""


def are_accepted() -> bool:
    """Whether the caller of the running RPC understands runs."""
    call = current_call.get()
    return call is not None and call.metadata.get(ACCEPTED[0]) == ACCEPTED[1]


class Reader(Protocol):
    """Who waits for the next message of a stream, and takes at once what only goes on with text.

    What it takes it is not given any more; False means that it has to be woken for it.
    """

    def more(self, texts: list[str], /) -> bool:
        """Takes further texts of the run that the last message ended with."""
        ...

    def message(self, message: Any, /) -> bool:
        """Takes a message, if that is nothing but a run."""
        ...


def no_more(texts: list[str]) -> bool:
    """A `More` that takes nothing: for a stream of which somebody has to see every message."""
    del texts
    return False


def more_of(context: Any) -> More | None:
    """The `More` of the running RPC, whose handler has this context; None if its caller does not understand runs, or is far away."""
    return getattr(context, "more", None) if are_accepted() else None


@dataclass(frozen=True, slots=True)
class _Run:
    """The field of a message that makes it a run. `path` is where the text of each of its events stands."""

    name: str
    path: tuple[str, ...]
    counted_by: str
    own: frozenset[int]
    """The numbers of the fields that differ from event to event."""

    def single(self, holder: Any, text: str, offset: int) -> None:
        """Make the message, a copy, the event of the run at `offset`."""
        holder.ClearField(self.name)
        *parents, last = self.path
        place = holder
        for name in parents:
            inner = getattr(place, name)
            place = inner if isinstance(inner, Message) else inner[0] if inner else inner.add()
        setattr(place, last, text)
        if self.counted_by:
            setattr(holder, self.counted_by, getattr(holder, self.counted_by) + offset)

    def head(self, holder: Message) -> object:
        """What the events of a run have in common, without the text and the number; the same for the next run of the same text."""
        common: list[object] = [self.name]
        for field, value in holder.ListFields():
            if field.number not in self.own:
                common.append((field.number, value))
        return common


class Runs:
    """The runs among events of one type; get it from `runs_of`."""

    def __init__(self, event: Descriptor) -> None:
        shape = shape_of(event)
        held = {"": event}
        self.oneof = ""
        """What tells the kind of an event, where there are several."""
        if isinstance(shape, UnionShape):
            self.oneof = shape.oneof
            held = {member.name: member.message for member in shape.members if member.value is Value.MESSAGE}
        self._by_member = {name: run for name, message in held.items() if (run := _run_in(message)) is not None}
        self.kinds = frozenset(self._by_member)
        """The kinds of events that may be runs: members of `oneof`, or "" where all events are of one kind."""
        only = self._by_member.get("")
        self.only = only.name if only is not None else ""
        """The field that makes an event a run, where all are of one kind."""

    @property
    def any(self) -> bool:
        """Whether events of this type may be runs."""
        return bool(self._by_member)

    def found_in(self, event: Any) -> tuple[Any, _Run] | None:
        """The message in `event` that has a run, and its field; None if this is a single event."""
        name = event.WhichOneof(self.oneof) if self.oneof else ""
        run = self._by_member.get(name)
        if run is None:
            return None
        holder = getattr(event, name) if name else event
        return (holder, run) if getattr(holder, run.name) else None

    def count(self, events: Sequence[Message]) -> int:
        """How many events these are, with those that runs stand for."""
        return sum(map(self.size, events)) if self._by_member else len(events)

    def size(self, event: Any) -> int:
        """How many events one stands for: as many as a run has texts, or itself."""
        name = event.WhichOneof(self.oneof) if self.oneof else ""
        run = self._by_member.get(name)
        return 1 if run is None else len(getattr(getattr(event, name) if name else event, run.name)) or 1

    def singles(self, event: Message) -> Iterator[Message]:
        """The events that one stands for; itself, if it is no run."""
        found = self.found_in(event)
        if found is None:
            yield event
            return
        for offset, text in enumerate(getattr(found[0], found[1].name)):
            single = type(event)()
            single.CopyFrom(event)
            holder = self.holder(single)
            found[1].single(holder, text, offset)
            yield single

    def last(self, event: Message) -> Message:
        """The last one of the events that `event` stands for."""
        *_, last = self.singles(event)
        return last

    def holder(self, event: Any) -> Any:
        """The message that has the run of an event, or would have one."""
        return getattr(event, event.WhichOneof(self.oneof)) if self.oneof else event


_Frame = Callable[[Message], bytes]
"""How a single event is written."""

_Render = Callable[[Sequence[str], int], bytes]
"""How the texts of a run are written, from the number of its first event on."""


class Continuation:
    """Makes messages of further texts of the run that a stream's last message ended with, for who has to send or keep messages."""

    __slots__ = ("_batch", "_holder", "_last", "_next", "_run")

    def __init__(self) -> None:
        self._last: Any = None
        self._batch: Message | None = None
        self._holder: Any = None
        self._run: _Run | None = None
        self._next = 0

    def follow(self, message: Any) -> None:
        """This is the last message now."""
        self._last = message

    def message(self, texts: Sequence[str]) -> Any:
        """The message that says these next, the same object each time; None if the last one does not end with a run.

        It has gone out when `passed` says so; otherwise it is as if it had not been made.
        """
        if self._last is not None:
            self._begin()
        holder, run = self._holder, self._run
        if run is None:
            return None
        holder.ClearField(run.name)
        getattr(holder, run.name).extend(texts)
        if run.counted_by:
            setattr(holder, run.counted_by, self._next)
        return self._batch

    def passed(self, texts: int) -> None:
        """So many have gone out."""
        self._next += texts

    def _begin(self) -> None:
        last, self._last, self._run = self._last, None, None
        name = _events_of(last.DESCRIPTOR) if isinstance(last, Message) else ""
        events: Any = getattr(last, name) if name else ()
        found = runs_of(events[-1].DESCRIPTOR).found_in(events[-1]) if events else None
        if found is None:
            return
        holder, run = found
        self._run = run
        self._next = len(getattr(holder, run.name)) + (getattr(holder, run.counted_by) if run.counted_by else 0)
        self._batch = type(last)()
        event = getattr(self._batch, name).add()
        event.CopyFrom(events[-1])
        self._holder = runs_of(event.DESCRIPTOR).holder(event)


@cache
def _events_of(batch: Descriptor) -> str:
    """The field of a stream's messages that has events of which some are runs; empty if there is none."""
    for name, field in batch.fields_by_name.items():
        if field.is_repeated and field.message_type is not None and runs_of(field.message_type).any:
            return name
    return ""


class RunFrames:
    """Writes the runs of one stream: the frame of one event, with a gap in place of its text and its number, is made only once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._head: object = None
        self._render: _Render | None = None
        self._going: _Render | None = None
        self._next = 0
        self.count = 0
        """How many single events have been written."""
        self.added = 0
        """How many of them are more of the run that was the last event."""

    def forget(self) -> None:
        """Frames look different from now on."""
        self._head = self._going = None

    def more(self, texts: Sequence[str]) -> bytes | None:
        """The frames of further texts of the run that was written last; None if the last event was none, or can't go on so."""
        if self._going is None:
            return None
        first = self._next
        self._next += len(texts)
        self.count += len(texts)
        self.added += len(texts)
        return self._going(texts, first)

    def of_all(self, events: Iterable[Any], frame: _Frame) -> bytes:
        """The frames of these events, as `of` writes them."""
        runs, written = self._runs, []
        for event in events:
            if not runs.kinds or (runs.oneof and event.WhichOneof(runs.oneof) not in runs.kinds):
                # Of a kind that is never a run.
                self.added = 0
                self.count += 1
                self._going = None
                written.append(frame(event))
            else:
                written.append(self.of(event, frame))
        return b"".join(written)

    def of(self, event: Any, frame: _Frame) -> bytes:
        """The frames of an event, of each that it stands for."""
        runs = self._runs
        found = None if runs.only and not getattr(event, runs.only) else runs.found_in(event)
        self.added = 0
        if found is None:
            self.count += 1
            self._going = None
            return frame(event)
        holder, run = found
        texts = getattr(holder, run.name)
        self.count += len(texts)
        head = run.head(holder)
        if head != self._head:
            self._head, self._render = head, self._template(event, run, frame)
        self._going = self._render
        if self._render is None:
            return b"".join(map(frame, self._runs.singles(event)))
        first = getattr(holder, run.counted_by) if run.counted_by else 0
        self._next = first + len(texts)
        return self._render(texts, first)

    def _template(self, event: Message, run: _Run, frame: _Frame) -> _Render | None:
        """None if it cannot be told from the frame of one event."""
        sample = type(event)()
        sample.CopyFrom(event)
        holder = self._runs.holder(sample)
        if run.counted_by:
            setattr(holder, run.counted_by, _NUMBER)
        run.single(holder, _TEXT, 0)
        written = frame(sample)
        text, number = orjson.dumps(_TEXT), str(_NUMBER).encode()
        if written.count(text) != 1 or written.count(number) != bool(run.counted_by):
            return None
        if not run.counted_by:
            return _uncounted(*written.split(text))
        template = written.replace(b"%", b"%%").replace(text, b"%b").replace(number, b"%d")
        return (_number_first if written.index(number) < written.index(text) else _text_first)(template)


def _uncounted(before: bytes, after: bytes) -> _Render:
    between = after + before

    def render(texts: Sequence[str], _: int) -> bytes:
        # One alone is what comes while a model speaks.
        said = orjson.dumps(texts[0]) if len(texts) == 1 else between.join(map(orjson.dumps, texts))
        return before + said + after

    return render


def _number_first(template: bytes) -> _Render:
    def render(texts: Sequence[str], first: int) -> bytes:
        if len(texts) == 1:
            return template % (first, orjson.dumps(texts[0]))
        return b"".join([template % pair for pair in enumerate(map(orjson.dumps, texts), first)])

    return render


def _text_first(template: bytes) -> _Render:
    def render(texts: Sequence[str], first: int) -> bytes:
        return b"".join([template % (text, n) for n, text in enumerate(map(orjson.dumps, texts), first)])

    return render


@cache
def runs_of(event: Descriptor) -> Runs:
    """The runs among events of a type."""
    return Runs(event)


def without_runs(batch: B, events: str) -> B:
    """A message of a stream whose events, in the field of that name, are single ones; itself, if they are."""
    runs: Runs = runs_of(batch.DESCRIPTOR.fields_by_name[events].message_type)
    given = getattr(batch, events)
    if not any(map(runs.found_in, given)):
        return batch
    told = type(batch)()
    told.CopyFrom(batch)
    told.ClearField(events)
    getattr(told, events).extend(single for event in given for single in runs.singles(event))
    return told


async def singles(batches: AsyncGenerator[B], events: str) -> AsyncGenerator[B]:
    """A stream likewise."""
    async with aclosing(batches):
        async for batch in batches:
            yield without_runs(batch, events)


def _run_in(message: Descriptor) -> _Run | None:
    marked = [field for field in fields_of(message) if field.options.HasField("run")]
    if not marked:
        return None
    field, options = marked[0], marked[0].options
    if len(marked) > 1 or not options.hidden or not field.is_list or field.descriptor.type != FieldDescriptor.TYPE_STRING:
        raise ShapeError(message.full_name, "a run is one hidden field, of many strings")
    if options.run.counted_by and options.run.counted_by not in message.fields_by_name:
        raise ShapeError(message.full_name, "a run is counted by a field beside it")
    own = {number.number for name, number in message.fields_by_name.items() if name in (field.name, options.run.counted_by)}
    return _Run(field.name, tuple(options.run.at.split(".")), options.run.counted_by, frozenset(own))
