"""What answers may hold, as each provider's own API streams it."""

from typing import Any

from tests.model.support_answers import CITED

Json = dict[str, Any]
Stream = list[Json]

ARGUMENTS = '{"city":"Paris"}'


def _chat(delta: Json, reason: str = "stop", usage: Json | None = None) -> Stream:
    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        return {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish} | more]}

    logprobs = {"logprobs": delta.pop("logprobs")} if "logprobs" in delta else {}
    counts = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19} | (usage or {})
    return [
        chunk({"role": "assistant"}),
        chunk(delta, **logprobs),
        chunk({}, reason),
        {"id": "c", "created": 1, "model": "m", "choices": [], "usage": counts},
    ]


def _chat_call(index: int) -> Json:
    return {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ARGUMENTS},
    }


_CHAT_CITATION = {"type": "url_citation", "url_citation": {"url": CITED, "title": "C", "start_index": 0, "end_index": 5}}
_TOKEN = {"token": "Paris", "logprob": -0.5, "bytes": [80], "top_logprobs": []}

CHAT: dict[str, Stream] = {
    "text": _chat({"content": "Paris"}),
    "a tool call": _chat({"tool_calls": [_chat_call(0)]}, "tool_calls"),
    "several tool calls": _chat({"tool_calls": [_chat_call(0), _chat_call(1)]}, "tool_calls"),
    "reasoning": _chat({"reasoning_content": "Hmm"}),
    "citations": _chat({"content": "Paris", "annotations": [_CHAT_CITATION]}),
    "log probabilities": _chat({"content": "Paris", "logprobs": {"content": [_TOKEN], "refusal": None}}),
    "a refusal": _chat({"refusal": "I won't."}),
    "cut off at the limit": _chat({"content": "Paris"}, "length"),
    "stopped for safety": _chat({"content": "Paris"}, "content_filter"),
    "tokens": _chat({"content": "Paris"}),
    "tokens read from a cache": _chat({"content": "P"}, usage={"prompt_tokens_details": {"cached_tokens": 7}}),
    "tokens written to a cache": _chat({"content": "P"}, usage={"prompt_tokens_details": {"cache_write_tokens": 7}}),
    "tokens of reasoning": _chat({"content": "P"}, usage={"completion_tokens_details": {"reasoning_tokens": 7}}),
}


def _responses(*items: Json, status: str = "completed", reason: str = "", usage: Json | None = None) -> Stream:
    """A stream that tells whole items, as readers have to be able to take them."""
    response = {
        "id": "resp_1",
        "status": status,
        "output": list(items),
        "usage": {"input_tokens": 10, "output_tokens": 9, "total_tokens": 19} | (usage or {}),
    } | ({"incomplete_details": {"reason": reason}} if reason else {})
    events: Stream = [{"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}]
    for index, item in enumerate(items):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item | _empty(item)})
        events += [event | {"output_index": index, "item_id": item["id"]} for event in _filling(item)]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{status}", "response": response})
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def _empty(item: Json) -> Json:
    return {"arguments": ""} if "arguments" in item else {"content": [], "summary": []}


def _filling(item: Json) -> Stream:
    if "arguments" in item:
        return [{"type": "response.function_call_arguments.delta", "delta": item["arguments"]}]
    filling: Stream = []
    for index, part in enumerate(item.get("content", [])):
        kind = part["type"]
        delta = {"delta": part.get("text") or part.get("refusal"), "logprobs": part.get("logprobs", [])}
        filling.append({"type": f"response.{kind}.delta", "content_index": index} | delta)
        filling += [
            {
                "type": "response.output_text.annotation.added",
                "content_index": index,
                "annotation_index": 0,
                "annotation": annotation,
            }
            for annotation in part.get("annotations", [])
        ]
    return filling


def _message(*parts: Json) -> Json:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts)}


def _call_item(number: int) -> Json:
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": "get_weather",
        "arguments": ARGUMENTS,
    }


def _output(**more: Any) -> Json:
    return {"type": "output_text", "text": "Paris", "annotations": [], "logprobs": []} | more


_THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hmm"}]}
_URL = {"type": "url_citation", "url": CITED, "title": "C", "start_index": 0, "end_index": 5}

RESPONSES: dict[str, Stream] = {
    "text": _responses(_message(_output())),
    "a tool call": _responses(_call_item(1)),
    "several tool calls": _responses(_call_item(1), _call_item(2)),
    "reasoning": _responses(_THOUGHT, _message(_output())),
    "reasoning that only the provider reads": _responses(_THOUGHT | {"encrypted_content": "gAAAA"}, _message(_output())),
    "citations": _responses(_message(_output(annotations=[_URL]))),
    "log probabilities": _responses(_message(_output(logprobs=[_TOKEN]))),
    "a refusal": _responses(_message({"type": "refusal", "refusal": "I won't."})),
    "cut off at the limit": _responses(_message(_output()), status="incomplete", reason="max_output_tokens"),
    "stopped for safety": _responses(_message(_output()), status="incomplete", reason="content_filter"),
    "tokens": _responses(_message(_output())),
    "tokens read from a cache": _responses(_message(_output()), usage={"input_tokens_details": {"cached_tokens": 7}}),
    "tokens written to a cache": _responses(_message(_output()), usage={"input_tokens_details": {"cache_write_tokens": 7}}),
    "tokens of reasoning": _responses(_message(_output()), usage={"output_tokens_details": {"reasoning_tokens": 7}}),
}


# ---- Anthropic ---------------------------------------------------------------------------------------------------------


def _anthropic(*blocks: Json, reason: str = "end_turn", usage: Json | None = None) -> Stream:
    counts = {"input_tokens": 10, "output_tokens": 1} | (usage or {})
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": counts}
    events: Stream = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        deltas = block.get("deltas", [])
        start = {key: value for key, value in block.items() if key != "deltas"}
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    output = {"output_tokens": 9} | {key: value for key, value in (usage or {}).items() if key == "output_tokens_details"}
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": output}
    return [*events, end, {"type": "message_stop"}]


_BLOCK = {"type": "text", "text": "", "deltas": [{"type": "text_delta", "text": "Paris"}]}
_URL_CITED = {"type": "web_search_result_location", "url": CITED, "title": "C", "cited_text": "P", "encrypted_index": "e"}


def _tool_use(number: int) -> Json:
    deltas = [{"type": "input_json_delta", "partial_json": ARGUMENTS}]
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "get_weather", "input": {}, "deltas": deltas}


def _thinking(signature: str) -> Json:
    deltas = [{"type": "thinking_delta", "thinking": "Hmm"}, {"type": "signature_delta", "signature": signature}]
    return {"type": "thinking", "thinking": "", "signature": "", "deltas": deltas}


ANTHROPIC: dict[str, Stream] = {
    "text": _anthropic(_BLOCK),
    "a tool call": _anthropic(_tool_use(1), reason="tool_use"),
    "several tool calls": _anthropic(_tool_use(1), _tool_use(2), reason="tool_use"),
    "reasoning": _anthropic(_thinking("s"), _BLOCK),
    "reasoning that only the provider reads": _anthropic(_thinking("EqQB"), _BLOCK),
    "citations": _anthropic(_BLOCK | {"deltas": [*_BLOCK["deltas"], {"type": "citations_delta", "citation": _URL_CITED}]}),
    "cut off at the limit": _anthropic(_BLOCK, reason="max_tokens"),
    "stopped for safety": _anthropic(_BLOCK, reason="refusal"),
    "tokens": _anthropic(_BLOCK),
    "tokens read from a cache": _anthropic(_BLOCK, usage={"cache_read_input_tokens": 7}),
    "tokens written to a cache": _anthropic(_BLOCK, usage={"cache_creation_input_tokens": 7}),
}


# ---- Gemini ------------------------------------------------------------------------------------------------------------


def _gemini(*parts: Json, reason: str = "STOP", usage: Json | None = None, **more: Any) -> Stream:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12} | (usage or {})
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0} | more
    return [{"candidates": [candidate], "usageMetadata": counts, "modelVersion": "m", "responseId": "r"}]


_PART = {"text": "Paris"}
_FUNCTION_CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}
_GROUNDING = {
    "groundingChunks": [{"web": {"uri": CITED, "title": "C"}}],
    "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 5}, "groundingChunkIndices": [0]}],
}

GEMINI: dict[str, Stream] = {
    "text": _gemini(_PART),
    "a tool call": _gemini(_FUNCTION_CALL),
    "several tool calls": _gemini(_FUNCTION_CALL, _FUNCTION_CALL),
    "reasoning": _gemini({"text": "Hmm", "thought": True}, _PART),
    "reasoning that only the provider reads": _gemini(_FUNCTION_CALL | {"thoughtSignature": "Ck8="}),
    "citations": _gemini(_PART, groundingMetadata=_GROUNDING),
    "log probabilities": _gemini(
        _PART, logprobsResult={"chosenCandidates": [{"token": "Paris", "logProbability": -0.5}], "topCandidates": []}
    ),
    "cut off at the limit": _gemini(_PART, reason="MAX_TOKENS"),
    "stopped for safety": _gemini(_PART, reason="SAFETY"),
    "tokens": _gemini(_PART),
    "tokens read from a cache": _gemini(_PART, usage={"cachedContentTokenCount": 7}),
    "tokens of reasoning": _gemini(_PART, usage={"thoughtsTokenCount": 7}),
}


# ---- Bedrock -----------------------------------------------------------------------------------------------------------


def _converse(*blocks: Json, stop: str = "end_turn", usage: Json | None = None) -> Stream:
    """Events by their names; a block has the `start` that opens it, if it has one, and `deltas`."""
    events: Stream = [{"messageStart": {"role": "assistant"}}]
    for index, block in enumerate(blocks):
        if "start" in block:
            events.append({"contentBlockStart": {"contentBlockIndex": index, "start": block["start"]}})
        events += [{"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in block["deltas"]]
        events.append({"contentBlockStop": {"contentBlockIndex": index}})
    counts = {"inputTokens": 10, "outputTokens": 9, "totalTokens": 19} | (usage or {})
    return [*events, {"messageStop": {"stopReason": stop}}, {"metadata": {"usage": counts, "metrics": {"latencyMs": 1}}}]


def _converse_call(number: int) -> Json:
    start = {"toolUse": {"toolUseId": f"tooluse_{number}", "name": "get_weather"}}
    return {"start": start, "deltas": [{"toolUse": {"input": ARGUMENTS}}]}


_SAID = {"deltas": [{"text": "Paris"}]}
_MUSED = {"deltas": [{"reasoningContent": {"text": "Hmm"}}, {"reasoningContent": {"signature": "c2ln"}}]}
_WEB = {"citation": {"title": "C", "location": {"web": {"url": CITED}}, "sourceContent": [{"text": "P"}]}}

BEDROCK: dict[str, Stream] = {
    "text": _converse(_SAID),
    "a tool call": _converse(_converse_call(1), stop="tool_use"),
    "several tool calls": _converse(_converse_call(1), _converse_call(2), stop="tool_use"),
    "reasoning": _converse(_MUSED, _SAID),
    "reasoning that only the provider reads": _converse(_MUSED, _SAID),
    "citations": _converse({"deltas": [*_SAID["deltas"], _WEB]}),
    "cut off at the limit": _converse(_SAID, stop="max_tokens"),
    "stopped for safety": _converse(_SAID, stop="guardrail_intervened"),
    "tokens": _converse(_SAID),
    "tokens read from a cache": _converse(_SAID, usage={"cacheReadInputTokens": 7}),
    "tokens written to a cache": _converse(_SAID, usage={"cacheWriteInputTokens": 7}),
}
