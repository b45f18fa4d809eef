"""The OpenAPI document says what the codec does."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.contract.reachable import METHODS, SERVICES
from tests.contract.strategies import json_of
from tests.contract.test_codec import FEW
from trivet.kernel.openapi.document import document
from trivet.kernel.openapi.prose import contract_prose
from trivet.kernel.openapi.schemas import Schemas, reachable

DOCUMENT = document(SERVICES, ["/v1"])
UNARY = [method for method in METHODS if not method.server_streaming]
SPOKEN = sorted(
    reachable([message for method in UNARY for message in (method.input_type, method.output_type)]),
    key=lambda message: message.full_name,
)
SCHEMAS = Schemas({}, reachable([method.input_type for method in METHODS]))
REFERENCES = {descriptor: SCHEMAS.reference(descriptor) for descriptor in SPOKEN}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_component_is_a_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_there_with_its_own_operation() -> None:
    operations = [operation["operationId"] for verbs in DOCUMENT["paths"].values() for operation in verbs.values()]

    assert len(set(operations)) == len(operations)
    assert {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs} >= {
        ("/responses", "post"),
        ("/chat/completions", "post"),
        ("/agent/responses", "post"),
        ("/agent/chat/completions", "post"),
        ("/models", "get"),
        ("/models/{model}", "get"),
        ("/mcp/servers", "get"),
        ("/mcp/servers/{name}/tools", "get"),
    }


def test_a_shared_route_takes_the_bodies_of_all_its_rpcs() -> None:
    operation = DOCUMENT["paths"]["/chat/completions"]["post"]

    assert operation["operationId"] == "CreateChatCompletion"
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "anyOf": [
            {"$ref": "#/components/schemas/content.CreateChatCompletionRequest"},
            {"$ref": "#/components/schemas/agent.CreateAgentResponseRequest"},
        ]
    }


def parameters(path: str, verb: str) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in DOCUMENT["paths"][path][verb]["parameters"]}


def test_what_needs_no_body_has_its_parameters_in_path_and_query() -> None:
    listed = parameters("/responses/{response_id}/input_items", "get")

    assert [(name, one["in"], one["required"]) for name, one in listed.items()] == [
        ("response_id", "path", True),
        ("after", "query", False),
        ("before", "query", False),
        ("limit", "query", False),
        ("order", "query", False),
        ("include", "query", False),
    ]
    assert listed["limit"]["schema"] == {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100}
    assert listed["order"]["schema"]["enum"] == ["asc", "desc"]
    assert listed["include"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert all(one["description"] for one in listed.values() if one["in"] == "query")


def test_only_what_reads_a_body_has_one() -> None:
    with_body = {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs if "requestBody" in verbs[verb]}

    assert {("/responses", "post"), ("/conversations/{conversation_id}", "post")} <= with_body
    assert ("/responses/{response_id}/cancel", "post") not in with_body
    assert {verb for _, verb in with_body} == {"post"}


def test_a_stream_that_is_asked_for_by_the_query_is_described() -> None:
    operation = DOCUMENT["paths"]["/responses/{response_id}"]["get"]

    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert parameters("/responses/{response_id}", "get")["starting_after"]["schema"]["minimum"] == 0


def test_a_streamed_answer_is_described_by_its_events() -> None:
    content = DOCUMENT["paths"]["/responses"]["post"]["responses"]["200"]["content"]

    assert content["text/event-stream"]["schema"] == {"$ref": "#/components/schemas/model.ResponseEvent"}


def test_the_comments_of_the_protos_are_its_prose() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["agent.CreateAgentResponseRequest"]["properties"]["iteration_limit"]["description"]
    assert all(operation["summary"] for verbs in DOCUMENT["paths"].values() for operation in verbs.values())


@pytest.mark.parametrize("descriptor", SPOKEN, ids=lambda descriptor: descriptor.full_name)
def test_every_field_has_prose(descriptor: Descriptor) -> None:
    assert [field.full_name for field in descriptor.fields if field.full_name not in contract_prose()] == []


@pytest.mark.parametrize("descriptor", SPOKEN, ids=lambda descriptor: descriptor.full_name)
@FEW
@given(data=st.data())
def test_what_the_codec_takes_is_valid_by_the_schema(descriptor: Descriptor, data: st.DataObject) -> None:
    schema = {**REFERENCES[descriptor], "components": {"schemas": SCHEMAS.components}}

    Draft202012Validator(schema).validate(data.draw(json_of(descriptor)))
