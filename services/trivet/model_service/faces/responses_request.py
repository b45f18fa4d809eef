"""Reads a Responses request into a turn, for upstreams that speak another API."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
from google.protobuf.message import Message as ProtobufMessage

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model.v1 import response_config_pb2 as config
from trivet.model.v1 import response_content_pb2 as content
from trivet.model.v1 import response_item_pb2 as items
from trivet.model.v1 import response_request_pb2 as pb
from trivet.model.v1 import response_tool_pb2 as tools_pb
from trivet.model.v1.response_caller_pb2 import Caller
from trivet.model_service.domain.turn import Entry, Message, Text, TextFormat, TurnRequest
from trivet.model_service.faces.responses_items import read_input
from trivet.model_service.faces.responses_tools import AMBIENT, read_choice, read_tools
from trivet.model_service.faces.unknown_keys import refuse_unknown_keys

_ELSEWHERE: Final = (
    "previous_response_id",
    "conversation",
    "prompt",
    "background_options",
    "prompt_cache_options",
    "access_programs",
    "image",
    "moderation",
)
"""What only a provider of this same API can do: it is kept there, or done there."""

_LOGPROBS: Final = "message.output_text.logprobs"
INCLUDES: Final = frozenset(
    {
        _LOGPROBS,
        "reasoning.encrypted_content",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "code_interpreter_call.outputs",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
    }
)
_NAMES: Final = {
    "logprobs": "include",
    "reasoning_effort": "reasoning.effort",
    "text_format": "text.format",
    "verbosity": "text.verbosity",
}
_MADE_BY_MODELS: Final = (items.ReasoningItem, items.FunctionCall, items.CustomToolCall, Caller, content.OutputText)
_FIELDS: Final = frozenset(pb.CreateResponseRequest.DESCRIPTOR.fields_by_name)


def parse(request: pb.CreateResponseRequest, upstream_model: str, *, stream: bool) -> TurnRequest:
    """The turn that `request` asks of `upstream_model`.

    Metadata, `store` and `max_tool_calls` are no matter of the model: the response answers them; nor are `truncation` and
    `context_management`, which are seen to before. What `include` asks for of items that only other providers make is not
    asked of this one.

    Raises:
        UnsupportedParameter: a turn cannot express a parameter, an item or a tool.
        InvalidRequest: a value that the contract does not allow.
    """
    _refuse_elsewhere(request)
    _refuse_unknown_includes(request.include)
    refuse_unknown_keys(request, skip=_asks_for_nothing)
    tools = read_tools(request.tools)
    logprobs = _LOGPROBS in request.include
    summary = "generate_summary" if request.reasoning.generate_summary and not request.reasoning.summary else "summary"
    return TurnRequest(
        model=upstream_model,
        conversation=tuple(_conversation(request)),
        stream=stream,
        tools=tools,
        tool_choice=read_choice(request.tool_choice, tools) if request.HasField("tool_choice") else None,
        parallel_tool_calls=_optional(request, "parallel_tool_calls"),
        max_output_tokens=_optional(request, "max_output_tokens"),
        temperature=_optional(request, "temperature"),
        top_p=_optional(request, "top_p"),
        frequency_penalty=_optional(request, "frequency_penalty"),
        presence_penalty=_optional(request, "presence_penalty"),
        logprobs=logprobs,
        top_logprobs=_optional(request, "top_logprobs") if logprobs else None,
        text_format=_text_format(request.text.format),
        verbosity=_optional(request.text, "verbosity"),
        reasoning_effort=_optional(request.reasoning, "effort"),
        reasoning_summary=_optional(request.reasoning, summary),
        reasoning_summary_param=f"reasoning.{summary}",
        service_tier=_optional(request, "service_tier"),
        user=_optional(request, "user"),
        safety_identifier=_optional(request, "safety_identifier"),
        prompt_cache_key=_optional(request, "prompt_cache_key"),
        extra=dict(_extra(request)),
        names=_NAMES,
    )


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _refuse_elsewhere(request: pb.CreateResponseRequest) -> None:
    given = {field.name for field, _ in request.ListFields()}
    asked: list[str] = [name for name in _ELSEWHERE if name in given]
    if request.background:
        asked.append("background")
    if request.truncation not in {"", "auto", "disabled"}:
        raise InvalidRequest("Invalid 'truncation': expected 'auto' or 'disabled'.", "truncation")
    if request.reasoning.context not in {"", "auto"}:
        asked.append("reasoning.context")
    if request.reasoning.mode not in {"", "standard"}:
        asked.append("reasoning.mode")
    if asked:
        raise UnsupportedParameter(f"This model's provider does not support '{asked[0]}'.", asked[0])


def _refuse_unknown_includes(include: Iterable[str]) -> None:
    for index, name in enumerate(include):
        if name not in INCLUDES:
            raise UnsupportedParameter(f"This model's provider cannot include '{name:.80}'.", f"include[{index}]")


def _asks_for_nothing(message: ProtobufMessage) -> bool:
    """Whether unknown keys in `message` are of no account: a model made it, or it is left out as a whole."""
    match message:
        case items.Message():
            return message.role == "assistant"
        case tools_pb.Tool():
            return message.WhichOneof("tool") in AMBIENT
        case _:
            return isinstance(message, _MADE_BY_MODELS)


def _conversation(request: pb.CreateResponseRequest) -> Iterator[Entry]:
    if request.instructions:
        yield Message("system", (Text(request.instructions),), param="instructions")
    entries = tuple(read_input(request.input))
    if not entries:
        raise InvalidRequest("Missing required parameter: 'input'.", "input")
    yield from entries


def _text_format(form: config.TextFormat) -> TextFormat | None:
    match form.WhichOneof("format"):
        case None:
            return None
        case "text":
            return TextFormat("text")
        case "json_object":
            return TextFormat("json_object")
        case "json_schema":
            return _json_schema(form.json_schema)
        case _:
            raise UnsupportedParameter("This model's provider has no such form of text.", "text.format")


def _json_schema(form: config.JsonSchemaFormat) -> TextFormat:
    for field in ("name", "schema"):
        if not getattr(form, field):
            raise InvalidRequest(f"Missing required parameter: 'text.format.{field}'.", f"text.format.{field}")
    return TextFormat("json_schema", form.name, form.description, form.schema, _optional(form, "strict"))


def _extra(request: pb.CreateResponseRequest) -> Iterator[tuple[str, str]]:
    """Parameters that are passed on as they are; null says nothing, and the rest holds known keys without a value too."""
    if request.HasField("prompt_cache_retention"):
        yield "prompt_cache_retention", orjson.dumps(request.prompt_cache_retention).decode()
    for name, value in orjson.loads(request.extra or "{}").items():
        if name not in _FIELDS and value is not None:
            yield name, orjson.dumps(value).decode()
