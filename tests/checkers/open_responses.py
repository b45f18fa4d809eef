"""Checks JSON against the shapes that the Open Responses specification demands of plain turns and of turns with functions.

A key that is not marked optional must be there, and null stands only where a shape says so. Keys besides are allowed, items,
parts and events of other types are not: the specification leaves those to whoever invents them. One name is OpenAI's where the
two differ, because its clients know no other: the events of raw reasoning are `response.reasoning_text.*`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import orjson

Json = dict[str, Any]
Shape = Callable[[Any, str], Iterator[str]]
"""Tells what is wrong with a value that stands at a place."""


class Optional(NamedTuple):
    """What a key has if it is there at all; an absent one is left out, not null."""

    shape: Shape


# ---- what shapes are made of -------------------------------------------------------------------------------------------------


def kind(name: str, *types: type) -> Shape:
    def check(value: Any, where: str) -> Iterator[str]:
        # To Python true is an integer, to JSON it is not.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"{where} is no {name}: {value!r}"

    return check


def one_of(*words: str) -> Shape:
    def check(value: Any, where: str) -> Iterator[str]:
        if value not in words:
            yield f"{where} is none of {', '.join(words)}: {value!r}"

    return check


def or_null(shape: Shape) -> Shape:
    return lambda value, where: iter(()) if value is None else shape(value, where)


def array(shape: Shape) -> Shape:
    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{where} is no array: {value!r}"
            return
        for index, entry in enumerate(value):
            yield from shape(entry, f"{where}[{index}]")

    return check


def record(**keys: Shape | Optional) -> Shape:
    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where} is no object: {value!r}"
            return
        for key, wanted in keys.items():
            if key in value:
                yield from (wanted.shape if isinstance(wanted, Optional) else wanted)(value[key], f"{where}.{key}")
            elif not isinstance(wanted, Optional):
                yield f"{where} lacks {key}"

    return check


def tagged(**shapes: Shape) -> Shape:
    """Objects that are told apart by their `type`."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict) or value.get("type") not in shapes:
            yield f"{where} has no type of {', '.join(shapes)}: {value!r}"
            return
        yield from shapes[value["type"]](value, where)

    return check


def string_or(shape: Shape) -> Shape:
    return lambda value, where: iter(()) if isinstance(value, str) else shape(value, where)


STRING, INTEGER, NUMBER = kind("string", str), kind("integer", int), kind("number", int, float)
BOOLEAN, OBJECT = kind("boolean", bool), kind("object", dict)
STATUS = one_of("in_progress", "completed", "incomplete")

# ---- parts and items ---------------------------------------------------------------------------------------------------------

_TOKEN = {"token": STRING, "logprob": NUMBER, "bytes": array(INTEGER)}
LOGPROBS = array(record(**_TOKEN, top_logprobs=array(record(**_TOKEN))))
ANNOTATION = tagged(url_citation=record(url=STRING, start_index=INTEGER, end_index=INTEGER, title=STRING))
INPUT_PARTS = {
    "input_text": record(text=STRING),
    "input_image": record(image_url=or_null(STRING), detail=one_of("low", "high", "auto")),
    "input_file": record(filename=Optional(STRING), file_url=Optional(STRING)),
}
PART = tagged(
    **INPUT_PARTS,
    output_text=record(text=STRING, annotations=array(ANNOTATION), logprobs=Optional(LOGPROBS)),
    refusal=record(refusal=STRING),
    reasoning_text=record(text=STRING),
    summary_text=record(text=STRING),
)
ITEM = tagged(
    message=record(
        id=STRING,
        status=STATUS,
        role=one_of("user", "assistant", "system", "developer"),
        content=array(PART),
        phase=Optional(one_of("commentary", "final_answer")),
    ),
    function_call=record(id=STRING, call_id=STRING, name=STRING, arguments=STRING, status=STATUS),
    function_call_output=record(id=STRING, call_id=STRING, output=string_or(array(tagged(**INPUT_PARTS))), status=STATUS),
    reasoning=record(id=STRING, summary=array(PART), content=Optional(array(PART)), encrypted_content=Optional(STRING)),
    compaction=record(id=STRING, encrypted_content=STRING, created_by=Optional(STRING)),
)

# ---- the response ------------------------------------------------------------------------------------------------------------

TOOL = tagged(
    function=record(name=STRING, description=or_null(STRING), parameters=or_null(OBJECT), strict=or_null(BOOLEAN)),
)
MODE = one_of("none", "auto", "required")
CHOSEN = record(name=Optional(STRING))
TOOL_CHOICE = tagged(function=CHOSEN, allowed_tools=record(tools=array(tagged(function=CHOSEN)), mode=MODE))
FORMAT = tagged(
    text=record(),
    json_object=record(),
    json_schema=record(name=STRING, description=or_null(STRING), schema=or_null(OBJECT), strict=BOOLEAN),
)
USAGE = record(
    input_tokens=INTEGER,
    output_tokens=INTEGER,
    total_tokens=INTEGER,
    input_tokens_details=record(cached_tokens=INTEGER),
    output_tokens_details=record(reasoning_tokens=INTEGER),
)
RESPONSE = record(
    id=STRING,
    object=one_of("response"),
    created_at=INTEGER,
    completed_at=or_null(INTEGER),
    status=one_of("queued", "in_progress", "completed", "incomplete", "failed", "cancelled"),
    incomplete_details=or_null(record(reason=STRING)),
    model=STRING,
    previous_response_id=or_null(STRING),
    instructions=or_null(STRING),
    output=array(ITEM),
    error=or_null(record(code=STRING, message=STRING)),
    tools=array(TOOL),
    tool_choice=lambda value, where: (MODE if isinstance(value, str) else TOOL_CHOICE)(value, where),
    truncation=one_of("auto", "disabled"),
    parallel_tool_calls=BOOLEAN,
    text=record(format=FORMAT, verbosity=Optional(one_of("low", "medium", "high"))),
    top_p=NUMBER,
    presence_penalty=NUMBER,
    frequency_penalty=NUMBER,
    top_logprobs=INTEGER,
    temperature=NUMBER,
    reasoning=or_null(
        record(
            effort=or_null(one_of("none", "low", "medium", "high", "xhigh")),
            summary=or_null(one_of("concise", "detailed", "auto")),
        )
    ),
    usage=or_null(USAGE),
    max_output_tokens=or_null(INTEGER),
    max_tool_calls=or_null(INTEGER),
    store=BOOLEAN,
    background=BOOLEAN,
    service_tier=STRING,
    metadata=OBJECT,
    safety_identifier=or_null(STRING),
    prompt_cache_key=or_null(STRING),
)
COMPACTION = record(id=STRING, object=one_of("response.compaction"), output=array(ITEM), created_at=INTEGER, usage=USAGE)

# ---- events ------------------------------------------------------------------------------------------------------------------

_ITEM_AT: dict[str, Shape | Optional] = {"output_index": INTEGER, "item": or_null(ITEM)}
_IN_ITEM: dict[str, Shape | Optional] = {"item_id": STRING, "output_index": INTEGER}
_IN_CONTENT = _IN_ITEM | {"content_index": INTEGER}
_IN_SUMMARY = _IN_ITEM | {"summary_index": INTEGER}
_DELTA = {"delta": STRING, "obfuscation": Optional(STRING)}
_LOGPROBS = {"logprobs": Optional(LOGPROBS)}
_FIELDS: dict[str, dict[str, Shape | Optional]] = {
    **{f"response.{name}": {"response": RESPONSE} for name in ("created", "queued", "in_progress")},
    **{f"response.{name}": {"response": RESPONSE} for name in ("completed", "incomplete", "failed")},
    "response.output_item.added": _ITEM_AT,
    "response.output_item.done": _ITEM_AT,
    "response.content_part.added": _IN_CONTENT | {"part": PART},
    "response.content_part.done": _IN_CONTENT | {"part": PART},
    "response.output_text.delta": _IN_CONTENT | _DELTA | _LOGPROBS,
    "response.output_text.done": _IN_CONTENT | {"text": STRING} | _LOGPROBS,
    "response.output_text.annotation.added": _IN_CONTENT | {"annotation_index": INTEGER, "annotation": or_null(ANNOTATION)},
    "response.refusal.delta": _IN_CONTENT | {"delta": STRING},
    "response.refusal.done": _IN_CONTENT | {"refusal": STRING},
    "response.reasoning_text.delta": _IN_CONTENT | _DELTA,
    "response.reasoning_text.done": _IN_CONTENT | {"text": STRING},
    "response.reasoning_summary_part.added": _IN_SUMMARY | {"part": PART},
    "response.reasoning_summary_part.done": _IN_SUMMARY | {"part": PART},
    "response.reasoning_summary_text.delta": _IN_SUMMARY | _DELTA,
    "response.reasoning_summary_text.done": _IN_SUMMARY | {"text": STRING},
    "response.function_call_arguments.delta": _IN_ITEM | _DELTA,
    "response.function_call_arguments.done": _IN_ITEM | {"arguments": STRING},
    "error": {
        "error": record(type=STRING, code=or_null(STRING), message=STRING, param=or_null(STRING), headers=Optional(OBJECT))
    },
}
EVENT = tagged(**{name: record(sequence_number=INTEGER, **fields) for name, fields in _FIELDS.items()})


# ---- what is asked of the checker --------------------------------------------------------------------------------------------


def check_response(response: Any) -> list[str]:
    """What is wrong with a response, whole or as an event has it; nothing when it is well."""
    return [*RESPONSE(response, "response"), *(_ends(response) if isinstance(response, dict) else ())]


def check_items(items: Iterable[Any]) -> list[str]:
    """What is wrong with items, of an output or of a list of input items."""
    return [fault for index, item in enumerate(items) for fault in ITEM(item, f"items[{index}]")]


def check_compaction(resource: Any) -> list[str]:
    """What is wrong with the answer to a compaction."""
    return list(COMPACTION(resource, "compaction"))


def check_event(event: Any) -> list[str]:
    """What is wrong with one event of a stream."""
    found = list(EVENT(event, "event"))
    response = event.get("response") if isinstance(event, dict) else None
    return found + (list(_ends(response)) if isinstance(response, dict) else [])


def check_events(raw: bytes) -> list[str]:
    """What is wrong with the events of a stream as it came over HTTP. Their order is not looked at here."""
    lines = (line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: "))
    return [fault for line in lines if line != b"[DONE]" for fault in check_event(orjson.loads(line))]


def _ends(response: Json) -> Iterator[str]:
    """An item that ends incomplete is the last one, and the response is not complete either."""
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    cut = [item.get("status") == "incomplete" for item in items]
    if any(cut[:-1]):
        yield "an incomplete item is not the last"
    if any(cut) and response.get("status") not in {"incomplete", "failed", "cancelled"}:
        yield f"an item is incomplete, the response is {response.get('status')}"
