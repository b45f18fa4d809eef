"""The contract's page names every route and field there is, and its examples are requests that are taken."""

import json
from importlib import import_module
from typing import Any

import pytest
from google.protobuf import symbol_database

from tests.docs.pages import ROOT, Fence, code_words, fences
from trivet.agent.v1.agent_service_pb2 import CreateAgentResponseRequest, McpServer
from trivet.bridge.contract import routes
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.shape import fields_of
from trivet.kernel.validation import validate
from trivet.model.v1.response_request_pb2 import CreateResponseRequest

PAGE = ROOT / "docs/contract.md"
WORDS = set(code_words(PAGE))
EXAMPLES = [fence for page in (PAGE, ROOT / "docs/responses.md") for fence in fences(page) if fence.language == "json"]


def test_every_route_is_on_the_page() -> None:
    served = {f"{route.method} {route.path.replace('=**', '')}" for route in routes()}

    assert len(served) >= 8
    assert served - WORDS == set()


def test_no_route_is_on_the_page_that_is_not_served() -> None:
    served = {f"{route.method} {route.path.replace('=**', '')}" for route in routes()}
    told = {word for word in WORDS if word.startswith(("GET /", "POST /", "DELETE /"))}
    apart = {"GET /healthz", "GET /readyz", "GET /openapi.json", "GET /docs", "GET /v1/mcp/servers", "GET /responses"}

    assert told - served == apart


@pytest.mark.parametrize(
    ("message", "path"),
    [(CreateAgentResponseRequest, ""), (McpServer, "mcp_servers[]."), (CreateResponseRequest, "")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_field_of_a_request_is_on_the_page(message: Any, path: str) -> None:
    keys = {field.key for field in fields_of(message.DESCRIPTOR) if not field.options.catch_all}

    assert {key for key in keys if f"{path}{key}" not in WORDS and key not in WORDS} == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda fence: fence.words)
def test_an_example_is_a_request_of_the_contract(example: Fence) -> None:
    for module in ("trivet.agent.v1.agent_service_pb2", "trivet.model.v1.response_request_pb2"):
        import_module(module)
    message_class = symbol_database.Default().GetSymbol(example.words)

    message = codec_for(message_class).decode(json.loads(example.text), strict=True)

    validate(message)
    assert codec_for(message_class).encode(message).get("extra") is None
