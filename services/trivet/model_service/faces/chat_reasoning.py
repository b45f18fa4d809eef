"""Reasoning that a model wants back, as chat messages carry it: `reasoning_details`, a term of the field.

`reasoning_content` is for people. A detail is for the model: a text with its signature, or what only its provider can read.
One that has an `id` stood directly before the tool call of that id; all others stood before what the message says.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from trivet.content.v1.chat_message_pb2 import AssistantMessage
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.domain.seals import dialect_of, is_seal
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextRun,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
)


class ReasoningDetails:
    """Gathers the details of one turn; each is told when it is known what it stands before."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._waiting: list[tuple[str, str]] = []
        self._told = 0

    def told_by(self, event: TurnEvent) -> list[str]:
        """The details, as JSON, that stand directly before this event."""
        match event:
            case ReasoningDelta(text, None):
                self._text.append(text)
            case ReasoningEnded(encrypted):
                if encrypted:
                    self._waiting.append(("".join(self._text), encrypted))
                self._text.clear()
            case ToolCallStarted():
                return self._tell(event.id)
            case TextDelta() | TextRun() | RefusalDelta() | AnnotationAdded() | TurnFinished():
                return self._tell("")
        return []

    def _tell(self, call_id: str) -> list[str]:
        found = [self._detail(text, encrypted, call_id) for text, encrypted in self._waiting]
        self._waiting.clear()
        return found

    def _detail(self, text: str, encrypted: str, call_id: str) -> str:
        detail: dict[str, Any] = {"type": "reasoning.text", "text": text, "signature": encrypted}
        if not text:
            detail = {"type": "reasoning.encrypted", "data": encrypted}
        if call_id:
            detail["id"] = call_id
        if dialect := dialect_of(encrypted):
            detail["format"] = dialect
        detail["index"] = self._told
        self._told += 1
        return orjson.dumps(detail).decode()


def read_reasoning(message: AssistantMessage, where: str) -> Iterator[tuple[str, Reasoning]]:
    """What a message of an earlier turn thought, each with the id of the tool call that it belongs to, or "".

    Raises:
        UnsupportedParameter: a detail of another form.
    """
    details = [_read(raw, f"{where}.reasoning_details[{index}]") for index, raw in enumerate(message.reasoning_details)]
    if message.reasoning_content and not any(thought.text for _, thought in details):
        yield "", Reasoning(text=message.reasoning_content, param=where)
    yield from details


def without_seals(request: CreateChatCompletionRequest) -> CreateChatCompletionRequest:
    """The request without what a dialect of this gateway has sealed: no server that speaks chat completions can open it."""
    # A copy of the list: to iterate over what protobuf has instead is slower than to make it.
    for message in request.messages[:]:
        if message.HasField("assistant") and any(map(_is_sealed, message.assistant.reasoning_details)):
            break
    else:
        return request
    copy = CreateChatCompletionRequest()
    copy.CopyFrom(request)
    for message in copy.messages:
        if message.HasField("assistant"):
            kept = [raw for raw in message.assistant.reasoning_details if not _is_sealed(raw)]
            message.assistant.reasoning_details[:] = kept
    return copy


def _is_sealed(raw: str) -> bool:
    detail = orjson.loads(raw)
    return isinstance(detail, dict) and any(is_seal(_text(detail.get(key))) for key in ("signature", "data"))


def _read(raw: str, param: str) -> tuple[str, Reasoning]:
    match orjson.loads(raw):
        case {"type": "reasoning.text", "text": str(text), **rest}:
            found = Reasoning(text=text, encrypted=_text(rest.get("signature")), param=param)
        case {"type": "reasoning.summary", "summary": str(summary), **rest}:
            found = Reasoning(summary=(summary,), param=param)
        case {"type": "reasoning.encrypted", "data": str(data), **rest}:
            found = Reasoning(encrypted=data, param=param)
        case _:
            raise UnsupportedParameter(f"This model's provider takes no reasoning such as `{param}`.", param)
    return _text(rest.get("id")), found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
