"""The numbers of a stream's events, for the one that the bridge has to add when a stream breaks."""

from typing import Any

import orjson
from google.protobuf.message import Message

from trivet.kernel.catalogue import error_body
from trivet.kernel.codec.sse import StreamCodec
from trivet.kernel.errors import ServiceError


class Numbering:
    """Knows where a stream of numbered events stands; `seen` is the number of the event before its first, -1 if there is none."""

    def __init__(self, codec: StreamCodec, seen: int = -1) -> None:
        self._encode = codec.encode_event
        self._runs = codec.runs
        self._next = seen + 1
        self._last: Message | None = None
        self._after_last = 0

    def passed(self, count: int, last: Message | None, after_last: int = 0) -> None:
        """Note that so many events went out, and which was the last, or the last before those that went on with its run."""
        self._next += count
        self._last = last
        self._after_last = after_last

    @property
    def next(self) -> int:
        """The number of the event that would come next: after the last one's own number, or by counting if it has none."""
        last = {} if self._last is None else orjson.loads(orjson.dumps(self._encode(self._runs.last(self._last))))
        number = last.get("sequence_number") if isinstance(last, dict) else None
        return number + 1 + self._after_last if isinstance(number, int) else self._next

    def failure(self, error: ServiceError) -> dict[str, Any]:
        """The event that tells of an error, in both of the shapes that are in use for it, the flat and the nested one."""
        body = error_body(error)[1]["error"]
        flat = {key: body[key] for key in ("code", "message", "param")}
        return {"type": "error", "sequence_number": self.next, **flat, "error": body}


def seen_before(request: Message) -> int:
    """The number of the last event that the caller has by its own word, which is `starting_after`; -1 if it has none."""
    field = request.DESCRIPTOR.fields_by_name.get("starting_after")
    return request.starting_after if field is not None and request.HasField("starting_after") else -1  # type: ignore[attr-defined]
