"""What a Responses upstream says, passed on as a response of ours: complete, renumbered, and properly ended."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeGuard

import orjson
from google.protobuf.message import Message

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import runs_of
from trivet.kernel.errors import ServiceError
from trivet.model.v1 import response_event_body_pb2 as body
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.reading import Json, read_batch
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.faces.responses_echo import complete
from trivet.model_service.faces.responses_failure import failure_events
from trivet.model_service.faces.responses_interrupted import InterruptedItem

_TERMINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_SNAPSHOTS: Final = _TERMINAL | {"response.created", "response.queued", "response.in_progress"}

_SNAPSHOT_KEYS: Final = frozenset({"type", "sequence_number", "response"})

_KEYS: Final = frozenset(Response.DESCRIPTOR.fields_by_name)
_LATE: Final = frozenset({"output", "error", "incomplete_details", "usage", "completed_at"})
"""What a response has only when it is finished."""

_OURS: Final = (
    "id",
    "created_at",
    "model",
    "provider",
    "store",
    "background",
    "previous_response_id",
    "conversation",
    "max_tool_calls",
    "tools",
)
"""What an upstream does not know of a response; of tools, only where some are run by the gateway."""


_PIECE: Final = "response.output_text.delta"
_PLACE: Final = ("item_id", "output_index", "content_index")
_PIECE_KEYS: Final = frozenset({"type", "sequence_number", "delta", "logprobs", *_PLACE})
_MOST_INDEX: Final = 2**31

_RUNS: Final = runs_of(ResponseEvent.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of one text that came together: the values of `_PLACE` that all of them have, and their texts."""

    place: tuple[str, int, int]
    texts: list[str]


def joined(batch: Iterable[Json]) -> list[Json | Pieces]:
    """The events of an upstream, with those put together that only tell pieces of one text."""
    found: list[Json | Pieces] = []
    last: Pieces | None = None
    for event in batch:
        place = _place_of(event)
        if place is None:
            last = None
            found.append(event)
        elif last is not None and last.place == place:
            last.texts.append(event["delta"])
        else:
            last = Pieces(place, [event["delta"]])
            found.append(last)
    return found


def _place_of(event: Json) -> tuple[str, int, int] | None:
    """Where a piece of text belongs; None for any other event, and for one with more to tell or to be judged by its decoder."""
    if (
        event.get("type") != _PIECE
        or type(event.get("delta")) is not str
        or event.get("logprobs")
        or not event.keys() <= _PIECE_KEYS
    ):
        return None
    item_id, output_index, content_index = map(event.get, _PLACE)
    if type(item_id) is str and _is_index(output_index) and _is_index(content_index):
        return item_id, output_index, content_index
    return None


def _is_index(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _MOST_INDEX


class NativeResponse:
    """Makes responses of what one upstream answers. `told` is the response as it begins; what is ours of it stays."""

    def __init__(self, told: Response) -> None:
        self._told = told
        self._ours = [name for name in _OURS if name != "tools" or any(tool.HasField("mcp") for tool in told.tools)]

    def read(self, answer: Json) -> Response:
        """A response. Raises InvalidRequest where `answer` is none."""
        # A null of a known key says nothing, and the contract wants values in places where some upstreams have it.
        given = {key: value for key, value in answer.items() if value is not None or key not in _KEYS}
        for key in self._ours:
            given.pop(key, None)
        if isinstance(given.get("completed_at"), float):
            given["completed_at"] = int(given["completed_at"])
        decoded = codec_for(Response).decode(given)
        response = Response()
        response.CopyFrom(self._told)
        _clear(response, (field.name for field, _ in decoded.ListFields()))
        response.MergeFrom(decoded)
        complete(response)
        if response.status == "completed" and not response.HasField("completed_at"):
            response.completed_at = int(time.time())
        for item in response.output:
            _complete_item(item, "completed")
        return response


def _complete_item(item: Item, status: str) -> None:
    """Says the status of an item that the contract wants to have one, which some upstreams leave out."""
    kind = item.WhichOneof("kind")
    if kind in {"message", "function_call"} and not getattr(item, kind).HasField("status"):
        getattr(item, kind).status = status


def _clear(message: Message, names: Iterable[str]) -> None:
    for name in names:
        message.ClearField(name)


class NativeStream:
    """Passes the events of one stream on.

    What has to be there and is missing is added: `response.created`, `response.in_progress`, and the end. `failure`
    makes the typed error of an error object.
    """

    def __init__(self, whole: NativeResponse, failure: Callable[[object], ServiceError]) -> None:
        self._whole = whole
        self._failure = failure
        self._next = 0
        self._response: Response | None = None
        self._in_progress = False
        self._items: list[Item] = []
        self._names: dict[str, str] = {}
        self._open: dict[int, list[ResponseEvent]] = {}
        self.finished = False

    @property
    def begun(self) -> bool:
        """Whether the caller has seen an event."""
        return self._response is not None

    def read_batch(self, http: UpstreamHttp, batch: Iterable[Json]) -> tuple[list[ResponseEvent], ServiceError | None]:
        """The events for those of the upstream that came together, which may be in runs, and the error that they end in."""
        return read_batch(http, self.read, joined(batch))

    def read(self, event: Json | Pieces) -> Iterator[ResponseEvent]:
        """The events for one of the upstream. Raises the error that it tells, InvalidRequest for what is no event."""
        if self.finished:
            return
        if isinstance(event, Pieces):
            yield from self._begin(_PIECE, {})
            yield self._run(event)
            return
        kind = str(event.get("type"))
        if kind == "error":
            # Whatever may follow: some upstreams say nothing more, and leave the connection open.
            raise self._failure(event.get("error") or event)
        if kind in _SNAPSHOTS:
            yield from self._snapshot(kind, event)
        else:
            yield from self._begin(kind, {})
            yield self._passed_on(event)

    def fail(self, error: ServiceError) -> list[ResponseEvent]:
        """The events that end a stream that broke off with `error`, and the items that were being made."""
        self.finished = True
        ending = [*self._begin("error", {}), *self._close_open()]
        response = self._response or Response()
        response.ClearField("output")
        response.output.extend(self._items)
        return [*ending, *failure_events(response, error, count(self._next))]

    def _begin(self, kind: str, answer: Json) -> Iterator[ResponseEvent]:
        """Brings the stream to where an event of this kind may come."""
        if self._response is None:
            self._response = self._unfinished(answer)
            if kind != "response.created":
                yield self._state("response.created", self._response)
        if not self._in_progress and kind not in {"response.created", "response.queued"}:
            self._in_progress = True
            if kind != "response.in_progress":
                self._response.status = "in_progress"
                yield self._state("response.in_progress", self._response)

    def _snapshot(self, kind: str, event: Json) -> Iterator[ResponseEvent]:
        repeated = (kind == "response.created" and self.begun) or (kind == "response.in_progress" and self._in_progress)
        if repeated:
            return
        answer = event.get("response") or {}
        yield from self._begin(kind, answer)
        response = self._finished(kind, answer) if kind in _TERMINAL else self._unfinished(answer)
        if self._response is not None:
            response.id = self._response.id
        self._response = response
        yield self._state(kind, response, {key: value for key, value in event.items() if key not in _SNAPSHOT_KEYS})

    def _unfinished(self, answer: Json) -> Response:
        response = self._whole.read({key: value for key, value in answer.items() if key not in _LATE})
        if response.status != "queued":
            response.status = "in_progress"
        return response

    def _finished(self, kind: str, answer: Json) -> Response:
        self.finished = True
        response = self._whole.read(answer)
        response.status = kind.removeprefix("response.")
        if not response.output:
            response.output.extend(self._items)
        return response

    def _close_open(self) -> Iterator[ResponseEvent]:
        for index, (added, *said) in sorted(self._open.items()):
            item = InterruptedItem(index, added.output_item_added.item)
            for one in (single for event in said for single in _RUNS.singles(event)):
                kind = one.WhichOneof("event") or ""
                item.take(kind, getattr(one, kind))
            for event in item.close():
                getattr(event, event.WhichOneof("event") or "").sequence_number = self._next
                self._next += 1
                yield event
            self._items.append(item.item)

    def _run(self, pieces: Pieces) -> ResponseEvent:
        told = ResponseEvent()
        run = told.output_text_delta
        run.item_id, run.output_index, run.content_index = pieces.place
        run.sequence_number = self._next
        run.deltas.extend(pieces.texts)
        self._next += len(pieces.texts)
        if (said := self._open.get(run.output_index)) is not None:
            said.append(told)
        return told

    def _passed_on(self, event: Json) -> ResponseEvent:
        passed: ResponseEvent = codec_for(ResponseEvent).decode(event | {"sequence_number": self._next})
        self._next += 1
        self._keep(passed)
        if passed.HasField("output_item_added"):
            _complete_item(passed.output_item_added.item, "in_progress")
            call = passed.output_item_added.item.function_call
            self._names[call.id] = call.name
        elif passed.HasField("function_call_arguments_done"):
            # The contract wants the function's name here; upstreams leave it out.
            done = passed.function_call_arguments_done
            done.name = done.name or self._names.get(done.item_id, "")
        elif passed.HasField("output_item_done"):
            _complete_item(passed.output_item_done.item, "completed")
            self._items.append(passed.output_item_done.item)
        return passed

    def _keep(self, event: ResponseEvent) -> None:
        """Keep what is said of an item until it is done: only a stream that breaks off needs it."""
        kind = event.WhichOneof("event") or "unknown"
        index: int = -1 if kind == "unknown" else getattr(getattr(event, kind), "output_index", -1)
        if kind == "output_item_added":
            self._open[index] = [event]
        elif kind == "output_item_done":
            self._open.pop(index, None)
        elif index in self._open:
            self._open[index].append(event)

    def _state(self, kind: str, response: Response, more: Json | None = None) -> ResponseEvent:
        extra = orjson.dumps(more).decode() if more else ""
        told = body.ResponseSnapshotEvent(sequence_number=self._next, response=response, extra=extra)
        self._next += 1
        return ResponseEvent(**{kind.removeprefix("response."): told})  # type: ignore[arg-type]
