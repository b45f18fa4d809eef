"""The error catalogue: complete in every direction, and the same error after a trip over the wire."""

import json
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from trivet.error.v1 import error_reason_pb2
from trivet.kernel import catalogue, errors

PROTO = Path(__file__).parents[2] / "protos/trivet/error/v1/error_reason.proto"
PREFIX = "ERROR_REASON_"

EXAMPLES: list[errors.ServiceError] = [
    errors.InvalidRequest("`n` must be at least 1.", "n"),
    errors.UnsupportedParameter("`logit_bias` is not known to this provider.", "logit_bias"),
    errors.AddressRefused("This address is not allowed.", "mcp_servers[0].url"),
    errors.ToolNotFound("No tool `x`.", "tools[2]"),
    errors.MissingKey(),
    errors.InvalidKey(),
    errors.PermissionDenied("This key may not use the model."),
    errors.ModelNotFound("lab/fast"),
    errors.McpServerNotFound("clock", "mcp_servers[0].name"),
    errors.ResponseNotFound("resp_1"),
    errors.PreviousResponseNotFound("resp_1"),
    errors.ConversationNotFound("conv_1"),
    errors.ItemNotFound("msg_1"),
    errors.RouteNotFound("/api/llm/nowhere"),
    errors.MethodNotAllowed("DELETE", "GET, POST"),
    errors.RequestTimeout(),
    errors.PayloadTooLarge("The body is larger than 32 MiB."),
    errors.UnsupportedMediaType("Send JSON."),
    errors.RateLimited("Too many requests.", retry_after=1.5),
    errors.ClientClosedRequest(),
    errors.InternalError(),
    errors.UpstreamRejected("Too low.", 400, "temperature", "decimal_below_min_value", "invalid_request_error"),
    errors.UpstreamFailed("The provider failed."),
    errors.McpServerUnavailable("clock", "The MCP server `clock` is not reachable."),
    errors.Overloaded("Try later.", retry_after=3),
    errors.UpstreamTimeout("The provider did not answer in time."),
]
by_reason = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.reason)


class Failure:
    """A failed RPC as a client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str = "", status: status_pb2.Status | None = None) -> None:
        self._code, self._details, self._status = code, details, status

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> list[tuple[str, str | bytes]]:
        return [
            ("x-other", "1"),
            *([(catalogue.DETAILS_KEY, self._status.SerializeToString())] if self._status else []),
        ]


def received(error: errors.ServiceError) -> errors.ServiceError:
    status = catalogue.to_status(error)
    return catalogue.from_rpc_error(Failure(catalogue.TABLE[error.reason].grpc_code, status.message, status))


def proto_reasons() -> set[str]:
    return {name.removeprefix(PREFIX) for name in error_reason_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118


def test_every_reason_of_the_proto_has_one_class_one_row_and_one_example():
    assert proto_reasons() == set(catalogue.TABLE) == set(errors.BY_REASON) == {error.reason for error in EXAMPLES}
    assert len(EXAMPLES) == len(errors.BY_REASON)


def test_every_reason_documents_the_metadata_keys_that_its_class_sets():
    text = re.sub(r"\n\s*//\s*", " ", PROTO.read_text())
    documented = {found["reason"]: found for found in map(json.loads, re.findall(r'\{"reason".*?\}\}', text))}
    assert set(documented) == proto_reasons()
    for error in EXAMPLES:
        assert documented[error.reason]["domain"] == catalogue.DOMAIN
        assert set(documented[error.reason]["metadata"]) == set(error.metadata), error.reason


def test_the_hierarchy_in_the_docstring_names_every_reason():
    assert set(re.findall(r"\b[A-Z][A-Z_]{7,}\b", errors.__doc__ or "")) == proto_reasons()


@by_reason
def test_an_error_is_the_same_after_the_wire(error: errors.ServiceError):
    back = received(error)
    assert type(back) is type(error)
    assert (back.message, back.param, back.metadata, back.retry_after) == (
        error.message,
        error.param,
        error.metadata,
        error.retry_after,
    )


@by_reason
def test_an_error_has_an_openai_body(error: errors.ServiceError):
    status, body = catalogue.error_body(error)
    assert 400 <= status <= 599
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert body["error"]["message"] == error.message
    assert body["error"]["param"] == (error.param or None)


def test_the_status_carries_one_error_info_and_the_field_at_fault():
    status = catalogue.to_status(errors.ModelNotFound("lab/fast"))
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert (info.reason, info.domain, dict(info.metadata)) == ("MODEL_NOT_FOUND", "trivet", {"model": "lab/fast"})
    assert request.field_violations[0].field == "model"
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_missing_code_and_param_are_null():
    _, body = catalogue.error_body(errors.InvalidRequest("No."))
    assert body["error"] == {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}


def test_a_rejection_by_the_upstream_keeps_its_status_type_and_code():
    error = errors.UpstreamRejected("No such thing.", 404, "model", "gone", "odd_error")
    status, body = catalogue.error_body(received(error))
    assert status == 404
    assert body["error"] == {"message": "No such thing.", "type": "odd_error", "param": "model", "code": "gone"}


def test_an_unprocessable_entity_of_the_upstream_becomes_a_bad_request():
    assert catalogue.http_status(errors.UpstreamRejected("No.", 422)) == 400


@pytest.mark.parametrize("text", ["é" * 100_000, "x" * 100_000, "a\ud800b\n"])
def test_texts_of_any_size_and_kind_fit_in_trailing_metadata(text: str):
    error = errors.InvalidRequest(text, text)
    error.metadata = {"model": text}
    status = catalogue.to_status(error)
    on_the_wire = 3 * len(status.message.encode()) + 4 * len(status.SerializeToString()) // 3
    assert on_the_wire < 8192
    assert received(error).message.startswith(text[0])


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to ipv4:10.0.0.7:50051", errors.Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.RequestTimeout),
        (grpc.StatusCode.CANCELLED, "", errors.Overloaded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", errors.PayloadTooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", errors.Overloaded),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.RouteNotFound),
        (grpc.StatusCode.INTERNAL, "secret", errors.InternalError),
        (grpc.StatusCode.UNKNOWN, "secret", errors.InternalError),
        (grpc.StatusCode.DATA_LOSS, "secret", errors.InternalError),
    ],
)
def test_a_failure_without_a_typed_status_is_inferred_and_its_text_dropped(
    code: grpc.StatusCode, details: str, expected: type[errors.ServiceError]
):
    error = catalogue.from_rpc_error(Failure(code, details))
    assert type(error) is expected
    assert not details or details not in error.message


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_code_has_an_http_status(code: grpc.StatusCode):
    assert 400 <= catalogue.error_body(catalogue.from_rpc_error(Failure(code)))[0] <= 599


def test_what_a_server_says_about_the_request_reaches_the_caller():
    error = catalogue.from_rpc_error(Failure(grpc.StatusCode.INVALID_ARGUMENT, "n must be at least 1"))
    assert (type(error), error.message) == (errors.InvalidRequest, "n must be at least 1")


def test_a_reason_of_a_newer_version_falls_back_to_the_code():
    status = catalogue.to_status(errors.InvalidRequest("New trouble."))
    info = error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="trivet")
    status.details[0].Pack(info)
    error = catalogue.from_rpc_error(Failure(grpc.StatusCode.INVALID_ARGUMENT, status.message, status))
    assert (type(error), error.message) == (errors.InvalidRequest, "New trouble.")


def test_an_unknown_reason_cannot_be_restored():
    with pytest.raises(KeyError):
        errors.restore("FROM_THE_FUTURE", "")
