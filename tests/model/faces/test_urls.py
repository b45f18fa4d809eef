"""Every URL that a provider would fetch is found, wherever in a request it stands."""

from typing import Any

import pytest
from google.protobuf.message import Message

from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.faces.urls import fetched_urls, may_hold_urls

URL = "http://10.0.0.1/x"


def found(request: Message) -> list[tuple[str, str]]:
    urls = list(fetched_urls(request))
    # Only a request that may hold some is ever searched.
    assert may_hold_urls(request) or not urls
    return urls


def in_chat(**body: Any) -> list[tuple[str, str]]:
    return found(codec_for(CreateChatCompletionRequest).decode({"model": "a/m"} | body))


def in_responses(**body: Any) -> list[tuple[str, str]]:
    return found(codec_for(CreateResponseRequest).decode({"model": "a/m"} | body))


@pytest.mark.parametrize(
    "message", [{"role": "user"}, {"role": "system"}, {"role": "tool", "tool_call_id": "a"}, {"role": "assistant"}]
)
@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_a_chat_message_of_any_role_is_looked_into(message: dict[str, Any], kind: str) -> None:
    parts = [{"type": "text", "text": URL}, {"type": kind, kind: {"url": URL}}]
    urls = in_chat(messages=[{"role": "user", "content": URL}, message | {"content": parts}])
    assert urls == [(URL, f"messages[1].content[1].{kind}.url")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": URL}]}]}, "input[0].content[0].file_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_video", "video_url": URL}]}]}, "input[0].content[0].video_url"),
        ({"input": [{"role": "user", "content": [{"type": "novel", "a": [{"b_url": URL}]}]}]}, "input[0].content[0].a[0].b_url"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": URL}]}]},
            "input[0].output[0].image_url",
        ),
        (
            {
                "input": [
                    {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": URL}}
                ]
            },
            "input[0].output.image_url",
        ),
        ({"tools": [{"type": "mcp", "server_label": "s", "server_url": URL}]}, "tools[0].server_url"),
        (
            {"tools": [{"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "novel", "server_url": URL}]}]},
            "tools[0].tools[0].server_url",
        ),
        (
            {"tools": [{"type": "image_generation", "input_image_mask": {"image_url": URL}}]},
            "tools[0].input_image_mask.image_url",
        ),
        ({"prompt": {"id": "p", "variables": {"v": {"type": "input_image", "image_url": URL}}}}, "prompt.variables.v.image_url"),
    ],
)
def test_a_response_s_input_prompt_and_tools_are_looked_into(body: dict[str, Any], param: str) -> None:
    assert in_responses(**body) == [(URL, param)]


def test_what_is_inline_or_only_repeated_is_no_url_to_fetch() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert in_chat(messages=[{"role": "user", "content": [image]}], extra_url=URL) == []
    cited = {"type": "url_citation", "url": URL, "title": "t", "start_index": 0, "end_index": 1}
    said = [{"type": "output_text", "text": "x", "annotations": [cited]}]
    assert in_responses(input=[{"role": "assistant", "content": said}], instructions=URL) == []


def test_parameters_that_only_the_provider_knows_are_searched_for_what_is_fetched_elsewhere() -> None:
    servers = [{"type": "url", "url": URL}]
    assert in_chat(mcp_servers=servers, image_url="no address", user_url=URL) == [(URL, "mcp_servers[0].url")]


def test_a_request_of_texts_is_not_searched() -> None:
    texts = [{"role": role, "content": URL} for role in ("system", "user", "assistant")] + [
        {"role": "user", "content": [{"type": "text", "text": URL}]}
    ]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"image_url": URL}}}
    chat = codec_for(CreateChatCompletionRequest).decode({"model": "a/m", "messages": texts, "tools": [tool]})
    assert not may_hold_urls(chat)
    assert not may_hold_urls(codec_for(CreateResponseRequest).decode({"model": "a/m", "input": URL}))
