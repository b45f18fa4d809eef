"""Events of a Responses upstream, as OpenAI sends them."""

import json
from typing import Any

Json = dict[str, Any]

USAGE: Json = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}
REASONING: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Thinking."}],
    "encrypted_content": "enc",
}
CITATION: Json = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
LOGPROB: Json = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": []}
PART: Json = {"type": "output_text", "text": "Hi there", "annotations": [CITATION], "logprobs": [LOGPROB]}
MESSAGE: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [PART]}
SEARCH: Json = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "q", "queries": ["q"], "novel": 1},
}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
CUSTOM: Json = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "call_2",
    "name": "g",
    "input": "go on",
    "status": "completed",
}
OUTPUT = [REASONING, SEARCH, MESSAGE, CALL, CUSTOM]


def response(status: str = "in_progress", **changes: Any) -> Json:
    """A response as OpenAI has it, with keys and nulls of its own."""
    return {
        "id": "resp_up", "object": "response", "created_at": 1700000000, "status": status, "background": False,
        "completed_at": None, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None,
        "max_tool_calls": None, "model": "gpt-up-2026", "output": [], "parallel_tool_calls": True,
        "previous_response_id": None, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None, "service_tier": "default", "store": True, "temperature": None, "user": None,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
        "top_p": 1.0, "truncation": "disabled", "usage": None, "metadata": {}, "billing": {"payer": "developer"}, "novel": None,
    } | changes  # fmt: skip


def completed(**changes: Any) -> Json:
    return response("completed", **{"output": OUTPUT, "usage": USAGE, "completed_at": 1700000002} | changes)


def event(kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", **fields}


def snapshot(kind: str, state: Json | None = None) -> Json:
    return event(kind, response=state or response())


def numbered(events: list[Json]) -> list[Json]:
    return [one | {"sequence_number": index} for index, one in enumerate(events)]


def reasoning(index: int = 0) -> list[Json]:
    place = {"item_id": "rs_1", "output_index": index}
    summary = place | {"summary_index": 0}
    return [
        event("output_item.added", output_index=index, item=REASONING | {"summary": []}),
        event("reasoning_summary_part.added", **summary, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", **summary, delta="Thinking."),
        event("reasoning_summary_text.done", **summary, text="Thinking."),
        event("reasoning_summary_part.done", **summary, part=REASONING["summary"][0]),
        event("output_item.done", output_index=index, item=REASONING),
    ]


def search(index: int = 1) -> list[Json]:
    place = {"item_id": "ws_1", "output_index": index}
    return [
        event("output_item.added", output_index=index, item=SEARCH | {"status": "in_progress"}),
        event("web_search_call.in_progress", **place),
        event("web_search_call.searching", **place),
        event("web_search_call.novelty", **place, x=[1]),
        event("web_search_call.completed", **place),
        event("output_item.done", output_index=index, item=SEARCH),
    ]


def message(index: int = 2) -> list[Json]:
    place = {"item_id": "msg_1", "output_index": index, "content_index": 0}
    empty = {"text": "", "annotations": [], "logprobs": []}
    return [
        event("output_item.added", output_index=index, item=MESSAGE | {"status": "in_progress", "content": []}),
        event("content_part.added", **place, part=PART | empty),
        event("output_text.delta", **place, delta="Hi", logprobs=[LOGPROB], obfuscation="xyz"),
        event("output_text.annotation.added", **place, annotation_index=0, annotation=CITATION),
        event("output_text.delta", **place, delta=" there", logprobs=[]),
        event("output_text.done", **place, text="Hi there", logprobs=[LOGPROB]),
        event("content_part.done", **place, part=PART),
        event("output_item.done", output_index=index, item=MESSAGE),
    ]


def calls(index: int = 3) -> list[Json]:
    first = {"item_id": "fc_1", "output_index": index}
    second = {"item_id": "ctc_1", "output_index": index + 1}
    return [
        event("output_item.added", output_index=index, item=CALL | {"arguments": "", "status": "in_progress"}),
        event("function_call_arguments.delta", **first, delta='{"a"'),
        event("function_call_arguments.delta", **first, delta=":1}"),
        event("function_call_arguments.done", **first, arguments='{"a":1}', name="f"),
        event("output_item.done", output_index=index, item=CALL),
        event("output_item.added", output_index=index + 1, item=CUSTOM | {"input": "", "status": "in_progress"}),
        event("custom_tool_call_input.delta", **second, delta="go on"),
        event("custom_tool_call_input.done", **second, input="go on"),
        event("output_item.done", output_index=index + 1, item=CUSTOM),
    ]


def whole() -> list[Json]:
    """A stream with every kind of item."""
    begin = [snapshot("created"), snapshot("in_progress")]
    return numbered([*begin, *reasoning(), *search(), *message(), *calls(), snapshot("completed", completed())])


def sse(events: list[Json], *, done: bool = False, named: bool = True) -> bytes:
    frames = [f"event: {one['type']}\n" * named + f"data: {json.dumps(one)}\n\n" for one in events]
    return ("".join(frames) + "data: [DONE]\n\n" * done).encode()
