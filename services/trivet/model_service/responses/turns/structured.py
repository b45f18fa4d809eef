"""Structured output, held to what was asked for: not every provider that takes a `text.format` keeps to it.

A text that is asked for as `json_object` or `json_schema` has to be JSON, and with `strict` it has to follow the schema. A
response whose last word does not is `failed`: it keeps its output, and its error says what is wrong. Nothing is held back of a
stream, and nothing is looked at where no format is asked for.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING

import orjson

from trivet.kernel.errors import UpstreamFailed
from trivet.model.v1.response_config_pb2 import TextFormat
from trivet.model.v1.response_event_pb2 import ResponseEvent, ResponseEventBatch
from trivet.model.v1.response_item_pb2 import Item, Message
from trivet.model.v1.response_pb2 import Response
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.faces.responses_failure import failed_event, failure_events
from trivet.model_service.responses.turns.asking import Asking

if TYPE_CHECKING:
    from trivet.model_service.responses.turns.json_schema import Schema

_FORMATS = frozenset({"json_object", "json_schema"})


class CheckedTurns:
    """Makes a response failed whose text is not in the form asked for; see `ModelTurns` for the methods.

    Raises InvalidRequest besides, for a strict schema that is none.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def concerns(self, request: CreateResponseRequest, told: Response) -> bool:
        return _asks_for_form(request)

    async def create(self, request: CreateResponseRequest, told: Response) -> Response:
        check = await _check_for(request.text.format) if _asks_for_form(request) else None
        response = await self._asking.create(request, told)
        if check and (fault := check.fault(response)):
            failed_event(_unended(response), UpstreamFailed(fault), count())
        return response

    def stream(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        return self._checked(request, told) if _asks_for_form(request) else self._asking.stream(request, told)

    async def _checked(self, request: CreateResponseRequest, told: Response) -> AsyncGenerator[ResponseEventBatch]:
        check = await _check_for(request.text.format)
        async with aclosing(self._asking.stream(request, told)) as batches:
            async for batch in batches:
                last = batch.events[-1] if batch.events else ResponseEvent()
                if last.HasField("completed") and (fault := check.fault(last.completed.response)):
                    yield ResponseEventBatch(events=[*batch.events[:-1], *_failure(last, fault)])
                else:
                    yield batch


class FormatCheck:
    """Judges texts by a format. Raises InvalidRequest where a schema to be followed is none."""

    def __init__(self, form: TextFormat) -> None:
        self._object = form.HasField("json_object")
        self._schema: Schema | None = None
        if form.json_schema.strict:
            # Costly to import, and of use only to who asks for it.
            from trivet.model_service.responses.turns.json_schema import schema_of

            self._schema = schema_of(form.json_schema.schema)

    def fault(self, response: Response) -> str:
        """What is wrong with a completed response; "" if nothing is, or if it is not its last word."""
        message = _last_word(response) if response.status == "completed" else None
        wrong = self._wrong_with(_text(message)) if message is not None else ""
        return f"The model's text is not what `text.format` asks for: {wrong}" if wrong else ""

    def _wrong_with(self, text: str) -> str:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return "it is not JSON."
        if self._object and not isinstance(value, dict):
            return "it is not a JSON object."
        return self._schema.wrong_with(value) if self._schema else ""


def _asks_for_form(request: CreateResponseRequest) -> bool:
    return request.HasField("text") and request.text.format.WhichOneof("format") in _FORMATS


async def _check_for(form: TextFormat) -> FormatCheck:
    # A long schema takes a while to be understood, and others run meanwhile.
    return await asyncio.to_thread(FormatCheck, form)


def _failure(end: ResponseEvent, fault: str) -> list[ResponseEvent]:
    said = end.completed
    return failure_events(_unended(said.response), UpstreamFailed(fault), count(said.sequence_number))


def _unended(response: Response) -> Response:
    response.ClearField("completed_at")
    return response


def _last_word(response: Response) -> Message | None:
    """The message that a response ends with; an empty one if it says nothing at all, None if it wants something done."""
    said: list[Item] = [item for item in response.output if not item.HasField("reasoning") and not item.HasField("compaction")]
    if not said:
        return Message()
    if any(item.HasField("function_call") or item.HasField("custom_tool_call") for item in said):
        return None
    last = said[-1]
    if not last.HasField("message") or any(part.HasField("refusal") for part in last.message.content.parts.parts):
        return None
    return last.message


def _text(message: Message) -> str:
    return "".join(part.output_text.text for part in message.content.parts.parts)
