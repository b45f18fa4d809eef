"""A conversation made shorter: the user's messages stay, and one item stands for all the rest.

A provider that has this itself is asked for it, and alone can read the item. For every other model the item is ours: the model
is asked for a summary, and a later request with the item brings the summary to whichever model it is for. What the item holds
is no secret: it is a summary of what its holder said and was told, and counts for no more than a message of the user.
"""

import base64
import binascii
import time
from collections.abc import Iterable, Sequence
from typing import Final

from trivet.kernel.errors import InvalidRequest, UpstreamFailed
from trivet.model.v1.response_context_pb2 import CompactedResponse
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Registry
from trivet.model_service.faces.native import NativeContext
from trivet.model_service.faces.responses_echo import begin, new_response_id
from trivet.model_service.responses.item_ids import new_item_id, own
from trivet.model_service.responses.turns.asking import copied
from trivet.model_service.routing.router import Router, Target
from trivet.model_service.turns import ModelTurns, serving_of

_MARK: Final = "trivet-1."
"""What the content of a compaction of ours begins with."""

_PREAMBLE: Final = "Here is a summary of our conversation so far; what it leaves out is gone:\n\n"

_ASK: Final = (
    "Stop here and summarize our conversation for someone who takes it over and sees nothing else of it but my own messages. "
    "Keep what was asked for, what was decided and why, what was done and found out (names, numbers, paths, identifiers and "
    "results of tools word for word where they may be needed again), what went wrong, and what is left to do. "
    "Answer with the summary alone."
)

_STAYING: Final = frozenset({"additional_tools", "configuration_update"})
"""Items that say nothing themselves, but hold for all that follows."""

_OFFERED: Final = frozenset({"function", "custom", "namespace"})


def compaction_of(summary: str) -> Item:
    """An item of ours that stands for what `summary` says."""
    item = Item()
    item.compaction.id = new_item_id("compaction")
    item.compaction.encrypted_content = _MARK + base64.urlsafe_b64encode(summary.encode()).decode()
    return item


def is_ours(item: Item) -> bool:
    """Whether an item is a compaction that was made here."""
    return item.HasField("compaction") and item.compaction.encrypted_content.startswith(_MARK)


def stays(item: Item) -> bool:
    """Whether an item is left as it is when what is before a compaction is made shorter."""
    return (item.HasField("message") and item.message.role != "assistant") or item.WhichOneof("kind") in _STAYING


def open_compactions(items: Sequence[Item], param: str = "input") -> list[Item]:
    """The items as a model is to read them: the last compaction of ours is a message, and what it stands for is left out.

    Raises:
        InvalidRequest: its content is damaged; `param` is where the items came from.
    """
    last = max((index for index, item in enumerate(items) if is_ours(item)), default=None)
    if last is None:
        return list(items)
    message = Item()
    message.message.role = "user"
    message.message.content.parts.parts.add().input_text.text = _PREAMBLE + _summary_in(items[last], f"{param}[{last}]")
    return [*filter(stays, items[:last]), message, *items[last + 1 :]]


def has_compactions(request: CreateResponseRequest) -> bool:
    """Whether there is a compaction of ours in the input of a request."""
    for item in request.input.items.items:  # noqa: SIM110 - a generator costs more than what is asked here
        if item.HasField("compaction") and is_ours(item):
            return True
    return False


def opened(request: CreateResponseRequest) -> CreateResponseRequest:
    """The request with its compactions opened; the same one where it has none of ours. Raises InvalidRequest."""
    return with_items(request, open_compactions(request.input.items.items)) if has_compactions(request) else request


def with_items(request: CreateResponseRequest, items: Iterable[Item]) -> CreateResponseRequest:
    """A copy of a request that has these items as its input."""
    copy = copied(request, "input")
    copy.input.items.items.extend(items)
    return copy


def input_items(request: CreateResponseRequest) -> list[Item]:
    """The input of a request as items."""
    if request.input.WhichOneof("kind") == "text":
        item = Item()
        item.message.role = "user"
        item.message.content.text = request.input.text
        return [item]
    return list(request.input.items.items)


class Compactor:
    """Makes conversations with the models of a registry shorter."""

    def __init__(self, registry: Registry, router: Router, turns: ModelTurns) -> None:
        self._registry = registry
        self._router = router
        self._turns = turns

    async def compact(self, request: CreateResponseRequest) -> CompactedResponse:
        """The shorter form of a conversation that is all in `request`. Raises what `ModelTurns.create` raises."""
        items = input_items(request)
        if not items:
            raise InvalidRequest("Missing required parameter: 'input'.", "input")
        compacted = await self._by_provider(request)
        if compacted is not None:
            compacted.id = new_response_id()
            return compacted
        summary, response = await self.summarize(request)
        kept = [item for item in items if item.HasField("message") and item.message.role == "user"]
        made = CompactedResponse(id=response.id, created_at=int(time.time()), usage=response.usage)
        made.output.extend([*own(kept), compaction_of(summary)])
        # Clients of the contract want the counts, though a provider may tell none.
        made.usage.SetInParent()
        return made

    async def summarize(self, request: CreateResponseRequest) -> tuple[str, Response]:
        """What the model says of the conversation, and the response in which it does."""
        asked = _summary_request(request)
        response = await self._turns.create(asked, begin(asked, self._turns.serving(request.model).provider))
        if response.status == "failed":
            raise UpstreamFailed(response.error.message)
        summary = text_of(response.output).strip()
        if not summary:
            raise UpstreamFailed("The model gave no summary of the conversation.")
        return summary, response

    async def _by_provider(self, request: CreateResponseRequest) -> CompactedResponse | None:
        """The form that the provider makes; None where it has none, or another provider may have to read it."""
        if not self._registry.find(request.model).known(serving_of).native.alone:
            return None
        await self._turns.vet(request)
        asked = opened(request)

        async def asking(target: Target) -> CompactedResponse | None:
            dialect = target.provider.dialect
            return await dialect.compact_response(asked, target.model) if isinstance(dialect, NativeContext) else None

        return await self._router.ask("responses.compact", request.model, asking)


def text_of(output: Iterable[Item]) -> str:
    """The text of the messages in an output."""
    return "".join(part.output_text.text for item in output for part in item.message.content.parts.parts)


def _summary_request(request: CreateResponseRequest) -> CreateResponseRequest:
    asked = CreateResponseRequest(model=request.model, store=False, truncation="auto")
    for name in ("instructions", "prompt_cache_key", "service_tier", "user", "safety_identifier"):
        if request.HasField(name):
            setattr(asked, name, getattr(request, name))
    question = Item()
    question.message.role = "user"
    question.message.content.text = _ASK
    asked.input.items.items.extend([*open_compactions(input_items(request)), question])
    # Some providers take no calls in a conversation without the tools that they were calls of.
    asked.tools.extend(tool for tool in request.tools if tool.WhichOneof("tool") in _OFFERED)
    if asked.tools:
        asked.tool_choice.mode = "none"
    return asked


def _summary_in(item: Item, param: str) -> str:
    try:
        data = item.compaction.encrypted_content.removeprefix(_MARK)
        return base64.b64decode(data, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"Invalid '{param}': its 'encrypted_content' is damaged.", f"{param}.encrypted_content") from error
