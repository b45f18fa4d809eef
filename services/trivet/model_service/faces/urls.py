"""The URLs of strangers in a request: an upstream that fetches them may stand where only it can reach them from."""

from collections.abc import Iterable, Iterator
from typing import Final

from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.model.v1.response_content_pb2 import ContentPart
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

_CONTENT: Final = {"message": "content", "function_call_output": "output", "custom_tool_call_output": "output"}
"""The kinds of items that hold parts -> the field that does."""


def chat_urls(request: CreateChatCompletionRequest) -> Iterator[tuple[str, str]]:
    """Each URL in `request` that its provider would fetch, and the path of its field."""
    for index, message in enumerate(request.messages):
        for place, part in enumerate(message.user.content.parts.parts):
            url = part.image.image_url.url
            if _is_fetched(url):
                yield url, f"messages[{index}].content[{place}].image_url.url"


def response_urls(request: CreateResponseRequest) -> Iterator[tuple[str, str]]:
    """Each URL in `request` that its provider would fetch, and the path of its field."""
    for index, item in enumerate(request.input.items.items):
        for field, parts in _parts(item):
            for place, part in enumerate(parts):
                where = f"input[{index}].{field}[{place}]"
                if _is_fetched(part.input_image.image_url):
                    yield part.input_image.image_url, f"{where}.image_url"
                if _is_fetched(part.input_file.file_url):
                    yield part.input_file.file_url, f"{where}.file_url"


def _parts(item: Item) -> Iterator[tuple[str, Iterable[ContentPart]]]:
    kind = item.WhichOneof("kind")
    if kind == "computer_call_output":
        yield "output", [item.computer_call_output.output]
    elif field := _CONTENT.get(kind or ""):
        yield field, getattr(getattr(item, kind or ""), field).parts.parts


def _is_fetched(url: str) -> bool:
    return url[:5].lower() not in {"", "data:"}
