"""The conversation of a turn as Gemini's contents: what user and model said, in parts."""

import mimetypes
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from orjson import Fragment

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.domain.seals import open_seal
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

DIALECT: Final = "gemini"
"""Whose seals the signatures of Gemini's thoughts are."""

CALL: Final = "call"
TEXT: Final = "text"
"""The kinds of those seals: a signature belongs to a call or to a text."""

CUSTOM_INPUT: Final = "input"
"""The one parameter of the function that a tool with free text input is to Gemini."""

MADE_ID: Final = "call_"
"""How the ids of calls begin that Gemini gave none; so do those of other providers, and neither are told to it."""

_FILES: Final = "https://generativelanguage.googleapis.com/v1beta/"
_FILE_ID: Final = re.compile(r"files/[\w-]+")

_UNSIGNED: Final = "skip_thought_signature_validator"
"""What Google has for calls that another model made: from Gemini 3 on, a call without a signature is refused."""

Json = dict[str, Any]


class Contents:
    """The contents that a conversation is, and the instructions that it begins with.

    `signed`: the model wants a signature with the first call of each of its turns. Entries raise UnsupportedParameter for
    what the API cannot express, and InvalidRequest for what is not as it should be.
    """

    def __init__(self, conversation: Iterable[Entry], *, signed: bool) -> None:
        self.system: list[Json] = []
        self.contents: list[Json] = []
        self._signed = signed
        self._names: dict[str, str] = {}
        self._signatures: dict[str, deque[str]] = {CALL: deque(), TEXT: deque()}
        for entry in conversation:
            self._add(entry)
        self._end_model_turn()

    def _add(self, entry: Entry) -> None:
        match entry:
            case Reasoning():
                kind, signature = open_seal(entry.encrypted, DIALECT) or ("", "")
                if kind in self._signatures:
                    self._signatures[kind].append(signature)
            case ToolCall():
                self._call(entry)
            case Message(role="assistant"):
                _refuse_name(entry)
                self._said(entry)
            case Message(role="user"):
                _refuse_name(entry)
                self._end_model_turn()
                self._extend("user", [media_part(part, where) for part, where in _placed(entry)])
            case Message():
                _refuse_name(entry)
                self._instruct([_instruction(part, where) for part, where in _placed(entry)])
            case ToolResult():
                self._end_model_turn()
                self._extend("user", [{"functionResponse": self._response(entry)}])

    def _instruct(self, texts: list[str]) -> None:
        """Instructions that come later have no place of their own in this API: the user says them, marked, where they stand."""
        if not self.contents:
            self.system += [{"text": text} for text in texts]
            return
        self._end_model_turn()
        self._extend("user", [{"text": f"<system>\n{text}\n</system>"} for text in texts])

    def _extend(self, role: str, parts: list[Json]) -> None:
        """Adds to the last content, or begins the next one; results are in one of their own, as many as there are calls."""
        if not parts:
            return
        last = self.contents[-1] if self.contents else None
        if last and last["role"] == role and _are_results(last["parts"]) == _are_results(parts):
            last["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    # ---- what the model said -------------------------------------------------------------------------------------

    def _said(self, entry: Message) -> None:
        parts = [media_part(part, where) for part, where in _placed(entry)]
        # Next to calls, an answer without a text is often one with an empty one, which Gemini does not take.
        parts = [part for part in parts if part.get("text") != ""]
        if parts and self._signatures[TEXT]:
            parts[0]["thoughtSignature"] = self._signatures[TEXT].popleft()
        self._extend("model", parts)

    def _call(self, entry: ToolCall) -> None:
        self._end_text()
        self._names[entry.id] = entry.name
        call: Json = {"functionCall": _id_of(entry.id) | {"name": entry.name, "args": _arguments(entry)}}
        if self._signatures[CALL]:
            call["thoughtSignature"] = self._signatures[CALL].popleft()
        elif self._signed and not self._calls_already():
            call["thoughtSignature"] = _UNSIGNED
        self._extend("model", [call])

    def _calls_already(self) -> bool:
        last = self.contents[-1] if self.contents else {"role": "user"}
        return last["role"] == "model" and any("functionCall" in part for part in last["parts"])

    def _end_model_turn(self) -> None:
        self._end_text()
        self._signatures[CALL].clear()

    def _end_text(self) -> None:
        """A signature that came after its text goes back as it came: in a part without text."""
        while self._signatures[TEXT]:
            self._extend("model", [{"text": "", "thoughtSignature": self._signatures[TEXT].popleft()}])

    # ---- what tools said -----------------------------------------------------------------------------------------

    def _response(self, entry: ToolResult) -> Json:
        if entry.call_id not in self._names:
            raise InvalidRequest("There is no call before this that it is the result of.", entry.param)
        texts = [part.text for part in entry.parts if isinstance(part, Text | Refusal)]
        media = [_inline(part, entry.param) for part in entry.parts if not isinstance(part, Text | Refusal)]
        response: Json = _id_of(entry.call_id) | {
            "name": self._names[entry.call_id],
            "response": {"output": "".join(texts)},
        }
        return response | ({"parts": media} if media else {})


def media_part(part: Part, where: str) -> Json:
    """A part of what was said. `where` is its path in the caller's request."""
    match part:
        case Text() | Refusal():
            return {"text": part.text}
        case Audio():
            return _blob(f"audio/{part.format}", part.data)
        case Image():
            return _file(_only(where, url=part.url, file_id=part.file_id), where)
        case File():
            source = _only(where, data=part.data, url=part.url, file_id=part.file_id)
            if part.data and not part.data.startswith("data:"):
                return _blob(_type_of(part.filename, where), part.data)
            return _file(source, where)


def _inline(part: Part, where: str) -> Json:
    """A part of a tool's result, which Gemini takes only with its bytes."""
    found = media_part(part, where)
    if "inlineData" not in found:
        raise UnsupportedParameter("This model's provider takes what tools return only inline, not by URL or id.", where)
    return found


def _only(where: str, *, data: str = "", url: str = "", file_id: str = "") -> str:
    """The one source that is given; an id of a file as its URL."""
    given = [source for source in (data, url, file_id) if source]
    if len(given) != 1:
        raise InvalidRequest("An image or a file is given by one of its data, a URL and an id.", where)
    if file_id and not _FILE_ID.fullmatch(file_id):
        raise UnsupportedParameter("This model's provider names its files as in `files/abc-123`.", where)
    return f"{_FILES}{file_id}" if file_id else given[0]


def _file(url: str, where: str) -> Json:
    if url[:5].lower() != "data:":
        kind = mimetypes.guess_type(urlsplit(url).path)[0]
        return {"fileData": ({"mimeType": kind} if kind else {}) | {"fileUri": url}}
    head, _, data = url[5:].partition(",")
    kind, *_ = head.split(";")
    if not kind or not head.endswith(";base64"):
        raise InvalidRequest("A data URL begins with its type and `;base64,`.", where)
    return _blob(kind, data)


def _type_of(filename: str, where: str) -> str:
    kind = mimetypes.guess_type(filename)[0]
    if kind is None:
        raise InvalidRequest("A file needs its type: in a data URL, or by the ending of its name.", where)
    return kind


def _blob(kind: str, data: str) -> Json:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _instruction(part: Part, where: str) -> str:
    if not isinstance(part, Text):
        raise UnsupportedParameter("This model's provider takes instructions as text.", where)
    return part.text


def _placed(entry: Message) -> Iterator[tuple[Part, str]]:
    return ((part, f"{entry.param}.content[{index}]") for index, part in enumerate(entry.parts))


def _refuse_name(entry: Message) -> None:
    if entry.name:
        raise UnsupportedParameter("This model's provider takes no names of participants.", f"{entry.param}.name")


def _arguments(entry: ToolCall) -> Any:
    """What the tool was called with, which has to be an object; what a model got wrong is told as what it is."""
    if entry.kind == "custom":
        return {CUSTOM_INPUT: entry.arguments}
    try:
        is_object = isinstance(orjson.loads(entry.arguments or "{}"), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return Fragment(entry.arguments or "{}") if is_object else {"INVALID_JSON": entry.arguments}


def _id_of(call_id: str) -> Json:
    return {} if call_id.startswith(MADE_ID) else {"id": call_id}


def _are_results(parts: list[Json]) -> bool:
    return "functionResponse" in parts[0]
