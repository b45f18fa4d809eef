"""`truncation: auto`: a conversation that is too long for the model loses its oldest items until it fits.

How long is too long is for the upstream to say: it refuses, and what it tells of sizes says how much has to go. Whole turns go
first, the oldest first; then the oldest steps of the last turn. A call stays with its outputs, messages of the system and the
developer stay, and so do the last message of the user and what the model is to answer now.
"""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from trivet.kernel.errors import ServiceError, UpstreamRejected
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.responses.turns.asking import Asking, again, copied
from trivet.model_service.responses.turns.compaction import stays
from trivet.model_service.responses.turns.estimate import item_pieces

MOST_TRIES: Final = 6
"""How often a conversation is made shorter before the upstream's refusal stands."""

_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})

_WORDS: Final = re.compile(
    r"context (length|size|window)|maximum (model|sequence|input) length|prompt is too long|input is too long|too many (input )?tokens"
    r"|token count.* exceeds the maximum",
    re.IGNORECASE,
)
"""How servers without such a code say it."""

_NUMBER: Final = re.compile(r"\b\d{2,}\b")

_MARGIN: Final = 0.9
"""What is told of sizes is about tokens, and what is dropped is measured in characters."""

_HALF: Final = 0.5


class FittedTurns:
    """Asks again with less where a request allows it; see `ModelTurns` for the methods."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def concerns(self, request: CreateResponseRequest, told: Response) -> bool:
        return request.truncation == "auto"

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        if not self.concerns(request, told):
            return await self._asking.create(request, told)
        fitting = _Fitting(request)
        while True:
            try:
                return await self._asking.create(fitting.request, again(told))
            except UpstreamRejected as error:
                if not fitting.shorten(error):
                    raise

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        return self._stream(request, told) if self.concerns(request, told) else self._asking.stream(request, told)

    async def _stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        fitting = _Fitting(request)
        begun = False
        while True:
            try:
                async with aclosing(self._asking.stream(fitting.request, again(told))) as batches:
                    async for batch in batches:
                        begun = True
                        yield batch
                return
            except UpstreamRejected as error:
                if begun or not fitting.shorten(error):
                    raise


def is_too_long(error: ServiceError) -> bool:
    """Whether an upstream refused a conversation because the model cannot take that much."""
    known = {error.metadata.get("code"), error.metadata.get("type")} & _CODES
    return isinstance(error, UpstreamRejected) and bool(known or _WORDS.search(error.message))


def told_share(message: str) -> float:
    """The share of a conversation that fits, from a refusal that tells how much there is and how much may be; else a half."""
    numbers = [int(number) for number in _NUMBER.findall(message)[:2]]
    if len(numbers) < 2 or min(numbers) == max(numbers):
        return _HALF
    return min(numbers) / max(numbers) * _MARGIN


def shortened(items: Sequence[Item], share: float) -> list[Item] | None:
    """The items without the oldest, so that about `share` of their size is left; None where nothing may go."""
    sizes = [_size(item) for item in items]
    limit = sum(sizes) * share
    left = sum(sizes)
    dropped: set[int] = set()
    for unit in _units(items):
        if left <= limit:
            break
        going = [index for index in unit if not _is_kept(items[index])]
        dropped.update(going)
        left -= sum(sizes[index] for index in going)
    return [item for index, item in enumerate(items) if index not in dropped] if dropped else None


class _Fitting:
    """A request that becomes shorter with each refusal."""

    def __init__(self, request: CreateResponseRequest) -> None:
        self.request = request
        self._tries = 0

    def shorten(self, error: UpstreamRejected) -> bool:
        """Whether the request, now shorter, is worth another try."""
        self._tries += 1
        if self._tries > MOST_TRIES or not is_too_long(error):
            return False
        left = shortened(self.request.input.items.items, told_share(error.message))
        if left is None:
            return False
        self.request = copied(self.request, "input")
        self.request.input.items.items.extend(left)
        return True


def _units(items: Sequence[Item]) -> list[list[int]]:
    """What may go, in this order: the turns before the last one, then the steps of the last one but for its last step."""
    begins = [index for index, item in enumerate(items) if _is_from_user(item)]
    last = begins[-1] if begins else -1
    turns = _between([0, *begins[1:]], last) if last > 0 else []
    return [*turns, *_steps(items, last + 1)[:-1]]


def _between(begins: Sequence[int], end: int) -> list[list[int]]:
    ends = [*begins[1:], end]
    return [list(range(begin, after)) for begin, after in zip(begins, ends, strict=True) if begin < after]


def _steps(items: Sequence[Item], begin: int) -> list[list[int]]:
    """What the model did after its last question: each step a call or more, with all outputs, or a message."""
    steps: list[list[int]] = [[]]
    unanswered: set[str] = set()
    answered = False
    for index in range(begin, len(items)):
        call, output = _call_id(items[index]), _output_id(items[index])
        if answered and not output and not unanswered:
            steps.append([])
            answered = False
        steps[-1].append(index)
        if call:
            unanswered.add(call)
        if output:
            unanswered.discard(output)
            answered = True
    return steps


def _is_from_user(item: Item) -> bool:
    return item.HasField("message") and item.message.role == "user"


def _is_kept(item: Item) -> bool:
    return stays(item) and not _is_from_user(item)


def _call_id(item: Item) -> str:
    return item.function_call.call_id or item.custom_tool_call.call_id


def _output_id(item: Item) -> str:
    return item.function_call_output.call_id or item.custom_tool_call_output.call_id


def _size(item: Item) -> int:
    return sum(len(piece) if isinstance(piece, str) else piece * 4 for piece in item_pieces(item))
