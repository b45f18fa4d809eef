"""MCP items as a model reads them that knows only functions."""

import json
from typing import Any

import pytest

from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_item_pb2 import Item
from trivet.model_service.responses.mcp.history import has_mcp_items, model_items

Json = dict[str, Any]

CALL: Json = {
    "type": "mcp_call",
    "id": "mcp_1",
    "server_label": "math",
    "name": "add",
    "arguments": '{"a":1}',
    "status": "completed",
}
ASKED: Json = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "math", "name": "add", "arguments": "{}"}
ANSWER: Json = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1"}
LISTED: Json = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "math", "tools": []}
USER: Json = {"type": "message", "role": "user", "content": "go"}


def read(*items: Json, names: dict[tuple[str, str], str] | None = None) -> list[Json]:
    """What a model reads of these items."""
    found = model_items([codec_for(Item).decode(item) for item in items], names)
    return [json.loads(codec_for(Item).dumps(item)) for item in found]


def output(*items: Json) -> str:
    """The output of the one call in these items."""
    call, told = read(*items)
    assert call["call_id"] == told["call_id"]
    said: str = told["output"]
    return said


def test_a_call_is_a_function_call_with_its_output() -> None:
    call, told = read(CALL | {"output": "3"})

    assert (call["type"], call["call_id"], call["name"], call["arguments"]) == ("function_call", "mcp_1", "add", '{"a":1}')
    assert (told["type"], told["call_id"], told["output"]) == ("function_call_output", "mcp_1", "3")


def test_what_is_not_of_mcp_stays_as_it_is() -> None:
    assert read(USER, LISTED) == read(USER)
    assert not has_mcp_items([codec_for(Item).decode(USER)])
    assert has_mcp_items([codec_for(Item).decode(LISTED)])


def test_an_empty_output_is_an_output() -> None:
    assert output(CALL | {"output": ""}) == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "mcp_protocol_error", "code": -32602, "message": "no such tool"}, "no such tool"),
        ({"type": "http_error", "code": 502, "message": "gone"}, "gone"),
        ({"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "full"}]}, "full"),
        ({"type": "mcp_tool_execution_error", "content": []}, "The tool failed and gave no reason."),
        ({"type": "mcp_tool_execution_error", "content": {"odd": 1}}, '{"odd":1}'),
        ({"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": 5}]}, '[{"type":"text","text":5}]'),
    ],
)
def test_a_call_that_failed_says_why(error: Json, said: str) -> None:
    assert json.loads(output(CALL | {"status": "failed", "error": error}))["error"] == said


def test_a_call_without_an_end_says_so() -> None:
    assert "did not finish" in json.loads(output(CALL | {"status": "incomplete"}))["error"]


def test_a_call_has_the_name_under_which_its_tool_is_offered_now() -> None:
    assert read(CALL, names={("math", "add"): "math_add"})[0]["name"] == "math_add"
    assert read(CALL | {"name": "files/read.v2"})[0]["name"] == "files_read_v2"


def test_a_call_that_was_denied_has_the_denial_as_its_output() -> None:
    said = output(ASKED, ANSWER | {"approve": False, "reason": "too dear"})

    assert "did not allow" in json.loads(said)["error"]
    assert "too dear" in json.loads(said)["error"]


def test_a_call_that_was_allowed_is_only_what_was_called() -> None:
    made = CALL | {"approval_request_id": "mcpr_1", "output": "3"}

    assert read(ASKED, ANSWER | {"approve": True}, made) == read(made)


def test_a_question_that_nobody_answered_is_nothing() -> None:
    assert read(ASKED) == []
