"""The events of a turn as a chat completion, in chunks or whole."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import orjson

from trivet.content.v1 import chat_completion_pb2 as chat
from trivet.content.v1.chat_tool_pb2 import ChatToolCall, CustomCall, CustomToolCall, FunctionCall, FunctionToolCall
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TextRun,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)
from trivet.model_service.faces.chat_reasoning import ReasoningDetails


class ChatChunks:
    """Renders one turn as chunks: the role first, the finish reason last, then the usage if it is known or asked for."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        """`model` is the name that the caller used."""
        self._model = model
        self._include_usage = include_usage
        self._summaries = _Summaries()
        self._details = ReasoningDetails()
        self._kinds: dict[int, str] = {}

    def batches(self, events: Iterable[TurnEvent]) -> Iterator[chat.ChatCompletionChunkBatch]:
        """The messages for a batch of events. What is told late begins a message: it says nothing of earlier chunks."""
        batch = chat.ChatCompletionChunkBatch()
        for event in events:
            if isinstance(event, TurnStarted):
                _begin(batch, event, self._model)
            if isinstance(event, TurnFinished) and event.service_tier:
                if batch.chunks:
                    yield batch
                batch = chat.ChatCompletionChunkBatch(service_tier=event.service_tier)
            batch.chunks.extend(self._chunks(event))
        if batch.chunks:
            yield batch

    def _chunks(self, event: TurnEvent) -> Iterator[chat.ChatCompletionChunk]:
        if details := self._details.told_by(event):
            yield _chunk(chat.ChatChunkChoice(delta=chat.ChatDelta(reasoning_details=details)))
        if isinstance(event, TurnFinished):
            yield _chunk(chat.ChatChunkChoice(delta=chat.ChatDelta(), finish_reason=event.reason))
            if event.usage is not None or self._include_usage:
                yield chat.ChatCompletionChunk(usage=_usage(event.usage or Usage()))
        elif isinstance(event, TextRun):
            yield chat.ChatCompletionChunk(contents=event.texts)
        elif isinstance(event, TextDelta):
            choice = chat.ChatChunkChoice(delta=chat.ChatDelta(content=event.text))
            if event.logprobs:
                choice.logprobs.CopyFrom(_logprobs(event.logprobs))
            yield _chunk(choice)
        elif delta := self._delta(event):
            yield _chunk(chat.ChatChunkChoice(delta=delta))

    def _delta(self, event: TurnEvent) -> chat.ChatDelta | None:
        """The delta of an event; None for one that a chat cannot show, such as an item of a provider's own tool."""
        match event:
            case TurnStarted():
                return chat.ChatDelta(role="assistant", content="")
            case RefusalDelta():
                return chat.ChatDelta(refusal=event.text)
            case ReasoningDelta():
                return chat.ChatDelta(reasoning_content=self._summaries.text(event))
            case AnnotationAdded():
                return chat.ChatDelta(extra='{"annotations":[' + _nested(event.raw) + "]}")
            case ToolCallStarted():
                self._kinds[event.index] = event.kind
                call = _call_delta(event.index, event.kind, event.name, "")
                call.id, call.type = event.id, event.kind
                return chat.ChatDelta(tool_calls=[call])
            case ToolCallDelta():
                return chat.ChatDelta(tool_calls=[_call_delta(event.index, self._kinds[event.index], None, event.arguments)])
            case _:
                return None


class WholeChat:
    """Gathers one turn into a chat completion."""

    def __init__(self, model: str) -> None:
        """`model` is the name that the caller used."""
        self._head = chat.ChatCompletionChunkBatch()
        self._model = model
        self._summaries = _Summaries()
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._gathering = ReasoningDetails()
        self._details: list[str] = []
        self._annotations: list[str] = []
        self._calls: dict[int, tuple[ToolCallStarted, list[str]]] = {}
        self._finished = TurnFinished("stop")

    def add(self, events: Iterable[TurnEvent]) -> None:
        """Takes the next events."""
        for event in events:
            self._details += self._gathering.told_by(event)
            match event:
                case TurnStarted():
                    _begin(self._head, event, self._model)
                case TextDelta() | TextRun():
                    self._add_text(event)
                case RefusalDelta():
                    self._refusal.append(event.text)
                case ReasoningDelta():
                    self._reasoning.append(self._summaries.text(event))
                case AnnotationAdded():
                    self._annotations.append(_nested(event.raw))
                case ToolCallStarted():
                    self._calls[event.index] = event, []
                case ToolCallDelta():
                    self._calls[event.index][1].append(event.arguments)
                case TurnFinished():
                    self._finished = event

    def _add_text(self, event: TextDelta | TextRun) -> None:
        if isinstance(event, TextRun):
            self._text += event.texts
        else:
            self._text.append(event.text)
            self._logprobs += event.logprobs

    def completion(self) -> chat.ChatCompletion:
        """The whole answer."""
        message = chat.ChatCompletionMessage(
            role="assistant",
            content="".join(self._text) if self._text else None,
            refusal="".join(self._refusal) or None,
            reasoning_content="".join(self._reasoning) or None,
            tool_calls=[_call(started, "".join(pieces)) for started, pieces in self._calls.values()],
            annotations=self._annotations,
            reasoning_details=self._details,
        )
        choice = chat.ChatChoice(message=message, finish_reason=self._finished.reason)
        if self._logprobs:
            choice.logprobs.CopyFrom(_logprobs(self._logprobs))
        completion = chat.ChatCompletion(
            id=self._head.id,
            created=self._head.created,
            model=self._model,
            choices=[choice],
            service_tier=self._finished.service_tier or None,
            system_fingerprint=self._head.system_fingerprint or None,
        )
        if self._finished.usage is not None:
            completion.usage.CopyFrom(_usage(self._finished.usage))
        return completion


class _Summaries:
    """Sets the summaries of a reasoning apart, which come as events with an index."""

    def __init__(self) -> None:
        self._last: int | None = None

    def text(self, event: ReasoningDelta) -> str:
        begins = self._last is not None and event.summary_index != self._last
        self._last = event.summary_index
        return f"\n\n{event.text}" if begins else event.text


def _begin(head: chat.ChatCompletionChunkBatch, event: TurnStarted, model: str) -> None:
    head.id = event.id if event.id.startswith("chatcmpl-") else f"chatcmpl-{uuid4().hex}"
    head.created = event.created or int(time.time())
    head.model = model
    if event.system_fingerprint:
        head.system_fingerprint = event.system_fingerprint


def _chunk(choice: chat.ChatChunkChoice) -> chat.ChatCompletionChunk:
    return chat.ChatCompletionChunk(choices=[choice])


def _call_delta(index: int, kind: str, name: str | None, text: str) -> chat.ChatToolCallDelta:
    if kind == "custom":
        return chat.ChatToolCallDelta(index=index, custom=chat.CustomCallDelta(name=name, input=text))
    return chat.ChatToolCallDelta(index=index, function=chat.FunctionCallDelta(name=name, arguments=text))


def _call(started: ToolCallStarted, text: str) -> ChatToolCall:
    if started.kind == "custom":
        return ChatToolCall(custom=CustomToolCall(id=started.id, custom=CustomCall(name=started.name, input=text)))
    function = FunctionCall(name=started.name, arguments=text)
    return ChatToolCall(function=FunctionToolCall(id=started.id, function=function))


def _logprobs(tokens: Iterable[TokenLogprob]) -> chat.ChatLogprobs:
    return chat.ChatLogprobs(content=chat.TokenLogprobs(tokens=[_token(chat.TokenLogprob, token) for token in tokens]))


def _token(kind: Callable[..., Any], token: TokenLogprob) -> Any:
    values = None if token.bytes is None else chat.TokenBytes(values=token.bytes)
    top = {"top_logprobs": [_token(chat.TopLogprob, other) for other in token.top]} if token.top else {}
    return kind(token=token.token, logprob=token.logprob, bytes=values, **top)


def _usage(usage: Usage) -> chat.ChatUsage:
    return chat.ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=chat.PromptTokensDetails(
            cached_tokens=usage.cached_tokens, cache_write_tokens=usage.cache_write_tokens or None
        ),
        completion_tokens_details=chat.CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def _nested(raw: str) -> str:
    """A citation in the form of a chat: its fields below a key with the name of its type."""
    fields = orjson.loads(raw)
    kind = str(fields.pop("type", "url_citation"))
    return orjson.dumps({"type": kind, kind: fields}).decode()
