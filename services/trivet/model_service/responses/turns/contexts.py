"""What is asked about the context of a response that is not made: how many tokens it has, and its shorter form."""

from trivet.model.v1.response_context_pb2 import (
    CompactedResponse,
    CompactResponseRequest,
    CountInputTokensRequest,
    InputTokenCount,
)
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.responses.plan import Planner, turn_request
from trivet.model_service.responses.turns.compaction import Compactor
from trivet.model_service.responses.turns.input_tokens import InputTokens


class Contexts:
    """Looks up what such requests go on from. Both ways raise what `Planner.plan` raises, and what asking the model does."""

    def __init__(self, planner: Planner, tokens: InputTokens, compactor: Compactor) -> None:
        self._planner = planner
        self._tokens = tokens
        self._compactor = compactor

    async def count(self, request: CountInputTokensRequest, owner: str) -> InputTokenCount:
        """How many tokens the request would bring to its model."""
        return await self._tokens.count(await self._whole(request, owner))

    async def compact(self, request: CompactResponseRequest, owner: str) -> CompactedResponse:
        """The shorter form of what the request has, and of what it goes on from."""
        return await self._compactor.compact(await self._whole(request, owner))

    async def _whole(self, request: CountInputTokensRequest | CompactResponseRequest, owner: str) -> CreateResponseRequest:
        # Their fields are those of that request, under the same numbers.
        asked = CreateResponseRequest.FromString(request.SerializeToString())
        return turn_request(await self._planner.plan(asked, owner))
