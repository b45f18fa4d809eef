"""The entries of a conversation as the messages of the Messages API: user and assistant in turn, made of blocks."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from orjson import Fragment

from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.domain.seals import is_seal, open_seal, seal
from trivet.model_service.domain.turn import (
    Audio,
    Entry,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)

Block = dict[str, Any]

DIALECT: Final = "anthropic"

_THINKING, _REDACTED = "thinking", "redacted"

_PDF: Final = "application/pdf"
_PDF_HEAD: Final = "JVBERi"
"""How every PDF begins in base64."""

_DATA_URL: Final = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]+)*;base64,(?P<data>.*)", re.DOTALL)
_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def sealed_signature(signature: str) -> str:
    """The seal of a thinking block's signature, "" where it has none."""
    return seal(DIALECT, _THINKING, signature) if signature else ""


def sealed_redacted(data: str) -> str:
    """The seal of a redacted thinking block."""
    return seal(DIALECT, _REDACTED, data)


def conversation(entries: Sequence[Entry]) -> tuple[list[Block], list[Block]]:
    """The system prompt and the messages.

    Instructions before everything else are the system prompt. Later ones stay in their place, where this API lets only user and
    assistant speak: they are marked as the system's in what the user says.

    Raises:
        UnsupportedParameter: an entry or a part that no block can hold.
    """
    system: list[Block] = []
    messages: list[Block] = []
    for entry in entries:
        if isinstance(entry, Message) and entry.name:
            raise UnsupportedParameter("This model's provider knows no names of who speaks.", f"{entry.param}.name")
        if isinstance(entry, Message) and entry.role in {"system", "developer"}:
            texts = list(_instructions(entry))
            if not messages:
                system += texts
                continue
            role, blocks = "user", [{**text, "text": f"<system>\n{text['text']}\n</system>"} for text in texts]
        else:
            role, blocks = _blocks(entry)
        if not blocks:
            continue
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        messages[-1]["content"] += blocks
    for message in messages:
        # What is said beside the results of tools has to follow them.
        message["content"].sort(key=lambda block: block["type"] != "tool_result")
    return system, messages


def _instructions(entry: Message) -> Iterator[Block]:
    for index, part in enumerate(entry.parts):
        if not isinstance(part, Text):
            raise UnsupportedParameter("This model's provider takes instructions as text.", f"{entry.param}.content[{index}]")
        if part.text:
            yield _text(part.text)


def _blocks(entry: Entry) -> tuple[str, list[Block]]:
    match entry:
        case ToolResult():
            return "user", [_result(entry)]
        case ToolCall():
            return "assistant", [_call(entry)]
        case Reasoning():
            return "assistant", list(_thought(entry))
        case Message(role="assistant"):
            return "assistant", list(_parts(entry.parts, entry.param))
        case _:
            return "user", list(_parts(entry.parts, entry.param))


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


# ---- what the model thought and called ------------------------------------------------------------------------------


def _thought(entry: Reasoning) -> Iterator[Block]:
    """A thought that this API has signed; it takes no other, so those of other providers are passed over."""
    match open_seal(entry.encrypted, DIALECT):
        case (kind, data) if kind == _REDACTED:
            yield {"type": "redacted_thinking", "data": data}
        case (_, signature):
            yield {"type": "thinking", "thinking": entry.text, "signature": signature}
        case None:
            if entry.encrypted and not is_seal(entry.encrypted) and not (entry.text or entry.summary):
                raise UnsupportedParameter("This model's provider cannot read this encrypted reasoning.", entry.param)


def _call(entry: ToolCall) -> Block:
    if entry.kind == "custom":
        raise UnsupportedParameter("This model's provider has no tools that take free text.", entry.param)
    return {"type": "tool_use", "id": _id(entry.id), "name": entry.name, "input": _input(entry.arguments)}


def _input(arguments: str) -> Any:
    """The arguments, which have to be an object; those that a model got wrong are told as what they are."""
    try:
        is_object = isinstance(orjson.loads(arguments or "{}"), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return Fragment(arguments or "{}") if is_object else {"INVALID_JSON": arguments}


def _id(call_id: str) -> str:
    """The id of a call in the letters that this API allows; other providers have used others."""
    return _NOT_IN_AN_ID.sub("_", call_id)


def _result(entry: ToolResult) -> Block:
    if entry.kind == "custom":
        raise UnsupportedParameter("This model's provider has no tools that take free text.", entry.param)
    result: Block = {"type": "tool_result", "tool_use_id": _id(entry.call_id)}
    blocks = list(_parts(entry.parts, entry.param, each=False))
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return result | {"content": blocks[0]["text"]}
    return result | ({"content": blocks} if blocks else {})


# ---- parts ---------------------------------------------------------------------------------------------------------


def _parts(parts: Sequence[Part], param: str, *, each: bool = True) -> Iterator[Block]:
    """The blocks of parts; `each`: the parts have paths of their own. Empty texts, which this API refuses, say nothing."""
    for index, part in enumerate(parts):
        where = f"{param}.content[{index}]" if each else param
        match part:
            case Text(text) | Refusal(text):
                if text:
                    yield _text(text)
            case Image():
                yield _image(part, where)
            case File():
                yield _file(part, where)
            case Audio():
                raise UnsupportedParameter("This model's provider takes no audio.", where)


def _image(part: Image, where: str) -> Block:
    if part.file_id:
        return {"type": "image", "source": {"type": "file", "file_id": part.file_id}}
    if not part.url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    media_type, data = _inline(part.url, where)
    return {"type": "image", "source": _encoded(media_type, data)}


def _file(part: File, where: str) -> Block:
    title = {"title": part.filename} if part.filename else {}
    if part.file_id:
        return {"type": "document", "source": {"type": "file", "file_id": part.file_id}, **title}
    if part.url:
        return {"type": "document", "source": {"type": "url", "url": part.url}, **title}
    media_type, data = _inline(part.data, where) if part.data.startswith("data:") else ("", part.data)
    media_type = media_type or (_PDF if data.startswith(_PDF_HEAD) else mimetypes.guess_type(part.filename)[0] or "")
    if media_type == _PDF:
        return {"type": "document", "source": _encoded(_PDF, data), **title}
    if media_type.startswith("image/"):
        return {"type": "image", "source": _encoded(media_type, data)}
    if media_type.startswith("text/") or media_type == "application/json":
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(data, where)}
        return {"type": "document", "source": source, **title}
    raise UnsupportedParameter("This model's provider takes files that are PDF, plain text or an image.", where)


def _encoded(media_type: str, data: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": data}


def _inline(url: str, where: str) -> tuple[str, str]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise UnsupportedParameter("This model's provider takes data URLs in base64: `data:image/png;base64,...`.", where)
    return found["type"], found["data"]


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnsupportedParameter("A file of plain text has to be UTF-8 in base64.", where) from error
