"""Calls that a person was asked to allow, and has."""

from collections.abc import Collection, Sequence

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_item_mcp_pb2 import McpApprovalRequest, McpCall
from trivet.model.v1.response_item_pb2 import Item
from trivet.model_service.responses.item_ids import new_item_id


def approved_calls(history: Sequence[Item], given: Sequence[Item], labels: Collection[str]) -> list[McpCall]:
    """The calls that the input `given` allows and that were not made yet, in its order.

    `labels` are those of the servers of the request.

    Raises:
        InvalidRequest: an answer to what was never asked, or to a call of a server that the request does not have.
    """
    requests = {item.mcp_approval_request.id: item.mcp_approval_request for item in (*history, *given)}
    made = {item.mcp_call.approval_request_id for item in (*history, *given)}
    calls: list[McpCall] = []
    for index, item in enumerate(given):
        answer = item.mcp_approval_response
        if not item.HasField("mcp_approval_response") or answer.approval_request_id in made:
            continue
        request = requests.get(answer.approval_request_id) if answer.approval_request_id else None
        if request is None:
            where = f"input[{index}].approval_request_id"
            told = f"Invalid '{where}': nothing was asked under '{answer.approval_request_id:.80}'."
            raise InvalidRequest(told, where)
        if answer.approve:
            if request.server_label not in labels:
                told = f"The call allowed by 'input[{index}]' needs the server '{request.server_label:.80}' in 'tools' again."
                raise InvalidRequest(told, "tools")
            made.add(answer.approval_request_id)
            calls.append(_call(request))
    return calls


def _call(request: McpApprovalRequest) -> McpCall:
    return McpCall(
        id=new_item_id("mcp_call"),
        server_label=request.server_label,
        name=request.name,
        arguments=request.arguments or "{}",
        status="in_progress",
        approval_request_id=request.id,
    )
