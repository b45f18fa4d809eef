"""Reads a Responses request into a turn, for upstreams that speak another API."""

from collections.abc import Iterable, Iterator, Mapping
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
_SAME: Final = frozenset(
    {
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "service_tier",
        "user",
        "safety_identifier",
        "prompt_cache_key",
    }
)
"""What a turn has under the same name."""

_ONLY_SAID: Final = _SAME | {"model", "input", "instructions", "stream", "store", "metadata", "max_tool_calls"}
"""What a request may have that has nothing to be judged in it, if its input is a text."""

_NAMES: Final = {
    "logprobs": "include",
    "reasoning_effort": "reasoning.effort",
    "text_format": "text.format",
    "verbosity": "text.verbosity",
}
_MADE_BY_MODELS: Final = (items.ReasoningItem, items.FunctionCall, items.CustomToolCall, Caller, content.OutputText)
_FIELDS: Final = frozenset(pb.CreateResponseRequest.DESCRIPTOR.fields_by_name)
_IN_A_FIELD: Final = frozenset(field.name for field in pb.CreateResponseRequest.DESCRIPTOR.fields if field.message_type) - {
    "input"
}
"""Where there may be keys that no field stands for, besides an input that is more than a text."""


def given_by(request: pb.CreateResponseRequest) -> dict[str, Any]:
    """The fields that are set in a request, by their names."""
    given: dict[str, Any] = {}
    for field, value in request.ListFields():
        given[field.name] = value
    return given


def parse(
    request: pb.CreateResponseRequest, upstream_model: str, *, stream: bool, given: Mapping[str, Any] | None = None
) -> TurnRequest:
    """The turn that `request` asks of `upstream_model`; `given` is what is set in it, for who has found that already.

    Metadata, `store` and `max_tool_calls` are no matter of the model: the response answers them; nor are `truncation` and
    `context_management`, which are seen to before. What `include` asks for of items that only other providers make is not
    asked of this one.

    Raises:
        UnsupportedParameter: a turn cannot express a parameter, an item or a tool.
        InvalidRequest: a value that the contract does not allow.
    """
    given = given_by(request) if given is None else given
    asked: dict[str, Any] = {}
    for name, value in given.items():
        if name in _SAME:
            asked[name] = value  # noqa: PERF403 - a comprehension would be one more call
    if given.keys() <= _ONLY_SAID and (text := request.input.text):
        # Nothing in it could be refused.
        said = Message("user", (Text(text),), "", "input")
        conversation = (_instructions(request), said) if given.get("instructions") else (said,)
        return TurnRequest(upstream_model, conversation, stream, names=_NAMES, **asked)
    _refuse(request, given)
    if "tools" in given:
        asked["tools"] = read_tools(request.tools)
    if "tool_choice" in given:
        asked["tool_choice"] = read_choice(request.tool_choice, asked.get("tools", ()))
    if _LOGPROBS in request.include:
        asked |= {"logprobs": True, "top_logprobs": given.get("top_logprobs")}
    if "text" in given:
        asked |= {"text_format": _text_format(request.text.format), "verbosity": _optional(request.text, "verbosity")}
    if "reasoning" in given:
        asked |= _reasoning(request.reasoning)
    if "extra" in given or "prompt_cache_retention" in given:
        asked["extra"] = dict(_extra(request))
    return TurnRequest(upstream_model, _conversation(request), stream, names=_NAMES, **asked)


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _reasoning(asked: config.ReasoningConfig) -> dict[str, Any]:
    summary = "generate_summary" if asked.generate_summary and not asked.summary else "summary"
    return {
        "reasoning_effort": _optional(asked, "effort"),
        "reasoning_summary": _optional(asked, summary),
        "reasoning_summary_param": f"reasoning.{summary}",
    }


def _refuse(request: pb.CreateResponseRequest, given: Mapping[str, Any]) -> None:
    _refuse_elsewhere(request, given)
    _refuse_unknown_includes(request.include)
    if request.input.WhichOneof("kind") != "text" or not _IN_A_FIELD.isdisjoint(given):
        refuse_unknown_keys(request, skip=_asks_for_nothing)


def _refuse_elsewhere(request: pb.CreateResponseRequest, given: Mapping[str, Any]) -> None:
    asked: list[str] = [] if given.keys().isdisjoint(_ELSEWHERE) else [name for name in _ELSEWHERE if name in given]
    if given.get("background"):
        asked.append("background")
    if given.get("truncation", "auto") not in {"", "auto", "disabled"}:
        raise InvalidRequest("Invalid 'truncation': expected 'auto' or 'disabled'.", "truncation")
    if "reasoning" in given:
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


def _instructions(request: pb.CreateResponseRequest) -> Message:
    return Message("system", (Text(request.instructions),), param="instructions")


def _conversation(request: pb.CreateResponseRequest) -> tuple[Entry, ...]:
    entries = read_input(request.input)
    if not entries:
        raise InvalidRequest("Missing required parameter: 'input'.", "input")
    return (_instructions(request), *entries) if request.instructions else tuple(entries)


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
