"""The router: what it asks, what it passes on, and the one record that it leaves of each call."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.model.scripted_dialect import ScriptedDialect
from trivet.content.v1.chat_completion_pb2 import ChatCompletion
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.call import Call, current_call
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, ModelNotFound, RequestTimeout, ServiceError, UpstreamFailed, UpstreamTimeout
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.calls import CallRecord
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.routing import Retry, Route, RouteTarget, Timeouts
from trivet.model_service.domain.turn import Usage
from trivet.model_service.routing.overrides import overridden
from trivet.model_service.routing.router import Router, Target

ONE, TWO = RouteTarget("one", "m", retry=Retry(attempts=2)), RouteTarget("two", "n", priority=1)
USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}


class Kept:
    """Keeps the records."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def finished(self, record: CallRecord) -> None:
        self.records.append(record)


def failed(status: int) -> ServiceError:
    error = UpstreamFailed(f"It failed with {status}.")
    error.upstream_status = status
    return error


def router(kept: Kept, *targets: RouteTarget, waits: list[float] | None = None) -> Router:
    async def sleep(seconds: float) -> None:
        (waits if waits is not None else []).append(seconds)

    providers = [Provider(name, ScriptedDialect(), type="scripted") for name in ("one", "two")]
    registry = Registry(providers, routes=[Route("smart", targets or (ONE, TWO))])
    return Router(registry, [kept], draw=lambda: 0.0, sleep=sleep)


@contextmanager
def called(**headers: str) -> Iterator[None]:
    """Within an RPC that has these headers."""

    class Context:
        def invocation_metadata(self) -> Any:
            return tuple((f"x-trivet-{name.replace('_', '-')}", value) for name, value in headers.items())

        def done(self) -> bool:
            return True

    call = Call("/x", None, cast("Any", Context()))
    call.principal, call.request_id = "alice", "req_1"
    token = current_call.set(call)
    try:
        yield
    finally:
        current_call.reset(token)


def completion() -> Any:
    return codec_for(ChatCompletion).decode({"id": "c", "choices": [], "usage": USED})


async def test_a_call_leaves_one_record_with_all_of_its_attempts() -> None:
    kept, waits = Kept(), list[float]()
    outcomes = iter([failed(500), failed(503), completion()])

    async def asking(target: Target) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    with called(metadata='{"team": "blue"}'):
        await router(kept, waits=waits).ask("chat.completions", "smart", asking)

    (record,) = kept.records
    assert [(attempt.target, attempt.status) for attempt in record.attempts] == [("one/m", 500), ("one/m", 503), ("two/n", 200)]
    assert (record.operation, record.model, record.status, record.stream) == ("chat.completions", "smart", 200, False)
    assert (record.provider, record.provider_type, record.upstream_model) == ("two", "scripted", "n")
    assert (record.principal, record.request_id, record.metadata) == ("alice", "req_1", {"team": "blue"})
    assert record.usage == Usage(5, 2, 7, cached_tokens=3)
    assert waits == [0.1]


@pytest.mark.parametrize(("model", "status"), [("nobody/m", 404), ("smart", 502)])
async def test_a_call_that_fails_leaves_its_record(model: str, status: int) -> None:
    kept = Kept()

    async def asking(target: Target) -> Any:
        raise failed(500)

    with pytest.raises(ModelNotFound if status == 404 else UpstreamFailed):
        await router(kept).ask("chat.completions", model, asking)
    assert [record.status for record in kept.records] == [status]


@pytest.mark.parametrize("timeouts", [Timeouts(), Timeouts(total=600.0)])
async def test_a_caller_that_leaves_a_stream_ends_it_and_leaves_its_record(timeouts: Timeouts) -> None:
    kept, ended = Kept(), list[str]()

    async def asking(target: Target) -> AsyncGenerator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            ended.append(target.model)

    async with aclosing(router(kept, replace(ONE, timeouts=timeouts)).stream("audio.speech", "smart", asking)) as messages:
        assert await anext(messages) == "a"
    (record,) = kept.records
    assert (record.status, record.stream, record.usage, ended) == (499, True, None, ["m"])
    assert record.first_token_seconds is not None


async def test_a_stream_that_breaks_late_leaves_its_status() -> None:
    kept = Kept()

    async def asking(target: Target) -> AsyncGenerator[str]:
        yield "a"
        raise failed(500)

    with pytest.raises(UpstreamFailed):
        [message async for message in router(kept).stream("audio.speech", "smart", asking)]
    assert [(record.status, [one.status for one in record.attempts]) for record in kept.records] == [(502, [500])]


@pytest.mark.parametrize(
    ("headers", "timeouts", "error"),
    [({"request_timeout": "20"}, Timeouts(), RequestTimeout), ({}, Timeouts(total=0.02), UpstreamTimeout)],
)
async def test_a_deadline_is_that_of_each_attempt_and_tells_whose_it_was(
    headers: dict[str, str], timeouts: Timeouts, error: type[ServiceError]
) -> None:
    kept = Kept()

    async def asking(target: Target) -> Any:
        await asyncio.Event().wait()

    with called(**headers), pytest.raises(error):
        await router(kept, replace(ONE, timeouts=timeouts), replace(TWO, timeouts=timeouts)).ask("x", "smart", asking)
    (record,) = kept.records
    assert [attempt.status for attempt in record.attempts] == [408, 408]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_config", value)
        for value in ("{", "[]", '{"attempts": 0}', '{"attempts": 11}', '{"attempts": "2"}', '{"onStatusCodes": [1]}', '{"x": 1}')
    ]
    + [("metadata", value) for value in ("{", "[]", '{"a": 1}', '{"a": "' + "x" * 129 + '"}')]
    + [(name, value) for name in ("request_timeout", "ttft_timeout_ms") for value in ("0", "-1", "soon", "1.5")],
)
async def test_a_header_that_does_not_say_what_it_should_is_named(name: str, value: str) -> None:
    async def asking(target: Target) -> Any:
        raise AssertionError("nobody is asked")

    with called(**{name: value}), pytest.raises(InvalidRequest) as raised:
        await router(Kept()).ask("x", "smart", asking)
    assert raised.value.param == f"x-trivet-{name.replace('_', '-')}"


def test_a_model_without_a_provider_is_that_of_the_one_that_the_caller_names() -> None:
    registry = Registry([Provider("one", ScriptedDialect())], named=lambda: "one", routes=[Route("smart", (TWO,))])
    assert registry.route("m").targets[0].name == "one/m"
    assert registry.route("smart").targets == (TWO,)


# ---- parameters that a target changes ----------------------------------------------------------------------------------


def chat(**asked: Any) -> CreateChatCompletionRequest:
    given = {"model": "smart", "messages": [{"role": "user", "content": "hi"}], **asked}
    return codec_for(CreateChatCompletionRequest).decode(given)


def test_overridden_parameters_take_the_place_of_the_callers() -> None:
    request = chat(temperature=1.0, max_tokens=5, top_p=0.5, x_mine=1, stop=["a", "b"])
    changed = overridden(
        request, {"temperature": 0.5, "max_output_tokens": 9, "top_p": None, "x_other": {"a": [1]}, "stop": ["c"]}
    )
    found = codec_for(CreateChatCompletionRequest).encode(changed)
    assert {key: value for key, value in found.items() if key not in ("model", "messages")} == {
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "stop": ["c"],
        "x_mine": 1,
        "x_other": {"a": [1]},
    }
    assert request.temperature == 1.0
    assert overridden(request, {}) is request


def test_the_limit_of_tokens_has_the_name_of_the_api() -> None:
    request = codec_for(CreateResponseRequest).decode({"model": "smart", "input": "hi", "max_output_tokens": 5})
    assert overridden(request, {"max_tokens": 9}).max_output_tokens == 9


@pytest.mark.parametrize("params", [{"temperature": "hot"}, {"temperature": 9.0}])
def test_overridden_parameters_are_judged_like_the_callers(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        overridden(chat(), params)
    assert raised.value.param == "temperature"
