"""Events of the Messages API as an upstream sends them."""

import json
from typing import Any

Json = dict[str, Any]

USAGE = {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 1}


def began(**more: Any) -> Json:
    message = {"id": "msg_up", "type": "message", "role": "assistant", "model": "claude-up", "content": [], "usage": USAGE}
    return {"type": "message_start", "message": message | more}


def block(index: int, content: Json, *deltas: Json) -> list[Json]:
    """All events of a block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[Json]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def thinking(index: int, *pieces: str, signature: str = "sig") -> list[Json]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    signed = {"type": "signature_delta", "signature": signature}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)


def calling(index: int, call_id: str, name: str, *pieces: str) -> list[Json]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces))
    return block(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}}, *deltas)


def ended(reason: str = "end_turn", usage: Json | None = None, **more: Any) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    told = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7} if usage is None else usage}
    return [told, {"type": "message_stop"}]


def sse(*events: Json) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
