"""How many tokens a request would bring to its model: as the provider counts them, or else estimated here."""

import asyncio

from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_context_pb2 import InputTokenCount
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import CountsTokens, Tokenizer
from trivet.model_service.domain.registry import Registry
from trivet.model_service.domain.turn import TurnRequest
from trivet.model_service.faces.native import NativeContext, is_native_responses
from trivet.model_service.faces.responses_request import parse
from trivet.model_service.responses.turns.compaction import opened
from trivet.model_service.responses.turns.estimate import estimate
from trivet.model_service.turns import ModelTurns


class InputTokens:
    """Counts for the models of a registry."""

    def __init__(self, registry: Registry, turns: ModelTurns, tokenizer: Tokenizer) -> None:
        self._registry = registry
        self._turns = turns
        self._tokenizer = tokenizer

    async def count(self, request: CreateResponseRequest) -> InputTokenCount:
        """The tokens of a request that has everything in it. Raises what `ModelTurns.create` raises."""
        request = opened(request)
        # Where several may serve it, the first one's count is as good as any.
        provider, model = self._registry.served(request.model)[0]
        await self._turns.vet(request)
        counted = await self._counted(provider.dialect, request, model)
        if counted is not None:
            return InputTokenCount(input_tokens=counted)
        # A long text takes a while, and the tokenizer lets others run meanwhile.
        return InputTokenCount(input_tokens=await asyncio.to_thread(estimate, request, self._tokenizer), estimated=True)

    async def _counted(self, dialect: object, request: CreateResponseRequest, model: str) -> int | None:
        if is_native_responses(dialect):
            return await dialect.count_input_tokens(request, model) if isinstance(dialect, NativeContext) else None
        if _has_mcp(request):
            # What the model would see of it is only known when the servers are asked.
            return None
        turn = parse(request, model, stream=False)
        return await _asked(dialect, turn) if isinstance(dialect, CountsTokens) else None


async def _asked(dialect: CountsTokens, turn: TurnRequest) -> int | None:
    try:
        return await dialect.count_tokens(turn)
    except ServiceError:
        # Counting is an extra of few servers of that API: what keeps one from it is no fault of the request.
        return None


def _has_mcp(request: CreateResponseRequest) -> bool:
    kinds = (item.WhichOneof("kind") or "" for item in request.input.items.items)
    return any(tool.HasField("mcp") for tool in request.tools) or any(kind.startswith("mcp_") for kind in kinds)
