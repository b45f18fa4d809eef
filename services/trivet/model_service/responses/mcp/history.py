"""MCP items as a model reads them that knows only functions: calls with their results."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.tools import text
from trivet.kernel.tools.calls import piece_text
from trivet.kernel.tools.names import legal_name
from trivet.model.v1.response_item_mcp_pb2 import McpApprovalRequest, McpApprovalResponse, McpCall, McpError
from trivet.model.v1.response_item_pb2 import FunctionCall, FunctionCallOutput, Item
from trivet.tool.v1.tool_pb2 import ToolContent

Names = Mapping[tuple[str, str], str]
"""The label of a server and the name of its tool -> the name under which a model is offered it."""

_KINDS: Final = frozenset({"mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response"})


def has_mcp_items(items: Iterable[Item]) -> bool:
    """Whether `model_items` would change anything."""
    return any(item.WhichOneof("kind") in _KINDS for item in items)


def model_items(items: Sequence[Item], names: Names | None = None) -> list[Item]:
    """`items` without any of MCP: each call is a function call and its output, both with the item's id as `call_id`.

    A request for approval that was denied is such a call, too, and the denial is its output; one that was approved is only
    what was called then, and one that nobody has answered is nothing.
    """
    answers = {
        item.mcp_approval_response.approval_request_id: item.mcp_approval_response
        for item in items
        if item.HasField("mcp_approval_response")
    }
    names = names or {}
    found: list[Item] = []
    for item in items:
        match item.WhichOneof("kind"):
            case "mcp_list_tools" | "mcp_approval_response":
                pass
            case "mcp_call":
                found += _call(item.mcp_call, names, call_output(item.mcp_call))
            case "mcp_approval_request":
                answer = answers.get(item.mcp_approval_request.id)
                if answer is not None and not answer.approve:
                    found += _call(item.mcp_approval_request, names, _denial(answer))
            case _:
                found.append(item)
    return found


def call_output(call: McpCall) -> str:
    """What a model reads of a call's result, or of why there is none."""
    if call.HasField("output"):
        return call.output
    return text.failure(_error_text(call.error) if call.HasField("error") else "The call did not finish.")


def _call(call: McpCall | McpApprovalRequest, names: Names, output: str) -> tuple[Item, Item]:
    name = names.get((call.server_label, call.name)) or legal_name(call.name)
    made = FunctionCall(call_id=call.id, name=name, arguments=call.arguments or "{}", status="completed")
    told = FunctionCallOutput(call_id=call.id, status="completed")
    told.output.text = output
    return Item(function_call=made), Item(function_call_output=told)


def _denial(answer: McpApprovalResponse) -> str:
    why = f" The reason given: {answer.reason}" if answer.reason else ""
    return text.failure(f"The user did not allow this call.{why}")


def _error_text(error: McpError) -> str:
    match error.WhichOneof("kind"):
        case "protocol_error" | "http_error" as kind:
            return str(getattr(error, kind).message)
        case "tool_execution_error":
            return _content_text(error.tool_execution_error.content) or "The tool failed and gave no reason."
        case _:
            return error.unknown


def _content_text(raw: str) -> str:
    content = orjson.loads(raw or "[]")
    if not isinstance(content, list):
        return raw
    try:
        return "\n".join(piece_text(codec_for(ToolContent).decode(piece)) for piece in content)
    except InvalidRequest:
        # The error of a server that a provider has asked by itself need not have MCP's form.
        return raw
