"""`context_management`: a conversation that has grown beyond a threshold is compacted before the model goes on with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from trivet.kernel.codec.runs import without_runs
from trivet.kernel.errors import InvalidRequest, ServiceError, UnsupportedParameter
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import Tokenizer
from trivet.model_service.domain.registry import Registry
from trivet.model_service.responses.assembly import Assembly, TurnSplice
from trivet.model_service.responses.turns.asking import Asking, again, copied
from trivet.model_service.responses.turns.compaction import (
    Compactor,
    compaction_of,
    has_compactions,
    input_items,
    open_compactions,
    opened,
    stays,
    with_items,
)
from trivet.model_service.responses.turns.estimate import estimate, estimate_items
from trivet.model_service.turns import serving_of

_LEAST_SHARE = 4
"""A compaction that would not rid a conversation of at least one part in four is not worth its cost."""


class CompactedTurns:
    """Compacts where a request asks for it, and opens compactions of ours; see `ModelTurns` for the methods.

    The compaction is the first item of the response, and stands for what came before it in every later request. Providers
    of the Responses API are asked to do it themselves.
    """

    def __init__(self, asking: Asking, registry: Registry, compactor: Compactor, tokenizer: Tokenizer) -> None:
        self._asking = asking
        self._registry = registry
        self._compactor = compactor
        self._tokenizer = tokenizer

    def concerns(self, request: CreateResponseRequest, told: Response) -> bool:
        return bool(request.context_management) or has_compactions(request)

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        request = opened(request)
        threshold = self._threshold(request)
        if threshold is None:
            return await self._asking.create(request, told)
        request = copied(request, "context_management")
        if not await self._is_due(request, threshold):
            return await self._asking.create(request, told)
        summary, made = await self._compactor.summarize(request)
        compaction = compaction_of(summary)
        response = await self._asking.create(_after(request, compaction), told)
        response.output.insert(0, compaction)
        Assembly(response).add_usage(made.usage)
        return response

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        request = opened(request)
        threshold = self._threshold(request)
        if threshold is None:
            return self._asking.stream(request, told)
        return self._stream(copied(request, "context_management"), told, threshold)

    async def _stream(self, request: CreateResponseRequest, told: Response, threshold: int) -> AsyncGenerator[ResponseEventBatch]:
        due = await self._is_due(request, threshold)
        batches = self._compacted(request, told) if due else self._asking.stream(request, told)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def _compacted(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        fresh = again(told)
        assembly = Assembly(told)
        yield ResponseEventBatch(events=assembly.begin())
        try:
            summary, made = await self._compactor.summarize(request)
            compaction = compaction_of(summary)
            index, added = assembly.open(compaction)
            yield ResponseEventBatch(events=[added, assembly.done(index, compaction)])
            assembly.add_usage(made.usage)
            splice = TurnSplice(assembly)
            async with aclosing(self._asking.stream(_after(request, compaction), fresh)) as batches:
                async for batch in batches:
                    if events := [*splice.pass_on(without_runs(batch, "events").events), *_end(assembly, splice)]:
                        yield ResponseEventBatch(events=events)
        except ServiceError as error:
            yield ResponseEventBatch(events=assembly.fail(error))

    def _threshold(self, request: CreateResponseRequest) -> int | None:
        """From how many tokens on the conversation is compacted here; None for never."""
        if not request.context_management or self._registry.find(request.model).known(serving_of).native.alone:
            return None
        wanted = request.context_management[0]
        if wanted.type != "compaction" or len(request.context_management) > 1:
            where = "context_management[0].type" if wanted.type != "compaction" else "context_management[1]"
            raise UnsupportedParameter("This model's provider can manage a context by one 'compaction' alone.", where)
        if not wanted.HasField("compact_threshold"):
            where = "context_management[0].compact_threshold"
            raise InvalidRequest(f"Missing required parameter: '{where}'.", where)
        return wanted.compact_threshold

    async def _is_due(self, request: CreateResponseRequest, threshold: int) -> bool:
        # A long text takes a while, and the tokenizer lets others run meanwhile.
        return await asyncio.to_thread(self._is_longer, request, threshold)

    def _is_longer(self, request: CreateResponseRequest, threshold: int) -> bool:
        whole = estimate(request, self._tokenizer)
        if whole <= threshold:
            return False
        going = (item for item in input_items(request) if not stays(item))
        return estimate_items(going, self._tokenizer, request.model) * _LEAST_SHARE >= whole


def _after(request: CreateResponseRequest, compaction: Item) -> CreateResponseRequest:
    """The request with a conversation that ends in its compaction."""
    return with_items(request, open_compactions([*input_items(request), compaction]))


def _end(assembly: Assembly, splice: TurnSplice) -> list[ResponseEvent]:
    turn = splice.response
    if turn is None or assembly.ended:
        return []
    assembly.add_usage(turn.usage)
    if turn.HasField("service_tier"):
        assembly.response.service_tier = turn.service_tier
    return assembly.end(turn)
