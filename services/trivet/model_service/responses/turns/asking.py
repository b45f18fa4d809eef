"""What asks for one turn, so that what is done about turns can be put around it."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Protocol

from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest


class Asking(Protocol):
    """As `ModelTurns`, which is the innermost one."""

    def create(self, request: CreateResponseRequest, told: Response) -> Coroutine[Any, Any, Response]:
        """The whole response. See `ModelTurns.create`."""
        ...

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        """The events of the response. See `ModelTurns.stream`."""
        ...


class Layer(Asking, Protocol):
    """What is done about turns, around another one that asks."""

    def concerns(self, request: CreateResponseRequest, told: Response) -> bool:
        """Whether it may have anything to do for a request: if not, both ways to ask are those of what it is around."""
        ...


def copied(request: CreateResponseRequest, *without: Any) -> CreateResponseRequest:
    """A copy of a request, without these fields."""
    copy = CreateResponseRequest()
    copy.CopyFrom(request)
    for name in without:
        copy.ClearField(name)
    return copy


def again(told: Response) -> Response:
    """A copy of a response as it begins, for a turn that may have to be asked for once more."""
    copy = Response()
    copy.CopyFrom(told)
    return copy
