"""About how many tokens a request would bring to its model, told by what is in it."""

from collections.abc import Iterable, Iterator
from typing import Final

from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_content_pb2 import ContentPart, MessageContent
from trivet.model.v1.response_item_pb2 import Item, ReasoningItem
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model.v1.response_tool_pb2 import Tool
from trivet.model_service.domain.ports import Tokenizer

FRAME_TOKENS: Final = 4
"""What a message takes besides its text."""

TOOL_TOKENS: Final = 8
"""What a tool takes besides its name, its description and its schema."""

LOW_IMAGE_TOKENS: Final = 85
IMAGE_TOKENS: Final = 765
FILE_TOKENS: Final = 1500
AUDIO_TOKENS: Final = 500
VIDEO_TOKENS: Final = 2000
"""What is taken for content that is not text, whatever its size: only the provider knows what it makes of it."""

_FLAT: Final = {
    "input_image": IMAGE_TOKENS,
    "computer_screenshot": IMAGE_TOKENS,
    "input_file": FILE_TOKENS,
    "input_audio": AUDIO_TOKENS,
    "input_video": VIDEO_TOKENS,
}

_SILENT: Final = frozenset({"compaction", "compaction_trigger", "item_reference", "configuration_update", None})
"""Items that only their provider can tell the size of, or that a model never sees."""

Pieces = Iterator[str | int]
"""Texts, and numbers of tokens."""


def estimate(request: CreateResponseRequest, tokenizer: Tokenizer) -> int:
    """About how many tokens a request that has everything in it brings to its model."""
    return _sum(request_pieces(request), tokenizer, request.model)


def estimate_items(items: Iterable[Item], tokenizer: Tokenizer, model: str) -> int:
    """About how many tokens these items are to `model`."""
    return _sum((piece for item in items for piece in item_pieces(item)), tokenizer, model)


def request_pieces(request: CreateResponseRequest) -> Pieces:
    """What a request brings to its model."""
    if request.instructions:
        yield FRAME_TOKENS
        yield request.instructions
    if request.input.WhichOneof("kind") == "text":
        yield FRAME_TOKENS
        yield request.input.text
    for item in request.input.items.items:
        yield from item_pieces(item)
    for tool in request.tools:
        yield from _tool(tool)
    if request.text.format.HasField("json_schema"):
        yield request.text.format.json_schema.schema


def item_pieces(item: Item) -> Pieces:
    """What an item brings to a model."""
    kind = item.WhichOneof("kind")
    if kind in _SILENT:
        return
    yield FRAME_TOKENS
    match kind:
        case "message":
            yield from _content(item.message.content)
        case "reasoning":
            yield from _reasoning(item.reasoning)
        case "function_call":
            yield from (item.function_call.name, item.function_call.arguments)
        case "custom_tool_call":
            yield from (item.custom_tool_call.name, item.custom_tool_call.input)
        case "function_call_output":
            yield from _content(item.function_call_output.output)
        case "custom_tool_call_output":
            yield from _content(item.custom_tool_call_output.output)
        case _:
            yield codec_for(Item).dumps(item).decode()


def _content(content: MessageContent) -> Pieces:
    if content.WhichOneof("kind") == "text":
        yield content.text
    for part in content.parts.parts:
        yield from _part(part)


def _reasoning(item: ReasoningItem) -> Pieces:
    for part in item.content or item.summary:
        yield from _part(part)


def _part(part: ContentPart) -> Pieces:
    match part.WhichOneof("kind"):
        case "input_image" if part.input_image.detail == "low":
            yield LOW_IMAGE_TOKENS
        case kind if kind in _FLAT:
            yield _FLAT[kind]
        case "refusal":
            yield part.refusal.refusal
        case "unknown":
            yield part.unknown
        case str() as kind:
            yield getattr(part, kind).text


def _tool(tool: Tool) -> Pieces:
    yield TOOL_TOKENS
    match tool.WhichOneof("tool"):
        case "function":
            yield from (tool.function.name, tool.function.description, tool.function.parameters)
        case "namespace":
            yield tool.namespace.description
            for inner in tool.namespace.tools:
                yield from _tool(inner)
        case _:
            yield codec_for(Tool).dumps(tool).decode()


def _sum(pieces: Pieces, tokenizer: Tokenizer, model: str) -> int:
    found = list(pieces)
    upstream_model = model.partition("/")[2] or model
    texts = [piece for piece in found if isinstance(piece, str)]
    return sum(piece for piece in found if isinstance(piece, int)) + tokenizer.count(texts, upstream_model)
