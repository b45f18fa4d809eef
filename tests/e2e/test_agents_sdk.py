"""Agents of the `openai-agents` SDK: functions of their own, tools of MCP servers that the gateway runs, and memories of each kind."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from agents import (
    Agent,
    HostedMCPTool,
    MCPToolApprovalFunctionResult,
    ModelSettings,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
)
from agents.memory import OpenAIResponsesCompactionSession
from pydantic import BaseModel

from tests.e2e.answers import Answer, Call
from tests.e2e.runs import calling
from tests.e2e.sdk import sdk
from tests.e2e.shapes import Shape
from tests.e2e.upstream_talk import heard, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])
streamed_or_whole = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
remembering = pytest.mark.parametrize("chained", [True, False], ids=["chained", "all at once"])

ADDING = calling(("add", {"a": 2, "b": 3}))
QUIET = RunConfig(tracing_disabled=True)


class Weather(BaseModel):
    city: str
    sunny: bool


@function_tool
def add(a: int, b: int) -> str:
    """Add two integers."""
    return str(a + b)


@function_tool
def weather(city: str) -> str:
    """What it is like there."""
    return f"sunny in {city}"


@pytest_asyncio.fixture(loop_scope="session")
async def client(one: Shape) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"{one.url}/v1") as opened:
        yield opened


def agent(client: openai.AsyncOpenAI, dialect: str = "lab", **more: Any) -> Agent[Any]:
    model = OpenAIResponsesModel(model=f"{dialect}/m", openai_client=client)
    return Agent(name="Agent", instructions="Be brief.", model=model, **more)


def hosted(shape: Shape, approval: Any = "never", **more: Any) -> HostedMCPTool:
    config: Any = {"type": "mcp", "server_label": "sums", "server_url": shape.tools.url, "require_approval": approval}
    return HostedMCPTool(tool_config=config, **more)


async def run(agent: Agent[Any], asked: Any, *, streamed: bool = False, **more: Any) -> Any:
    if not streamed:
        return await Runner.run(agent, asked, run_config=QUIET, **more)
    result = Runner.run_streamed(agent, asked, run_config=QUIET, **more)
    async for _ in result.stream_events():
        pass
    return result


def said(shape: Shape) -> list[tuple[str, str]]:
    """What the upstream heard last, but for the instructions."""
    return [entry for entry in heard(shape.upstream.requests[-1].body) if entry[0] not in {"system", "developer"}]


# ---- functions ---------------------------------------------------------------------------------------------------------------


@of_each_dialect
@streamed_or_whole
@remembering
async def test_functions_in_several_turns(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool, chained: bool
) -> None:
    say(one.upstream, calling(("add", {"a": 2, "b": 3}), ("weather", {"city": "Zürich"})))
    say(one.upstream, Answer(calls=(Call("call_last", "add", '{"a": 5, "b": 5}'),)), "5, 10, and sunny.")

    result = await run(agent(client, dialect, tools=[add, weather]), "go", streamed=streamed, auto_previous_response_id=chained)

    assert result.final_output == "5, 10, and sunny."
    results = [text for who, text in said(one) if who == "result"]
    assert results == ["5", "sunny in Zürich", "10"]
    assert said(one)[0] == ("user", "go")
    assert len(one.upstream.requests) == 3
    # Instructions come with each request of the agent, and are those of that request alone.
    assert [who for who, _ in heard(one.upstream.requests[-1].body)].count(heard(one.upstream.requests[-1].body)[0][0]) == 1


async def test_an_answer_is_parsed_into_its_type(one: Shape, client: openai.AsyncOpenAI) -> None:
    say(one.upstream, '{"city": "Paris", "sunny": true}')

    result = await run(agent(client, output_type=Weather), "What is it like in Paris?")

    assert result.final_output == Weather(city="Paris", sunny=True)


async def test_one_agent_hands_over_to_another(one: Shape, client: openai.AsyncOpenAI) -> None:
    other = agent(client, "oai").clone(name="Other")
    say(one.upstream, calling(("transfer_to_other", {})), "The other one here.")

    result = await run(agent(client, handoffs=[other]), "go")

    assert (result.final_output, result.last_agent.name) == ("The other one here.", "Other")


# ---- tools of an MCP server --------------------------------------------------------------------------------------------------


@of_each_dialect
@streamed_or_whole
async def test_a_hosted_tool(one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool) -> None:
    say(one.upstream, ADDING, "It is 5.")

    result = await run(agent(client, dialect, tools=[hosted(one)]), "2 + 3?", streamed=streamed)

    assert result.final_output == "It is 5."
    kinds = [getattr(item.raw_item, "type", None) for item in result.new_items]
    assert kinds == ["mcp_list_tools", "mcp_call", "message"]
    assert one.tools.seen["tools/call"] == 1


@of_each_dialect
@streamed_or_whole
@remembering
@pytest.mark.parametrize("approve", [True, False], ids=["approved", "refused"])
async def test_a_hosted_tool_that_a_callback_approves(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool, chained: bool, approve: bool
) -> None:
    asked: list[str] = []

    def decide(request: Any) -> MCPToolApprovalFunctionResult:
        asked.append(request.data.name)
        return {"approve": approve} if approve else {"approve": False, "reason": "Not now."}

    say(one.upstream, ADDING, "So be it.")
    tool = hosted(one, "always", on_approval_request=decide)
    result = await run(agent(client, dialect, tools=[tool]), "2 + 3?", streamed=streamed, auto_previous_response_id=chained)

    assert (result.final_output, asked) == ("So be it.", ["add"])
    assert one.tools.seen["tools/call"] == int(approve)
    assert said(one)[0] == ("user", "2 + 3?")
    if approve:
        assert said(one)[1:] == [("call", 'add {"a": 2, "b": 3}'), ("result", "5")]


@streamed_or_whole
@pytest.mark.parametrize("approve", [True, False], ids=["approved", "refused"])
async def test_a_hosted_tool_that_a_person_approves(
    one: Shape, client: openai.AsyncOpenAI, streamed: bool, approve: bool
) -> None:
    say(one.upstream, ADDING, "So be it.")
    calculating = agent(client, tools=[hosted(one, "always")])
    waiting = await run(calculating, "2 + 3?", streamed=streamed)
    state = waiting.to_state()
    (interruption,) = waiting.interruptions
    if approve:
        state.approve(interruption)
    else:
        state.reject(interruption)

    result = await run(calculating, state, streamed=streamed)

    assert result.final_output == "So be it."
    assert one.tools.seen["tools/call"] == int(approve)


@streamed_or_whole
async def test_functions_and_hosted_tools_together(one: Shape, client: openai.AsyncOpenAI, streamed: bool) -> None:
    say(one.upstream, calling(("say", {"text": "hello"}), ("weather", {"city": "Zürich"})), "Hello, and sunny.")

    result = await run(agent(client, tools=[hosted(one), weather]), "go", streamed=streamed)

    assert result.final_output == "Hello, and sunny."
    assert {text for who, text in said(one) if who == "result"} == {"hello", "sunny in Zürich"}


# ---- memories ----------------------------------------------------------------------------------------------------------------

HISTORY = [
    ("user", "2 + 3?"), ("call", 'add {"a": 2, "b": 3}'), ("result", "5"), ("assistant", "It is 5."), ("user", "Sure?"),
]  # fmt: skip


@of_each_dialect
@streamed_or_whole
@pytest.mark.parametrize("runs_where", ["here", "there"])
async def test_a_conversation_remembers(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool, runs_where: str
) -> None:
    session = OpenAIConversationsSession(openai_client=client)
    calculating = agent(client, dialect, tools=[add if runs_where == "here" else hosted(one)])
    say(one.upstream, ADDING, "It is 5.", "Yes.")

    await run(calculating, "2 + 3?", streamed=streamed, session=session)
    result = await run(calculating, "Sure?", streamed=streamed, session=session)

    assert result.final_output == "Yes."
    assert said(one) == HISTORY
    assert (await session.get_items())[-1]["type"] == "message"
    await session.clear_session()


@of_each_dialect
@pytest.mark.parametrize("runs_where", ["here", "there"])
async def test_a_session_of_the_client_remembers(one: Shape, client: openai.AsyncOpenAI, dialect: str, runs_where: str) -> None:
    session = SQLiteSession("somebody")
    calculating = agent(client, dialect, tools=[add if runs_where == "here" else hosted(one)])
    say(one.upstream, ADDING, "It is 5.", "Yes.")

    await run(calculating, "2 + 3?", session=session)
    result = await run(calculating, "Sure?", session=session)

    assert result.final_output == "Yes."
    assert said(one) == HISTORY


@of_each_dialect
@streamed_or_whole
@pytest.mark.parametrize("runs_where", ["here", "there"])
async def test_a_response_to_go_on_from_remembers(
    one: Shape, client: openai.AsyncOpenAI, dialect: str, streamed: bool, runs_where: str
) -> None:
    calculating = agent(client, dialect, tools=[add if runs_where == "here" else hosted(one)])
    say(one.upstream, ADDING, "It is 5.", "Yes.")

    first = await run(calculating, "2 + 3?", streamed=streamed, auto_previous_response_id=True)
    result = await run(calculating, "Sure?", streamed=streamed, previous_response_id=first.last_response_id)

    assert result.final_output == "Yes."
    assert said(one) == HISTORY


async def test_a_conversation_of_the_gateway_remembers(one: Shape, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    calculating = agent(client, tools=[add])
    say(one.upstream, ADDING, "It is 5.", "Yes.")

    await run(calculating, "2 + 3?", conversation_id=made.id)
    result = await run(calculating, "Sure?", conversation_id=made.id)

    assert result.final_output == "Yes."
    assert said(one) == HISTORY


@pytest.mark.parametrize("mode", ["input", "previous_response_id"])
async def test_a_session_that_is_compacted_remembers(one: Shape, mode: Any) -> None:
    # The types of the SDK know no messages of users in a compaction.
    async with sdk(f"{one.url}/v1", strict=False) as client:
        session = OpenAIResponsesCompactionSession(
            "somebody",
            underlying_session=SQLiteSession("somebody"),
            client=client,
            model="lab/gpt-m",
            compaction_mode=mode,
            should_trigger_compaction=lambda _: False,
        )
        asking = agent(client, model_settings=ModelSettings(store=True))
        say(one.upstream, "It is 5.")
        await run(asking, "2 + 3?", session=session)
        say(one.upstream, "They added 2 and 3, which is 5.")
        await session.run_compaction({"force": True})
        say(one.upstream, "Yes.")

        result = await run(asking, "Sure?", session=session)

        assert result.final_output == "Yes."
        assert [item.get("type") for item in await session.get_items()].count("compaction") == 1
        assert ("user", "2 + 3?") in said(one)
        assert said(one)[-1] == ("user", "Sure?")
