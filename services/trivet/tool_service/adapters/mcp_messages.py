"""JSON-RPC messages of a tool call, as they stand on the wire."""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from mcp_types import HEADER_MISMATCH, INVALID_REQUEST, METHOD_NOT_FOUND
from pydantic_core import from_json

from trivet.tool_service.domain.session import Answered
from trivet.tool_service.domain.tools import Progress

_NOT_MCP: Final = "answered with something that is not MCP"

Message = Mapping[str, Any]


class NotPlain(Exception):  # noqa: N818 - says what happened
    """The server did not call the tool, but wants to be asked by somebody who knows more; `state` is what it wants to hear again."""

    def __init__(self, state: str | None = None) -> None:
        super().__init__("more than a plain call is wanted")
        self.state = state


_REFUSALS: Final = {
    "elicitation/create": "Elicitation not supported",
    "roots/list": "List roots not supported",
    "sampling/createMessage": "Sampling not supported",
}
"""What a server may ask of a client, and no user of ours is there to answer."""


def call_of(request_id: int, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]) -> bytes:
    """A request to call a tool, with the id as the token of its progress."""
    params = {"name": tool, "arguments": arguments, "_meta": {**meta, "progressToken": request_id}}
    return dumped({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})


def cancellation_of(request_id: int, reason: str) -> bytes:
    """What tells a server that nobody waits for the answer any more."""
    params = {"requestId": request_id, "reason": reason}
    return dumped({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


def answer_to(request: Message) -> bytes:
    """The answer to a request that the server makes in the middle of a call."""
    method = request["method"]
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
    if method == "ping":
        answer["result"] = {}
    elif method in _REFUSALS:
        answer["error"] = {"code": INVALID_REQUEST, "message": _REFUSALS[method]}
    else:
        answer["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
    return dumped(answer)


def result_in(answer: Message, *, asks: bool) -> Message:
    """The result that answers a call; `asks` says that this may be a server of the era in which it can be a question.

    Raises:
        Answered: it is an error, or asks what nobody answers.
        NotPlain: the call has to be made in another way.
    """
    given = answer.get("result")
    if isinstance(given, dict) and not (asks and given.get("resultType") == "input_required"):
        return given  # as nearly all answers are
    match answer:
        case {"result": dict(question)}:
            if refusal := _refusal_of(question.get("inputRequests")):
                raise Answered(f"answered with an error: {refusal}")
            state = question.get("requestState")
            raise NotPlain(state if isinstance(state, str) else None)
        case {"error": {"code": code, "message": str(message)}}:
            if code == HEADER_MISMATCH and asks:
                raise NotPlain
            raise Answered(f"answered with an error: {message}")
    raise Answered(_NOT_MCP)


def _refusal_of(questions: object) -> str:
    """Why the first of the questions is not answered; "" if there is none."""
    first = next(iter(questions.values()), None) if isinstance(questions, dict) else None
    return _REFUSALS.get(first.get("method", ""), "Method not found") if isinstance(first, dict) else ""


def progress_in(message: Message, token: int) -> Progress | None:
    """The progress that a notification tells of the request with this token, if it does."""
    match message:
        case {
            "method": "notifications/progress",
            "params": {"progressToken": said, "progress": int() | float() as progress, **rest},
        }:
            if str(said) != str(token) or isinstance(progress, bool):
                return None
            total, text = rest.get("total"), rest.get("message")
            known = float(total) if isinstance(total, int | float) else None
            return Progress(float(progress), known, text if isinstance(text, str) else "")
    return None


def parsed(text: bytes) -> Message:
    """A message.

    Raises:
        Answered: it is none.
    """
    try:
        message = from_json(text)  # it keeps integers of more than 64 bits
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise Answered(_NOT_MCP)
    return message


def dumped(value: Any) -> bytes:
    """`value` as JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
