"""The ids of items: one of ours for every item that comes without."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_item_pb2 import Item
from trivet.model_service.domain.identity import new_id

_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "mcp_list_tools": "mcpl",
    "mcp_call": "mcp",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
    "file_search_call": "fs",
    "web_search_call": "ws",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "computer_call": "cu",
    "computer_call_output": "cuo",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "apply_patch_call": "apc",
    "apply_patch_call_output": "apco",
    "tool_search_call": "tsc",
    "tool_search_output": "tso",
    "compaction": "cmp",
}

LONGEST: Final = 512
"""Characters of an id: with four bytes each it still fits into an index of PostgreSQL."""

_HAVE_ENDED: Final = frozenset({"message", "function_call", "function_call_output"})
"""Kinds of items that are listed with a status, which callers seldom give."""


def new_item_id(kind: str) -> str:
    """A fresh id for an item of this kind, which is the name of its field in `Item`."""
    return new_id(_PREFIXES.get(kind, "item"))


def item_id(item: Item) -> str:
    """The id of an item; "" if it has none."""
    kind = item.WhichOneof("kind")
    if kind == "unknown":
        return str(orjson.loads(item.unknown).get("id") or "")
    return str(getattr(item, kind).id) if kind else ""


def item_ids(items: Iterable[Item]) -> list[str]:
    """The ids of items by which they are found: all but those that are longer than `LONGEST`, which only an upstream gives."""
    return [name for name in map(item_id, items) if len(name) <= LONGEST]


def refuse_long_id(item: Item, place: str) -> None:
    """Raise InvalidRequest if the id of what a caller gave is longer than a store can look up; `place` is the item's."""
    if len(name := item_id(item)) > LONGEST:
        told = f"Invalid '{place}.id': expected a string of at most {LONGEST} characters, but got {len(name)}."
        raise InvalidRequest(told, f"{place}.id")


def set_item_id(item: Item, given: str) -> None:
    """Make `given` the id of an item."""
    kind = item.WhichOneof("kind")
    if kind == "unknown":
        item.unknown = orjson.dumps(orjson.loads(item.unknown) | {"id": given}).decode()
    elif kind:
        getattr(item, kind).id = given


def own(items: Iterable[Item]) -> list[Item]:
    """Copies of what a caller gave, as they are kept and listed.

    Each has an id and is `completed` where nothing else is said; the content of a message is a list of parts.
    """
    return [_own(item) for item in items]


def own_text(text: str) -> Item:
    """The message of a user who gave nothing but this text, likewise."""
    item = Item()
    message = item.message
    message.id, message.role, message.status = new_item_id("message"), "user", "completed"
    message.content.parts.parts.add().input_text.text = text
    return item


def _own(given: Item) -> Item:
    item = Item()
    item.CopyFrom(given)
    if not item_id(item):
        set_item_id(item, new_item_id(item.WhichOneof("kind") or ""))
    if item.HasField("message"):
        _list_parts(item.message)
    kind = item.WhichOneof("kind") or ""
    if kind in _HAVE_ENDED and not getattr(item, kind).HasField("status"):
        getattr(item, kind).status = "completed"
    return item


def _list_parts(message: Any) -> None:
    if message.content.WhichOneof("kind") != "text":
        return
    text = message.content.text
    part = message.content.parts.parts.add()
    if message.role == "assistant":
        part.output_text.text = text
    else:
        part.input_text.text = text
