"""A thinking Claude behind the whole gateway: what it signed comes back to it, whoever calls its tools."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.checkers.chat_stream import check_chat_sse
from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.frames import Json, data_of
from tests.e2e.rig import Rig, gateway
from tests.e2e.tool_server import tool_server
from tests.model.adapters.messages_events import began, block, calling, ended, sse, text, thinking
from tests.upstreams.scripted import ScriptedUpstream, answer, stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

REDACTED = {"type": "redacted_thinking", "data": "secret"}
CALLED = [*thinking(0, "I ", "add."), *block(1, REDACTED), *text(2, "Well:"), *calling(3, "toolu_1", "add", '{"a": 2, "b": 3}')]
ANSWERED = [*thinking(0, signature="sig2"), *text(1, "It is 5.")]

ASKED = {"role": "user", "content": "What is 2 and 3?"}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}
HANDED_BACK = [
    {"role": "user", "content": [{"type": "text", "text": "What is 2 and 3?"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I add.", "signature": "sig"},
            REDACTED,
            {"type": "text", "text": "Well:"},
            {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2, "b": 3}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "5"}]},
]


@dataclass(frozen=True)
class Place:
    """A gateway, and the upstream behind its provider `claude`."""

    rig: Rig
    upstream: ScriptedUpstream

    def play(self, *answers: list[Json]) -> None:
        for said in answers:
            reason = "tool_use" if said is CALLED else "end_turn"
            self.upstream.play(stream(sse(began(), *said, *ended(reason))))

    def asked(self) -> list[Json]:
        """The messages of the last request, without what was said after the tool's result."""
        messages: list[Json] = self.upstream.requests[-1].body["messages"]
        return messages[:3]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("store")
    async with ScriptedUpstream() as upstream, tool_server() as tools:
        provider = {"name": "claude", "type": "anthropic", "base_url": upstream.base_url, "api_key": "sk-ant-0123456789"}
        sections = {
            "providers": [provider],
            "store": {"url": f"sqlite:///{folder}/trivet.db"},
            "mcp_servers": [{"name": "tools", "url": tools.url}],
            "security": {"allow_private_networks": True},
        }
        async with gateway(**sections) as rig:
            yield Place(rig, upstream)


@pytest.fixture
def claude(opened: Place) -> Place:
    opened.upstream.forget()
    return opened


async def streamed(claude: Place, path: str, body: Json) -> bytes:
    async with claude.rig.http.post(path, json=body | {"stream": True}) as answered:
        assert answered.status == 200, await answered.text()
        return await answered.read()


async def test_a_run_hands_what_was_signed_back_with_the_call(claude: Place) -> None:
    claude.play(CALLED, ANSWERED)
    asked = {"model": "claude/claude-opus-4-8", "messages": [ASKED], "mcp_servers": [{"integration_fqn": "tools"}]}
    raw = await streamed(claude, "/api/llm/agent/responses", asked | {"reasoning_effort": "high"})
    deltas = [choice["delta"] for chunk in data_of(raw) for choice in chunk["choices"]]

    assert check_chat_sse(raw, agent=True) == []
    assert "".join(delta.get("content") or "" for delta in deltas if delta.get("role") != "tool") == "Well:It is 5."
    assert [detail["type"] for delta in deltas for detail in delta.get("reasoning_details", ())] == [
        "reasoning.text",
        "reasoning.encrypted",
        "reasoning.encrypted",
    ]
    assert claude.asked() == HANDED_BACK
    assert [request.body["thinking"]["type"] for request in claude.upstream.requests] == ["adaptive", "adaptive"]
    assert {request.headers["x-api-key"] for request in claude.upstream.requests} == {"sk-ant-0123456789"}


async def test_the_messages_of_a_run_go_on_in_a_chat(claude: Place) -> None:
    claude.play(CALLED, ANSWERED, ANSWERED)
    asked = {"model": "claude/claude-opus-4-8", "messages": [ASKED], "mcp_servers": [{"integration_fqn": "tools"}]}
    status, first = await claude.rig.post("/api/llm/agent/responses", asked | {"stream": False})
    messages = [ASKED, *first["messages"], first["choices"][0]["message"], {"role": "user", "content": "Sure?"}]
    await streamed(claude, "/v1/chat/completions", {"model": "claude/claude-opus-4-8", "messages": messages})
    said = claude.upstream.requests[-1].body["messages"]

    assert status == 200
    assert said[:3] == HANDED_BACK
    assert said[3]["content"][0] == {"type": "thinking", "thinking": "", "signature": "sig2"}


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-haiku-4-5"])
async def test_a_stored_chain_hands_it_back_though_nobody_saw_it(claude: Place, model: str) -> None:
    claude.play(CALLED, ANSWERED)
    asked = {"model": f"claude/{model}", "tools": [{"type": "function", **ADD}], "reasoning": {"effort": "low"}}
    raw = await streamed(claude, "/v1/responses", asked | {"input": [ASKED]})
    first = data_of(raw)[-1]["response"]
    output = {"type": "function_call_output", "call_id": "toolu_1", "output": "5"}
    raw = await streamed(claude, "/v1/responses", asked | {"previous_response_id": first["id"], "input": [output]})

    assert check_responses_sse(raw) == []
    assert [item["type"] for item in first["output"]] == ["reasoning", "reasoning", "message", "function_call"]
    assert not any("encrypted_content" in item for item in first["output"])
    assert claude.asked() == HANDED_BACK


async def test_items_handed_back_by_hand_bring_it_along(claude: Place) -> None:
    claude.play(CALLED, ANSWERED)
    asked = {
        "model": "claude/claude-opus-4-8",
        "tools": [{"type": "function", **ADD}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    first = data_of(await streamed(claude, "/v1/responses", asked | {"input": [ASKED]}))[-1]["response"]
    output = {"type": "function_call_output", "call_id": "toolu_1", "output": "5"}
    await streamed(claude, "/v1/responses", asked | {"input": [ASKED, *first["output"], output]})

    assert claude.asked() == HANDED_BACK


async def test_tools_of_mcp_servers_in_a_response_hand_it_back(claude: Place) -> None:
    claude.play(CALLED, ANSWERED)
    tool = {"type": "mcp", "server_label": "sums", "connector_id": "tools", "require_approval": "never"}
    raw = await streamed(claude, "/v1/responses", {"model": "claude/claude-opus-4-8", "input": [ASKED], "tools": [tool]})
    said = claude.asked()
    # The gateway gives calls of MCP tools ids of its own.
    call_id = said[1]["content"][-1]["id"]
    said[1]["content"][-1]["id"] = said[2]["content"][0]["tool_use_id"] = "toolu_1"

    assert check_responses_sse(raw) == []
    assert call_id.startswith("mcp_")
    assert said == HANDED_BACK


async def test_an_overload_keeps_its_status_and_its_name(claude: Place) -> None:
    fault = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    claude.upstream.play(answer(fault, status=529))
    status, body = await claude.rig.post("/v1/chat/completions", {"model": "claude/claude-opus-4-8", "messages": [ASKED]})

    assert (status, body["error"]["message"]) == (503, "Overloaded")


async def test_input_tokens_are_the_providers_count(claude: Place) -> None:
    claude.upstream.play(answer({"input_tokens": 14}))
    status, counted = await claude.rig.post("/v1/responses/input_tokens", {"model": "claude/claude-opus-4-8", "input": "hi"})

    assert (status, counted["input_tokens"], counted.get("estimated")) == (200, 14, None)
