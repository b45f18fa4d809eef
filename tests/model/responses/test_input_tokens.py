"""Input tokens: as the provider counts them, else estimated here and said to be."""

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.model.responses.turning import (
    Turning,
    Words,
    asking,
    assistant,
    call,
    item,
    managed,
    output,
    registry_of,
    saying,
    user,
)
from tests.upstreams.llama import Llama, start_llama
from tests.upstreams.scripted import ScriptedUpstream, answer
from tests.upstreams.tiny_model import make_tiny_model
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import AddressRefused, InvalidRequest, UnsupportedParameter, UpstreamFailed, UpstreamRejected
from trivet.model.v1.response_context_pb2 import InputTokenCount
from trivet.model_service.adapters import tokenizer
from trivet.model_service.adapters.chat_flavors import OPENAI
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.adapters.tokenizer import LocalTokenizer, rough_count, vocabulary_of
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.responses.turns.compaction import compaction_of
from trivet.model_service.responses.turns.estimate import (
    AUDIO_TOKENS,
    FILE_TOKENS,
    FRAME_TOKENS,
    IMAGE_TOKENS,
    LOW_IMAGE_TOKENS,
    TOOL_TOKENS,
    VIDEO_TOKENS,
    estimate,
)
from trivet.model_service.responses.turns.input_tokens import InputTokens

MISSING = answer({"error": {"message": "Not Found", "type": "not_found_error", "code": 404}}, status=404)


def counting(dialect: Any) -> InputTokens:
    return InputTokens(registry_of(dialect), managed(dialect), Words())


async def counted(dialect: Any, **changes: Any) -> dict[str, Any]:
    return dict(codec_for(InputTokenCount).encode(await counting(dialect).count(asking(**changes))))


def words(**changes: Any) -> int:
    return estimate(asking(**changes), Words())


# ---- the provider's own count ------------------------------------------------------------------------------------------


@asynccontextmanager
async def over(kind: str, **more: Any) -> AsyncIterator[tuple[ScriptedUpstream, Any]]:
    async with ScriptedUpstream() as upstream:
        http = UpstreamHttp("lab", Endpoint(upstream.base_url))
        dialect = OpenAIResponses(http) if kind == "responses" else OpenAIChat(http, **more)
        try:
            yield upstream, dialect
        finally:
            await dialect.aclose()


async def test_a_provider_of_the_responses_api_counts() -> None:
    async with over("responses") as (upstream, dialect):
        upstream.play(answer({"object": "response.input_tokens", "input_tokens": 11}))

        found = await counted(
            dialect,
            instructions="Be brief.",
            input=[user("one")],
            tools=[{"type": "function", "name": "f"}],
            temperature=1,
            store=False,
        )

        sent = upstream.requests[0]
        assert found == {"object": "response.input_tokens", "input_tokens": 11}
        assert sent.path == "/v1/responses/input_tokens"
        assert set(sent.body) == {"model", "instructions", "input", "tools"}
        assert sent.body["model"] == "m"


async def test_a_server_of_that_api_that_does_not_count_is_estimated_for() -> None:
    async with over("responses") as (upstream, dialect):
        upstream.play(MISSING)

        assert await counted(dialect, input="one two") == {
            "object": "response.input_tokens",
            "input_tokens": FRAME_TOKENS + 2,
            "estimated": True,
        }


async def test_its_errors_are_told() -> None:
    async with over("responses") as (upstream, dialect):
        upstream.play(answer({"error": {"message": "No such model.", "param": "model", "code": "x"}}, status=400))
        upstream.play(answer({"input_tokens": "many"}))

        with pytest.raises(UpstreamRejected, match="No such model"):
            await counted(dialect)
        with pytest.raises(UpstreamFailed):
            await counted(dialect)


async def test_a_chat_server_that_counts_is_asked_in_its_api() -> None:
    async with over("chat") as (upstream, dialect):
        upstream.play(answer({"object": "response.input_tokens", "input_tokens": 7}))

        found = await counted(dialect, instructions="Be brief.", input=[user("one"), assistant("two")])

        sent = upstream.requests[0]
        assert found == {"object": "response.input_tokens", "input_tokens": 7}
        assert sent.path == "/v1/chat/completions/input_tokens"
        assert [message["role"] for message in sent.body["messages"]] == ["system", "user", "assistant"]


async def test_a_chat_server_that_does_not_is_asked_once() -> None:
    async with over("chat") as (upstream, dialect):
        upstream.play(MISSING)

        assert (await counted(dialect))["estimated"] is True
        assert (await counted(dialect))["estimated"] is True
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [400, 500])
async def test_a_chat_server_that_cannot_say_is_estimated_for(status: int) -> None:
    async with over("chat") as (upstream, dialect):
        upstream.play(answer({"error": {"message": "Not now."}}, status=status))
        upstream.play(answer({"input_tokens": 5}))

        assert (await counted(dialect))["estimated"] is True
        assert "estimated" not in await counted(dialect)


async def test_openai_is_not_asked_for_what_it_does_not_have() -> None:
    async with over("chat", flavor=OPENAI) as (upstream, dialect):
        assert (await counted(dialect))["estimated"] is True
        assert upstream.requests == []


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    with start_llama(make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")) as running:
        yield running


@pytest.mark.parametrize("kind", [OpenAIChat, OpenAIResponses])
async def test_llama_cpp_counts_in_both_apis_what_it_then_reads(llama: Llama, kind: Any) -> None:
    dialect = kind(UpstreamHttp("lab", Endpoint(llama.base_url, llama.api_key)))
    request = asking(model="lab/tiny", input=[user("What time is it?"), assistant("Noon."), user("Thanks.")], max_output_tokens=1)

    counted = await counting(dialect).count(request)
    response = await managed(dialect).create(request, begin(request, "lab"))
    await dialect.aclose()

    assert not counted.HasField("estimated")
    assert counted.input_tokens == response.usage.input_tokens > 10


# ---- the estimate ------------------------------------------------------------------------------------------------------


async def test_a_dialect_that_does_not_count_is_estimated_for() -> None:
    dialect = Turning(saying("x"))

    assert await counted(dialect, input="one two three") == {
        "object": "response.input_tokens",
        "input_tokens": FRAME_TOKENS + 3,
        "estimated": True,
    }
    assert dialect.asked == []


async def test_what_could_not_be_asked_cannot_be_counted() -> None:
    """So that a request that is counted is one that can be made."""
    with pytest.raises(UnsupportedParameter):
        await counted(Turning(saying("x")), input=[{"type": "web_search_call", "id": "ws_1", "status": "completed"}])
    with pytest.raises(InvalidRequest):
        await counted(Turning(saying("x")), input=[])
    image = {"type": "input_image", "image_url": "http://127.0.0.1:9/x.png"}
    with pytest.raises(AddressRefused):
        await counted(Turning(saying("x")), input=[{"type": "message", "role": "user", "content": [image]}])


async def test_what_is_done_about_a_long_context_is_not_counted() -> None:
    managing = {"truncation": "auto", "context_management": [{"type": "compaction", "compact_threshold": 1}]}

    assert (await counted(Turning(saying("x")), input="one two", **managing))["input_tokens"] == FRAME_TOKENS + 2


async def test_mcp_tools_are_estimated_by_what_the_request_says_of_them() -> None:
    tool = {"type": "mcp", "server_label": "clock", "server_url": "https://mcp.example"}

    async with over("chat") as (upstream, dialect):
        found = await counted(dialect, input="hi", tools=[tool])

        assert found["estimated"] is True
        assert found["input_tokens"] > FRAME_TOKENS + TOOL_TOKENS + 1
        assert upstream.requests == []


async def test_a_compaction_of_ours_counts_as_its_summary() -> None:
    summary = compaction_of("word " * 50)

    with_it = await counting(Turning(saying("x"))).count(asking(input=[user("one"), assistant("gone " * 90), _json(summary)]))

    assert 50 < with_it.input_tokens < 90


def _json(given: Any) -> dict[str, Any]:
    return dict(codec_for(type(given)).encode(given))


def test_everything_that_a_model_reads_counts() -> None:
    asked = [
        user("one two"),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "three", "annotations": []}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "four five"}]},
        call("c1", '{"a": 1}'),
        output("c1", "six"),
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "seven eight"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "nine"}]},
    ]
    texts = 2 + 1 + 2 + (1 + 2) + 1 + (1 + 2) + 1

    assert words(input=asked) == 7 * FRAME_TOKENS + texts
    assert words(input="x", instructions="be brief") == 2 * FRAME_TOKENS + 3


def test_tools_and_the_form_of_the_text_count() -> None:
    tool = {"type": "function", "name": "f", "description": "it does", "parameters": {"type": "object"}}
    space = {"type": "namespace", "name": "n", "description": "for all", "tools": [tool]}
    form = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}
    alone = words(input="x")

    assert words(input="x", tools=[tool]) == alone + TOOL_TOKENS + 4
    assert words(input="x", tools=[space]) == alone + 2 * TOOL_TOKENS + 4 + 2
    assert words(input="x", tools=[{"type": "custom", "name": "g"}]) > alone + TOOL_TOKENS
    assert words(input="x", text=form) == alone + 1


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "input_image", "image_url": "https://a.example/x.png"}, IMAGE_TOKENS),
        ({"type": "input_image", "image_url": "data:image/png;base64," + "a" * 5000, "detail": "low"}, LOW_IMAGE_TOKENS),
        ({"type": "input_file", "file_data": "a" * 5000, "filename": "x.pdf"}, FILE_TOKENS),
        ({"type": "input_audio", "input_audio": {"data": "a" * 5000, "format": "wav"}}, AUDIO_TOKENS),
        ({"type": "input_video", "video_url": "https://a.example/x.mp4"}, VIDEO_TOKENS),
        ({"type": "refusal", "refusal": "no way"}, 2),
        ({"type": "novel", "x": 1}, 1),
    ],
)
def test_what_is_not_text_counts_flat(part: dict[str, Any], tokens: int) -> None:
    assert words(input=[{"type": "message", "role": "user", "content": [part]}]) == FRAME_TOKENS + tokens


def test_items_that_no_field_stands_for_count_as_their_json() -> None:
    mcp = item(type="mcp_call", id="mcp_1", server_label="s", name="t", arguments="{}", output="found it")

    assert words(input=[_json(mcp)]) > FRAME_TOKENS
    assert words(input=[{"type": "compaction", "encrypted_content": base64.b64encode(b"x" * 500).decode()}]) == 0


# ---- the tokenizer -----------------------------------------------------------------------------------------------------

PROSE = {
    "english": "The harbour was quiet that evening, and nobody noticed the small boat leaving before the rain.",
    "german": "Niemand wusste, wem der große Garten hinter den Häusern gehörte, in dem früher Äpfel wuchsen.",
    "russian": "Вчера вечером мы долго гуляли по набережной и разговаривали о том, как изменился город.",  # noqa: RUF001 - another alphabet
    "chinese": "昨天晚上我们沿着河边散步，谈论这座城市在过去二十年里发生的变化。",  # noqa: RUF001 - another script
    "code": "def add(first: int, second: int) -> int:\n    return first + second\n",
}


def test_a_vocabulary_is_used_where_it_is_installed() -> None:
    assert LocalTokenizer().count(["hello world", "hello"], "gpt-5.2") == 3
    assert LocalTokenizer().count(["<|endoftext|>"], "gpt-5.2") > 1, "what a text holds is text"
    assert LocalTokenizer().count([], "gpt-5.2") == 0


@pytest.mark.parametrize("language", PROSE)
def test_without_one_the_count_is_about_right(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PROSE[language]
    exact = LocalTokenizer().count([text], "gpt-5.2")
    monkeypatch.setattr(tokenizer, "_vocabulary", lambda _: None)

    assert LocalTokenizer().count([text], "gpt-5.2") == pytest.approx(exact, rel=0.5)


def test_a_package_that_is_not_installed_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tokenizer.importlib, "import_module", missing)
    tokenizer._vocabulary.cache_clear()

    assert LocalTokenizer().count(["twelve chars"], "m") == 3
    tokenizer._vocabulary.cache_clear()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("abcd" * 100, 100), ("12" * 50, 50), ("\n\n\n\n", 1), ("я" * 100, 40), ("字" * 100, 80), ("😀" * 10, 12)],
)
def test_the_rough_count_goes_by_kinds_of_characters(text: str, tokens: int) -> None:
    assert rough_count(text) == tokens


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-oss:20b", "gpt-oss"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3"),
        ("Qwen/Qwen3-32B", "qwen3"),
        ("deepseek-chat", "deepseek_v3"),
        ("mistral-large", "mistral_v3"),
        ("something-else", "o200k_base"),
    ],
)
def test_the_family_is_told_by_the_name(model: str, vocabulary: str) -> None:
    assert vocabulary_of(model) == vocabulary


@pytest.mark.parametrize("name", sorted({vocabulary for _, vocabulary in tokenizer._VOCABULARIES}))
def test_every_vocabulary_is_there(name: str) -> None:
    assert tokenizer._vocabulary(name).encode_ordinary("hello")
