"""The Gemini dialect over scripted bytes: what is sent where, every event of an answer, models, counted tokens, and faults."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import orjson
import pytest

from tests.upstreams.scripted import CLOSE, RESET, ScriptedUpstream, Step, answer, piece, sse, stream, stream_head
from trivet.kernel.errors import Overloaded, RateLimited, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model_service.adapters.gemini import Gemini
from trivet.model_service.domain.ports import CountsTokens, ModelInfo
from trivet.model_service.domain.seals import open_seal
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    CustomTool,
    HostedItem,
    Message,
    ReasoningDelta,
    ReasoningEnded,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnRequest,
    TurnStarted,
    Usage,
)
from trivet.model_service.providers import open_provider
from trivet.model_service.settings import ProviderSettings

KEY = "AIza-very-secret"
STARTED = TurnStarted("r1", "gemini-3-pro-001")
HI = Message("user", (Text("hi"),))
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def dialect(upstream: ScriptedUpstream) -> AsyncIterator[Gemini]:
    async with AsyncExitStack() as stack:
        yield opened(stack, base_url=upstream.base_url, api_key=KEY)


def opened(stack: AsyncExitStack, **settings: Any) -> Gemini:
    provider = open_provider(ProviderSettings.model_validate({"name": "lab", "type": "gemini", **settings}), stack)
    assert isinstance(provider.dialect, Gemini)
    assert isinstance(provider.dialect, CountsTokens)
    return provider.dialect


def said(*parts: Any, finish: str | None = None, usage: Any = None, **candidate: Any) -> dict[str, Any]:
    told = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **candidate}
    made = {"responseId": "r1", "modelVersion": "gemini-3-pro-001"} | ({"usageMetadata": usage} if usage else {})
    return made | {"candidates": [told | ({"finishReason": finish} if finish else {})]}


def turn(*, streamed: bool, **request: Any) -> TurnRequest:
    return TurnRequest("gemini-3-pro", (HI,), stream=streamed, **request)


async def events(dialect: Gemini, *, streamed: bool = True, **request: Any) -> list[TurnEvent]:
    return [event async for batch in dialect.turn(turn(streamed=streamed, **request)) for event in batch]


async def told(upstream: ScriptedUpstream, dialect: Gemini, *pieces: Any, **request: Any) -> list[TurnEvent]:
    """The events of a streamed answer between its first and its last, which hold nothing new."""
    upstream.play(stream(sse(*pieces, done=False)))
    first, *found, last = await events(dialect, **request)
    assert first == STARTED
    assert isinstance(last, TurnFinished)
    return [unsealed(event) for event in found]


def unsealed(event: TurnEvent) -> TurnEvent:
    if isinstance(event, ReasoningEnded) and event.encrypted:
        opened = open_seal(event.encrypted, "gemini")
        assert opened is not None
        return ReasoningEnded("=".join(opened))
    return event


# ---- what is sent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_model_is_asked_by_its_path_with_the_key_in_a_header(
    upstream: ScriptedUpstream, dialect: Gemini, streamed: bool
) -> None:
    whole = said({"text": "a"}, finish="STOP")
    upstream.play(stream(sse(whole, done=False)) if streamed else answer(whole))
    await events(dialect, streamed=streamed)
    [request] = upstream.requests
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    assert (request.method, request.path) == ("POST", f"/v1/models/gemini-3-pro:{method}")
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers
    assert request.body == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


async def test_the_name_of_a_model_stays_one_step_of_the_path(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(answer(said({"text": "a"}, finish="STOP")))
    async for _ in dialect.turn(TurnRequest("../files?x#y/z", (HI,))):
        pass
    assert upstream.requests[0].path == "/v1/models/..%2Ffiles%3Fx%23y%2Fz:generateContent"


async def test_a_provider_without_an_address_is_google() -> None:
    settings = ProviderSettings.model_validate({"name": "g", "type": "gemini", "api_key": KEY})
    assert settings.base_url is None
    async with AsyncExitStack() as stack:
        assert isinstance(open_provider(settings, stack).dialect, Gemini)


async def test_vertex_ai_is_called_below_its_publisher_with_a_token(upstream: ScriptedUpstream) -> None:
    base_url = f"{upstream.base_url}/projects/p/locations/l/publishers/google"
    async with AsyncExitStack() as stack:
        dialect = opened(stack, base_url=base_url, headers={"Authorization": "Bearer ya29.token"})
        upstream.play(answer({"totalTokens": 5}))
        assert await dialect.count_tokens(turn(streamed=False, service_tier="flex")) == 5
    [request] = upstream.requests
    assert request.path == "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:countTokens"
    assert request.headers["authorization"] == "Bearer ya29.token"
    assert "x-goog-api-key" not in request.headers
    assert request.body == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


# ---- events --------------------------------------------------------------------------------------------------------

PARTS = [
    {"text": "think", "thought": True},
    {"text": "Say "},
    {"text": "so", "thoughtSignature": "T"},
    CALL | {"thoughtSignature": "S"},
    {"functionCall": {"id": "x1", "name": "g"}},
]
USAGE = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 1,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 19,
    "serviceTier": "STANDARD",
}


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_is_the_same_whole_and_in_pieces(upstream: ScriptedUpstream, dialect: Gemini, streamed: bool) -> None:
    pieces = [*(said(part) for part in PARTS), said(finish="STOP", usage=USAGE)]
    upstream.play(stream(sse(*pieces, done=False)) if streamed else answer(said(*PARTS, finish="STOP", usage=USAGE)))
    found = [unsealed(event) for event in await events(dialect, streamed=streamed)]
    [made] = [event for event in found if isinstance(event, ToolCallStarted) and event.index == 0]
    assert re.fullmatch(r"call_\w{24}", made.id)
    assert found == [
        STARTED,
        ReasoningDelta("think", 0),
        ReasoningEnded(),
        TextDelta("Say "),
        TextDelta("so"),
        ReasoningEnded("text=T"),
        ReasoningEnded("call=S"),
        ToolCallStarted(0, made.id, "f"),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallStarted(1, "x1", "g"),
        ToolCallDelta(1, "{}"),
        TurnFinished("tool_calls", Usage(11, 8, 19, 4, 0, 3), "default"),
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{"text": "t", "thought": True}, {"text": "a", "thoughtSignature": "S"}], ["t", "text=S", "a"]),
        ([{"text": "a"}, {"text": "", "thoughtSignature": "S"}], ["a", "text=S"]),
        ([{"text": "", "thoughtSignature": "S"}, {"text": "a"}], ["text=S", "a"]),
        ([{"text": "t", "thought": True, "thoughtSignature": "S"}, CALL], ["t", "call=S", "{}"]),
        ([{"text": "t", "thought": True, "thoughtSignature": "S"}], ["t", "text=S"]),
        ([{"text": "t", "thought": True}], ["t", ""]),
        ([{"text": "a"}, {"text": "t", "thought": True}, {"text": "b"}], ["a", "t", "", "b"]),
    ],
)
async def test_a_signature_is_sealed_for_what_it_belongs_to(
    upstream: ScriptedUpstream, dialect: Gemini, parts: list[Any], expected: list[str]
) -> None:
    shown = []
    for event in await told(upstream, dialect, *(said(part) for part in parts), said(finish="STOP")):
        match event:
            case ReasoningDelta(text, _) | TextDelta(text, _):
                shown.append(text)
            case ReasoningEnded(encrypted):
                shown.append(encrypted)
            case ToolCallStarted():
                shown.append("{}")
    assert shown == expected


async def test_a_custom_tool_is_called_with_its_text(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    called = said({"functionCall": {"id": "x", "name": "c", "args": {"input": "free"}}}, finish="STOP")
    found = await told(upstream, dialect, called, tools=(CustomTool("c"),))
    assert found == [ToolCallStarted(0, "x", "c", "custom"), ToolCallDelta(0, "free")]


async def test_code_that_it_ran_is_text_and_an_image_an_item(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    ran = [
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "S"},
        {"inlineData": {"mimeType": "audio/L16", "data": "AAAA"}},
        {"novel": {}},
    ]
    *text, ended, image = await told(upstream, dialect, said(*ran, finish="STOP"))
    assert text == [TextDelta("\n```python\nprint(1)\n```\n"), TextDelta("\n```\n1\n\n```\n")]
    assert ended == ReasoningEnded("text=S")
    assert isinstance(image, HostedItem)
    item = orjson.loads(image.raw)
    assert (item["type"], item["status"], item["result"]) == ("image_generation_call", "completed", "AAAA")


async def test_log_probabilities_come_with_their_text(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    other = {"token": "é", "logProbability": -2}
    result = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [other]}],
    }
    only_chosen = {"chosenCandidates": [other]}
    found = await told(
        upstream,
        dialect,
        said({"text": "a"}, {"text": "b"}, logprobsResult=result),
        said({"text": "é"}, finish="STOP", logprobsResult=only_chosen),
    )
    likely = TokenLogprob("é", -2.0, (0xC3, 0xA9))
    assert found == [
        TextDelta("a", (TokenLogprob("a", -0.5, (97,), (likely,)),)),
        TextDelta("b"),
        TextDelta("é", (likely,)),
    ]


async def test_sources_are_citations_in_characters(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    chunks = [{"web": {"uri": "https://a.org", "title": "A"}}, {"retrievedContext": {"title": "no address"}}]
    supports = [
        {"segment": {"startIndex": 0, "endIndex": 6, "text": "Zürs"}, "groundingChunkIndices": [0, 1]},
        {"segment": {"startIndex": 1, "endIndex": 3, "text": "nahe"}, "groundingChunkIndices": [0]},
        {"segment": {"endIndex": 5}, "groundingChunkIndices": [0]},
    ]
    recited = {"citationSources": [{"startIndex": 6, "endIndex": 10, "uri": "https://b.org"}]}
    found = await told(
        upstream,
        dialect,
        said({"text": "Zürs "}),
        said({"text": "nahe"}, finish="STOP", citationMetadata=recited),
        said(groundingMetadata={"groundingChunks": chunks, "groundingSupports": supports}),
    )
    spans = []
    for event in found[2:]:
        assert isinstance(event, AnnotationAdded)
        citation = orjson.loads(event.raw)
        assert citation["type"] == "url_citation"
        spans.append((citation["start_index"], citation["end_index"], citation["url"], citation["title"]))
    assert spans == [(0, 4, "https://a.org", "A"), (5, 9, "https://a.org", "A"), (5, 9, "https://b.org", "")]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("STOP", "stop"),
        ("FUNCTION_CALL", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"),
    ],
)
async def test_a_reason_to_finish_is_translated(upstream: ScriptedUpstream, dialect: Gemini, finish: str, reason: str) -> None:
    upstream.play(answer(said({"text": "a"}, finish=finish)))
    assert (await events(dialect, streamed=False))[-1] == TurnFinished(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("finish", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "NOVEL"])
async def test_an_answer_that_went_wrong_is_a_failure_that_says_why(
    upstream: ScriptedUpstream, dialect: Gemini, finish: str
) -> None:
    upstream.play(stream(sse(said({"text": "a"}, finish=finish), done=False)))
    found, error = await broken(dialect)
    assert found == [STARTED, TextDelta("a")]
    assert error.message == f"The provider `lab` broke off its answer, for the reason `{finish}`."


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_prompt_that_is_blocked_is_a_filtered_answer(upstream: ScriptedUpstream, dialect: Gemini, streamed: bool) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r1"}
    upstream.play(stream(sse(blocked, done=False)) if streamed else answer(blocked))
    found = await events(dialect, streamed=streamed)
    assert found == [TurnStarted("r1"), TurnFinished("content_filter", Usage(3, 0, 3))]


# ---- faults --------------------------------------------------------------------------------------------------------


async def broken(dialect: Gemini, *, streamed: bool = True) -> tuple[list[TurnEvent], ServiceError]:
    """What came of a turn before it failed, and how it failed."""
    found: list[TurnEvent] = []
    with pytest.raises(ServiceError) as caught:  # noqa: PT012 - what comes before the error is looked at, too
        async for batch in dialect.turn(turn(streamed=streamed)):
            found += batch
    return found, caught.value


CUT = [stream_head(), piece(sse(said({"text": "a"}), done=False))]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([*CUT, CLOSE], "The connection to the provider `lab` broke."),
        ([*CUT, RESET], "The connection to the provider `lab` broke."),
        (stream(sse(said({"text": "a"}), done=False)), "The provider `lab` ended its answer early."),
        (stream(sse(said({"text": "a"}), done=False), b"data: {\n\n"), "The provider `lab` sent an event that is not JSON."),
        (stream(sse(said({"text": "a"}), [], done=False)), "The provider `lab` sent an event that is not a JSON object."),
        (stream(sse(said({"text": "a"}), said({"text": 5}), done=False)), "The provider `lab` broke its API."),
        (stream(sse(said({"text": "a"}), {"candidates": [5]}, done=False)), "The provider `lab` broke its API."),
        (
            stream(sse(said({"text": "a"}), said({"functionCall": {"name": "f", "partialArgs": []}}), done=False)),
            "The provider `lab` sent a tool call that is not whole.",
        ),
        (
            stream(sse(said({"text": "a"}), said({"functionCall": {"args": {}}}), done=False)),
            "The provider `lab` sent a tool call that is not whole.",
        ),
    ],
)
async def test_a_stream_that_breaks_fails_after_what_came(
    upstream: ScriptedUpstream, dialect: Gemini, script: list[Step], message: str
) -> None:
    upstream.play(script)
    found, error = await broken(dialect)
    assert found == [STARTED, TextDelta("a")]
    assert isinstance(error, UpstreamFailed)
    assert error.message == message


async def test_a_stream_that_breaks_after_its_answer_is_whole(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play([stream_head(), piece(sse(said({"text": "a"}, finish="STOP"), done=False)), CLOSE])
    assert await events(dialect) == [STARTED, TextDelta("a"), TurnFinished("stop")]


async def test_leaving_a_turn_ends_the_call(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(stream(sse(said({"text": "a"}), done=False), asyncio.Event()))
    async with aclosing(dialect.turn(turn(streamed=True))) as batches:
        assert await anext(batches) == [STARTED, TextDelta("a")]
    await upstream.until(lambda: upstream.abandoned == 1)


async def test_turns_share_a_connection(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    for _ in range(2):
        upstream.play(stream(sse(said({"text": "a"}, finish="STOP"), done=False)))
        await events(dialect)
    assert upstream.connections == 1


async def test_an_answer_without_a_candidate_is_a_failure(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(answer({"responseId": "r1"}))
    assert (await broken(dialect, streamed=False))[1].message == "The provider `lab` ended its answer early."


def refusal(code: int, message: str, status: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (refusal(400, "Bad.", "INVALID_ARGUMENT", 5), UpstreamRejected, "Bad."),
        (
            refusal(400, f"Bad {KEY}.", "INVALID_ARGUMENT", INVALID_KEY),
            UpstreamFailed,
            "The provider `lab` refused its credentials.",
        ),
        (refusal(403, "No.", "PERMISSION_DENIED"), UpstreamFailed, "The provider `lab` refused its credentials."),
        (refusal(404, f"No {KEY}.", "NOT_FOUND"), UpstreamRejected, "No [redacted]."),
        (refusal(429, "Slow.", "RESOURCE_EXHAUSTED", RETRY), RateLimited, "Slow."),
        (refusal(500, "Oh.", "INTERNAL"), UpstreamFailed, "The provider `lab` failed: Oh."),
        (refusal(503, "Full.", "UNAVAILABLE", RETRY), Overloaded, "Full."),
    ],
)
@pytest.mark.parametrize("way", ["object", "list", "event"])
async def test_an_error_of_google_is_its_error(
    upstream: ScriptedUpstream, dialect: Gemini, error: dict[str, Any], kind: type[ServiceError], message: str, way: str
) -> None:
    code = error["error"]["code"]
    if way == "event":
        upstream.play(stream(sse(said({"text": "a"}), error, done=False)))
    else:
        upstream.play(answer([error] if way == "list" else error, status=code))
    found, raised = await broken(dialect)
    assert len(found) == (2 if way == "event" else 0)
    assert type(raised) is kind
    assert raised.message == message
    if isinstance(raised, RateLimited | Overloaded):
        assert raised.retry_after == 34.5


# ---- models and tokens ---------------------------------------------------------------------------------------------


async def test_models_that_generate_are_listed_from_all_pages(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(
        answer(
            {
                "models": [
                    {"name": "models/a", "description": "A.", "supportedGenerationMethods": ["generateContent"]},
                    {"name": "models/e", "supportedGenerationMethods": ["embedContent"]},
                ],
                "nextPageToken": "n&2",
            }
        )
    )
    upstream.play(answer({"models": [{"name": "models/b", "supportedGenerationMethods": ["generateContent"]}]}))
    assert await dialect.list_models() == [ModelInfo("a", description="A."), ModelInfo("b")]
    assert [request.path for request in upstream.requests] == [
        "/v1/models?pageSize=1000",
        "/v1/models?pageSize=1000&pageToken=n%262",
    ]


@pytest.mark.parametrize("page", [{"models": [5]}, {"models": [{"supportedGenerationMethods": ["generateContent"]}]}])
async def test_a_list_of_models_of_another_form_is_a_failure(upstream: ScriptedUpstream, dialect: Gemini, page: Any) -> None:
    upstream.play(answer(page))
    with pytest.raises(UpstreamFailed, match="broke its API"):
        await dialect.list_models()


async def test_a_list_of_models_without_an_end_is_a_failure(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    for _ in range(30):
        upstream.play(answer({"models": [], "nextPageToken": "again"}))
    with pytest.raises(UpstreamFailed, match="end of its list"):
        await dialect.list_models()


async def test_tokens_are_counted_of_the_whole_request(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(answer({"totalTokens": 7}))
    assert await dialect.count_tokens(turn(streamed=False, temperature=1.0)) == 7
    [request] = upstream.requests
    assert request.path == "/v1/models/gemini-3-pro:countTokens"
    assert request.body["generateContentRequest"] == {
        "model": "models/gemini-3-pro",
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"temperature": 1.0},
    }


async def test_a_server_that_does_not_count_says_nothing(upstream: ScriptedUpstream, dialect: Gemini) -> None:
    upstream.play(answer({}, status=404))
    assert await dialect.count_tokens(turn(streamed=False)) is None
    upstream.play(answer(refusal(400, "Bad.", "INVALID_ARGUMENT"), status=400))
    with pytest.raises(UpstreamRejected, match="Bad"):
        await dialect.count_tokens(turn(streamed=False))
