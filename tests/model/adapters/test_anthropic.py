"""The Messages dialect over scripted bytes and against llmock: events of every kind, whole and streamed, and every fault."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from llmock.pytest_plugin import LLMock

from tests.model.adapters.messages_events import Json, began, block, calling, ended, sse, text, thinking
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, answer, piece, response, stream, stream_head
from trivet.kernel.errors import Overloaded, RateLimited, ServiceError, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from trivet.model_service.adapters.anthropic import Anthropic, authorize
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.ports import CountsTokens, Dialect, ModelInfo
from trivet.model_service.domain.seals import seal
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    Message,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Text,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnRequest,
    TurnStarted,
    Usage,
)

STARTED = TurnStarted("msg_up", "claude-up")
COUNTED = Usage(16, 7, 23, cached_tokens=4, cache_write_tokens=2)
SIGNED = ReasoningEnded(seal("anthropic", "thinking", "sig"))

WEB = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "c", "encrypted_index": "e"}
PAGE = {
    "type": "page_location",
    "document_index": 0,
    "document_title": "D",
    "file_id": None,
    "cited_text": "c",
    "start_page_number": 2,
}
SERVER_TOOL = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def asking(*, streamed: bool = True, model: str = "claude-up") -> TurnRequest:
    return TurnRequest(model, (Message("user", (Text("hi"),)),), stream=streamed)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def dialect(upstream: ScriptedUpstream) -> AsyncIterator[Anthropic]:
    endpoint = Endpoint(upstream.base_url, "sk-secret-key")
    opened: Dialect = Anthropic(UpstreamHttp("claude", endpoint, headers={"Anthropic-Beta": "files-api"}, authorize=authorize))
    assert isinstance(opened, Anthropic)
    assert isinstance(opened, CountsTokens)
    yield opened
    await opened.aclose()


async def turn(dialect: Anthropic, request: TurnRequest | None = None) -> list[TurnEvent]:
    return [event async for batch in dialect.turn(request or asking()) for event in batch]


async def failure(dialect: Anthropic, request: TurnRequest | None = None, seen: list[TurnEvent] | None = None) -> ServiceError:
    """The error of a turn; what came before it is `seen`."""

    async def read() -> None:
        async for batch in dialect.turn(request or asking()):
            (seen if seen is not None else []).extend(batch)

    with pytest.raises(ServiceError) as caught:
        await read()
    return caught.value


def merged(events: list[TurnEvent]) -> list[TurnEvent]:
    """The events with pieces of a kind made one, so that a stream can be compared with an answer in one piece."""
    found: list[TurnEvent] = []
    for event in events:
        match (found[-1] if found else None, event):
            case (TextDelta(before), TextDelta(more)):
                found[-1] = TextDelta(before + more)
            case (ReasoningDelta(before), ReasoningDelta(more)):
                found[-1] = ReasoningDelta(before + more)
            case (ToolCallDelta(index, before), ToolCallDelta(_, more)):
                found[-1] = ToolCallDelta(index, before + more)
            case _:
                found.append(event)
    return found


def whole(events: list[Json]) -> Json:
    """The answer in one piece that a stream amounts to."""
    message: Json = {**events[0]["message"], "content": []}
    for event in events[1:]:
        match event:
            case {"type": "content_block_start", "content_block": content}:
                message["content"].append(dict(content))
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece_}}:
                message["content"][-1]["text"] += piece_
            case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": piece_}}:
                message["content"][-1]["thinking"] += piece_
            case {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": piece_}}:
                message["content"][-1]["signature"] += piece_
            case {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": citation}}:
                message["content"][-1].setdefault("citations", []).append(citation)
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message |= delta | {"usage": (message["usage"] or {}) | usage}
    return message


CITED = block(
    0,
    {"type": "text", "text": ""},
    {"type": "text_delta", "text": "It is."},
    {"type": "citations_delta", "citation": WEB},
)

TURNS: dict[str, tuple[list[Json], list[TurnEvent]]] = {
    "text": (
        [began(), {"type": "ping"}, *text(0, "Hel", "lo"), *ended()],
        [STARTED, TextDelta("Hello"), TurnFinished("stop", COUNTED)],
    ),
    "thinking": (
        [began(), *thinking(0, "h", "m"), *text(1, "Yes."), *ended()],
        [STARTED, ReasoningDelta("hm"), SIGNED, TextDelta("Yes."), TurnFinished("stop", COUNTED)],
    ),
    "thinking that is not shown": (
        [began(), *thinking(0), *text(1, "Yes."), *ended()],
        [STARTED, SIGNED, TextDelta("Yes."), TurnFinished("stop", COUNTED)],
    ),
    "thinking that is not signed": (
        [began(), *thinking(0, "hm", signature=""), *ended()],
        [STARTED, ReasoningDelta("hm"), ReasoningEnded(), TurnFinished("stop", COUNTED)],
    ),
    "redacted thinking": (
        [began(), *block(0, {"type": "redacted_thinking", "data": "d:1"}), *text(1, "Yes."), *ended()],
        [STARTED, ReasoningEnded(seal("anthropic", "redacted", "d:1")), TextDelta("Yes."), TurnFinished("stop", COUNTED)],
    ),
    "a call without arguments": (
        [began(), *calling(0, "toolu_2", "now"), *ended("tool_use")],
        [STARTED, ToolCallStarted(0, "toolu_2", "now"), ToolCallDelta(0, "{}"), TurnFinished("tool_calls", COUNTED)],
    ),
    "a call of a server that says it has ended": (
        [began(), *calling(0, "toolu_2", "now"), *ended()],
        [STARTED, ToolCallStarted(0, "toolu_2", "now"), ToolCallDelta(0, "{}"), TurnFinished("tool_calls", COUNTED)],
    ),
    "tools of the provider's own, and what they cite": (
        [began(), *block(0, SERVER_TOOL), *block(1, FOUND), *CITED, *text(0, " So."), *ended("pause_turn")],
        [
            STARTED,
            TextDelta("It is."),
            AnnotationAdded(
                '{"type":"url_citation","start_index":0,"end_index":6,"url":"https://a.example","title":"A","cited_text":"c"}'
            ),
            TextDelta(" So."),
            TurnFinished("stop", COUNTED),
        ],
    ),
    "citations of a document, behind a thought": (
        [
            began(),
            *text(0, "Before."),
            *thinking(1, "hm"),
            *text(2, "So "),
            *block(3, {"type": "text", "text": "", "citations": [PAGE]}, {"type": "text_delta", "text": "it is."}),
            *ended(),
        ],
        [
            STARTED,
            TextDelta("Before."),
            ReasoningDelta("hm"),
            SIGNED,
            TextDelta("So it is."),
            AnnotationAdded(
                '{"type":"file_citation","index":9,"file_id":"","filename":"D","document_index":0,"cited_text":"c","start_page_number":2}'
            ),
            TurnFinished("stop", COUNTED),
        ],
    ),
    "blocks and events that are not known": (
        [began(), {"type": "novel"}, *block(0, {"type": "novel"}, {"type": "novel_delta"}), *text(1, "a"), *ended()],
        [STARTED, TextDelta("a"), TurnFinished("stop", COUNTED)],
    ),
    "a refusal with its reason": (
        [began(), *ended("refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "No."})],
        [STARTED, RefusalDelta("No."), TurnFinished("content_filter", COUNTED)],
    ),
    "all counts": (
        [
            began(usage=None),
            *ended("max_tokens", {"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}),
        ],
        [STARTED, TurnFinished("length", Usage(3, 9, 12, reasoning_tokens=4))],
    ),
    "the tier that served": (
        [began(usage={"input_tokens": 1, "output_tokens": 0, "service_tier": "standard"}), *ended(usage={"output_tokens": 1})],
        [STARTED, TurnFinished("stop", Usage(1, 1, 2), "default")],
    ),
}


@pytest.mark.parametrize("name", TURNS)
async def test_a_turn_is_the_same_streamed_and_whole(upstream: ScriptedUpstream, dialect: Anthropic, name: str) -> None:
    events, expected = TURNS[name]
    message = whole(events)
    upstream.play(stream(*(sse(event) for event in events)))
    upstream.play(answer(message))
    upstream.play(answer(message))

    assert merged(await turn(dialect)) == expected
    assert merged(await turn(dialect, asking(streamed=False))) == expected
    assert merged(await turn(dialect)) == expected, "answered in one piece where a stream was asked for"


async def test_calls_come_with_their_arguments(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    calls = [*calling(1, "toolu_1", "add", '{"a"', ": 1}"), *calling(2, "toolu_2", "now")]
    upstream.play(stream(sse(began(), *text(0, "Well."), *calls, *ended("tool_use"))))
    assert await turn(dialect) == [
        STARTED,
        TextDelta("Well."),
        ToolCallStarted(0, "toolu_1", "add"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ": 1}"),
        ToolCallStarted(1, "toolu_2", "now"),
        ToolCallDelta(1, "{}"),
        TurnFinished("tool_calls", COUNTED),
    ]
    called = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
    upstream.play(answer({**began()["message"], "content": [called], "stop_reason": "tool_use"}))
    assert ToolCallDelta(0, '{"a":1}') in await turn(dialect, asking(streamed=False))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("novel", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
    ],
)
async def test_each_reason_to_stop(upstream: ScriptedUpstream, dialect: Anthropic, reason: str, expected: str) -> None:
    upstream.play(stream(sse(began(), *ended(reason))))
    last = (await turn(dialect))[-1]
    assert isinstance(last, TurnFinished)
    assert last.reason == expected


async def test_what_is_sent(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(stream(sse(began(), *ended())))
    await turn(dialect)
    [request] = upstream.requests
    assert (request.method, request.path, request.body["stream"]) == ("POST", "/v1/messages", True)
    sent = {name: request.headers[name] for name in ("x-api-key", "anthropic-version", "anthropic-beta")}
    assert sent == {"x-api-key": "sk-secret-key", "anthropic-version": "2023-06-01", "anthropic-beta": "files-api"}
    assert "authorization" not in request.headers


async def test_a_provider_may_speak_another_version(upstream: ScriptedUpstream) -> None:
    headers = {"Anthropic-Version": "2026-10-21"}
    dialect = Anthropic(UpstreamHttp("claude", Endpoint(upstream.base_url), headers=headers, authorize=authorize))
    upstream.play(answer({"input_tokens": 7}))
    assert await dialect.count_tokens(asking()) == 7
    await dialect.aclose()
    assert upstream.requests[0].headers["anthropic-version"] == "2026-10-21"
    assert "x-api-key" not in upstream.requests[0].headers


# ---- faults --------------------------------------------------------------------------------------------------------


def error(kind: str, message: str = "why") -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("invalid_request_error", 400, UpstreamRejected),
        ("authentication_error", 401, UpstreamFailed),
        ("billing_error", 402, UpstreamFailed),
        ("permission_error", 403, UpstreamFailed),
        ("not_found_error", 404, UpstreamRejected),
        ("request_too_large", 413, UpstreamRejected),
        ("rate_limit_error", 429, RateLimited),
        ("api_error", 500, UpstreamFailed),
        ("timeout_error", 504, UpstreamTimeout),
        ("overloaded_error", 529, Overloaded),
    ],
)
async def test_each_error_is_the_same_by_status_and_in_a_stream(
    upstream: ScriptedUpstream, dialect: Anthropic, kind: str, status: int, expected: type[ServiceError]
) -> None:
    upstream.play(answer(error(kind), status=status))
    by_status = await failure(dialect)
    upstream.play(stream(sse(began(), *text(0, "a"), error(kind))))
    seen: list[TurnEvent] = []
    in_stream = await failure(dialect, seen=seen)
    upstream.play(answer(error(kind)))
    in_one_piece = await failure(dialect, asking(streamed=False))

    assert {type(one) for one in (by_status, in_stream, in_one_piece)} == {expected}
    assert in_stream.message == by_status.message
    assert "sk-secret-key" not in by_status.message
    assert seen == [STARTED, TextDelta("a")]


@pytest.mark.parametrize(
    "said",
    [
        [],
        [began()],
        [began(), *text(0, "a")],
        [began(), *text(0, "a"), *ended()[:1]],
    ],
)
async def test_a_stream_that_is_cut_short_is_a_failure(upstream: ScriptedUpstream, dialect: Anthropic, said: list[Json]) -> None:
    upstream.play(stream(sse(*said)))
    assert "ended its stream early" in (await failure(dialect)).message
    upstream.play([stream_head(), piece(sse(*said) or b": \n\n"), CLOSE])
    assert isinstance(await failure(dialect), UpstreamFailed)


@pytest.mark.parametrize(
    "said",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        sse({"type": "message_start"}),
        sse(began(), {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a"}}),
        sse(began(), {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "a"}}),
        sse(began(), {"type": "content_block_stop", "index": 3}),
        sse(began(), *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": 5})),
        sse(began(), *block(0, {"type": "text", "text": "", "citations": [{}]})),
    ],
)
async def test_a_broken_stream_is_the_providers_failure(upstream: ScriptedUpstream, dialect: Anthropic, said: bytes) -> None:
    upstream.play(stream(said))
    assert isinstance(await failure(dialect), UpstreamFailed)


@pytest.mark.parametrize(
    "said", [b"{", b"[]", b"{}", b'{"content": 5}', b'{"content": [5]}', b'{"content": [{"type": "tool_use"}]}']
)
async def test_a_broken_answer_is_the_providers_failure(upstream: ScriptedUpstream, dialect: Anthropic, said: bytes) -> None:
    upstream.play(response(said))
    assert isinstance(await failure(dialect, asking(streamed=False)), UpstreamFailed)


async def test_events_without_names_and_with_a_word_too_many_are_read(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    bare = [*calling(0, "toolu_1", "message_stop"), *ended("tool_use")]
    upstream.play(stream(*(sse(event).partition(b"\n")[2] for event in (began(), *bare)), b"data: [DONE]\n\n"))
    assert [type(event) for event in await turn(dialect)] == [TurnStarted, ToolCallStarted, ToolCallDelta, TurnFinished]


async def test_a_block_that_nobody_closes_ends_with_its_message(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(stream(sse(began(), *thinking(0, "hm")[:-1], *ended())))
    assert (await turn(dialect))[1:3] == [ReasoningDelta("hm"), SIGNED]


async def test_who_leaves_ends_the_call(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(stream(sse(began()), asyncio.Event()))
    events = dialect.turn(asking())
    assert await anext(events) == [STARTED]
    await events.aclose()
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.abandoned == 1


# ---- counts and models ---------------------------------------------------------------------------------------------


async def test_tokens_are_counted_by_the_provider(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(answer({"input_tokens": 7}))
    assert await dialect.count_tokens(asking()) == 7
    assert (upstream.requests[0].path, upstream.requests[0].body.keys()) == ("/v1/messages/count_tokens", {"model", "messages"})


async def test_a_server_that_does_not_count_is_asked_once(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(answer(error("not_found_error"), status=404))
    assert [await dialect.count_tokens(asking()) for _ in range(2)] == [None, None]
    assert len(upstream.requests) == 1


async def test_a_refusal_to_count_is_told(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(answer(error("invalid_request_error"), status=400))
    with pytest.raises(UpstreamRejected):
        await dialect.count_tokens(asking())


async def test_models_are_listed_page_by_page(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    first = {"id": "a b", "display_name": "A", "created_at": "2026-01-01T00:00:00Z"}
    upstream.play(answer({"data": [first, {"no": "id"}], "has_more": True, "last_id": "a b"}))
    upstream.play(answer({"data": [{"id": "c", "created_at": "never"}], "has_more": False, "last_id": "c"}))
    assert await dialect.list_models() == [ModelInfo("a b", 1767225600, "A"), ModelInfo("c")]
    assert [request.path for request in upstream.requests] == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=a+b"]


async def test_a_list_that_does_not_go_on_ends(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    for _ in range(2):
        upstream.play(answer({"data": [], "has_more": True, "last_id": "a"}))
    assert await dialect.list_models() == []


async def test_a_list_of_another_form_is_a_failure(upstream: ScriptedUpstream, dialect: Anthropic) -> None:
    upstream.play(answer({"models": []}))
    with pytest.raises(UpstreamFailed, match="unknown form"):
        await dialect.list_models()


# ---- a server of others --------------------------------------------------------------------------------------------


@pytest.fixture
async def mocked(llmock: LLMock) -> AsyncIterator[Anthropic]:
    endpoint = Endpoint(f"{llmock.base_url('anthropic')}/v1", "sk-test")
    opened = Anthropic(UpstreamHttp("mock", endpoint, limits=UpstreamLimits(read_seconds=2), authorize=authorize))
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
async def test_a_fault_of_the_mock_server_is_a_failure(llmock: LLMock, mocked: Anthropic, fault: str) -> None:
    getattr(llmock, fault)(after_chunks=2)
    assert isinstance(await failure(mocked), UpstreamFailed)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, UpstreamRejected), (429, RateLimited), (500, UpstreamFailed), (529, Overloaded)]
)
async def test_a_status_of_the_mock_server_is_its_error(
    llmock: LLMock, mocked: Anthropic, status: int, kind: type[ServiceError]
) -> None:
    llmock.fail(status)
    assert isinstance(await failure(mocked), kind)


async def test_the_mock_server_lists_its_models(mocked: Anthropic) -> None:
    assert "Claude Opus 4.6" in {model.description for model in await mocked.list_models()}
