"""What an upstream sent as JSON, read so that whatever is wrong with it is the provider's mistake."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson

from trivet.kernel.errors import InvalidRequest, ServiceError
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import UpstreamHttp

Json = dict[str, Any]
E = TypeVar("E")
T = TypeVar("T")


def json_event(http: UpstreamHttp, event: SseEvent) -> Json:
    """The JSON object that an event holds. Raises UpstreamFailed."""
    try:
        parsed = orjson.loads(event.data)
    except orjson.JSONDecodeError as error:
        raise http.invalid("sent an event that is not JSON") from error
    if not isinstance(parsed, dict):
        raise http.invalid("sent an event that is not a JSON object")
    return parsed


def read_batch(http: UpstreamHttp, read: Callable[[E], Iterator[T]], batch: Iterable[E]) -> tuple[list[T], ServiceError | None]:
    """What a batch stands for, and the error it ends in: what came before the fault still goes out."""
    events: list[T] = []
    try:
        with as_its_api_says(http):
            for event in batch:
                for found in read(event):
                    events.append(found)  # noqa: PERF402 - what came before an error is kept
    except ServiceError as error:
        return events, error
    return events, None


@contextmanager
def as_its_api_says(http: UpstreamHttp) -> Iterator[None]:
    """Makes what goes wrong when an answer is read the provider's mistake."""
    try:
        yield
    except InvalidRequest as error:
        raise http.invalid(f"broke its API at `{error.param}`") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise http.invalid("broke its API") from error
