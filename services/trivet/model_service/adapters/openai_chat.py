"""The chat completions dialect: vLLM, Ollama, llama.cpp, OpenAI itself, and every other server with that API."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import uuid4

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import More, no_more
from trivet.kernel.errors import InvalidRequest, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model_service.adapters.chat_flavors import COMPATIBLE, ChatFlavor, in_flavor
from trivet.model_service.adapters.missing_api import is_missing
from trivet.model_service.adapters.openai_chat_events import ChunkReader
from trivet.model_service.adapters.openai_chat_plain import plain_events
from trivet.model_service.adapters.openai_chat_rendered import rendered_completion
from trivet.model_service.adapters.openai_chat_repair import as_chunk, repair_completion
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.adapters.openai_chat_shapes import ChunkShapes
from trivet.model_service.adapters.openai_chat_stream import ChunkStream, Told, broken_api, error_in, split
from trivet.model_service.adapters.openai_chat_text import TextPieces
from trivet.model_service.adapters.openai_models import list_models
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.ports import ModelInfo, Words
from trivet.model_service.domain.turn import TurnEvent, TurnRequest
from trivet.model_service.faces.chat_reasoning import without_seals
from trivet.model_service.faces.rendered import RenderedAnswer

_REQUEST: Final = codec_for(CreateChatCompletionRequest)
_COMPLETION: Final = codec_for(ChatCompletion)

_PATH = "chat/completions"
_CHANGING = ("service_tier", "system_fingerprint")

Body = dict[str, Any]
T = TypeVar("T")
S = TypeVar("S", covariant=True)


class OpenAIChat:
    """A `Dialect`, a `TellsTurns`, a `NativeChat` and a `CountsTokens` over one provider.

    `adapt` has the last word on every body, for an engine that needs more than its API says. With `merge_text`, pieces of text that
    come together go on as one.
    """

    def __init__(
        self,
        http: UpstreamHttp,
        flavor: ChatFlavor = COMPATIBLE,
        adapt: Callable[[Body], Body] | None = None,
        *,
        merge_text: bool = False,
    ) -> None:
        self._http = http
        self._flavor = flavor
        self._adapt = adapt
        self._merge_text = merge_text
        self._counts = flavor.counts_tokens
        self._shapes = ChunkShapes()

    # ---- Dialect ---------------------------------------------------------------------------------------------------

    async def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """See `Dialect.turn`."""
        if not request.stream:
            yield await self.whole_turn(request)
            return
        async with aclosing(self.turn_as(request, _AsTheyAre())) as batches:
            async for events in batches:
                yield events

    async def whole_turn(self, request: TurnRequest) -> list[TurnEvent]:
        """See `TellsTurns.whole_turn`."""
        body = chat_body(request, self._flavor)
        answer = self._vetted(await self._http.post_json(_PATH, self._adapt(body) if self._adapt else body))
        if plain := plain_events(answer):
            return plain
        repair_completion(answer)
        as_chunk(answer)
        reader = ChunkReader()
        return [*reader.read(*split(self._http, answer)), *reader.finish()]

    def turn_as(self, request: TurnRequest, words: Words[T]) -> AsyncGenerator[T]:
        """See `TellsTurns.turn_as`."""
        return self._stream(chat_body(request, self._flavor), _Events(words))

    async def count_tokens(self, request: TurnRequest) -> int | None:
        """See `CountsTokens.count_tokens`; llama.cpp is a server that does."""
        if not self._counts:
            return None
        try:
            body = chat_body(request, self._flavor)
            answer = await self._http.post_json(f"{_PATH}/input_tokens", self._adapt(body) if self._adapt else body)
        except UpstreamRejected as error:
            # A server that has no such path never will: it is asked once.
            self._counts = not is_missing(error)
            return None
        counted = answer.get("input_tokens")
        return counted if isinstance(counted, int) else None

    async def list_models(self) -> list[ModelInfo]:
        """See `Dialect.list_models`."""
        return await list_models(self._http)

    async def aclose(self) -> None:
        """See `Dialect.aclose`."""
        await self._http.aclose()

    # ---- NativeChat ------------------------------------------------------------------------------------------------

    async def create_chat_completion(
        self, request: CreateChatCompletionRequest, upstream_model: str, *, accepts_rendered: bool = False
    ) -> ChatCompletion | RenderedAnswer:
        """See `NativeChat.create_chat_completion`."""
        body = self._native_body(request, upstream_model, stream=False)
        answer = self._vetted(await self._http.post_json(_PATH, self._adapt(body) if self._adapt else body))
        if accepts_rendered and not request.functions and (rendered := rendered_completion(answer, request.model)) is not None:
            return rendered
        repair_completion(answer, functions=bool(request.functions))
        try:
            completion: ChatCompletion = _COMPLETION.decode(answer)
        except InvalidRequest as error:
            raise broken_api(self._http, error) from error
        completion.model = request.model
        completion.id = completion.id or _new_id()
        completion.created = completion.created or int(time.time())
        return completion

    def stream_chat_completion(
        self, request: CreateChatCompletionRequest, upstream_model: str, more: More | None = None
    ) -> AsyncGenerator[ChatCompletionChunkBatch]:
        """See `NativeChat.stream_chat_completion`."""
        body = self._native_body(request, upstream_model, stream=True)
        return self._stream(body, _Chunks(request.model, more), functions=bool(request.functions))

    def _native_body(self, request: CreateChatCompletionRequest, upstream_model: str, *, stream: bool) -> Body:
        body: Body = _REQUEST.encode(without_seals(request))
        body |= {"model": upstream_model, "stream": stream}
        asked = body.pop("stream_options", None) or {}
        if stream:
            body["stream_options"] = {**asked, "include_usage": True}
        return in_flavor(body, self._flavor)

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _vetted(self, answer: Body) -> Body:
        """The answer, which says something. Raises the error that it may be instead."""
        if error := error_in(answer):
            raise self._http.error(error)
        if not answer.get("choices"):
            raise self._http.invalid("answered without a choice")
        return answer

    async def _stream(self, body: Body, form: "_Form[T]", *, functions: bool = False) -> AsyncGenerator[T]:
        """Batches of repaired chunks in another form; unless it raises, every choice that began has ended when it ends."""
        stream = ChunkStream(self._http, self._shapes, functions=functions, merge_text=self._merge_text)
        whole = False
        try:
            with await self._http.stream(_PATH, self._adapt(body) if self._adapt else body) as events:
                events.offer(stream.taker(form.more))
                while not events.ended:
                    batch = events.of(await events.read())
                    chunks: list[Told] = []
                    try:
                        stream.read(batch, chunks)
                    except ServiceError:
                        # What came before the fault still goes out.
                        for told in form.batches(chunks):
                            yield told
                        raise
                    for told in form.batches(chunks):
                        yield told
                    whole = stream.repair.finished
                await events.settle()
        except UpstreamFailed:
            # Whatever broke after the last choice had ended: the answer is whole.
            if not whole:
                raise
        if not stream.repair.finished:
            raise self._http.invalid("ended its stream early")
        for told in form.last():
            yield told


class _Form(Protocol[S]):
    """What becomes of the chunks of a stream. It is no iterator around theirs: that would cost as much as most chunks."""

    def batches(self, said: Sequence[Told]) -> Iterable[S]:
        """The next messages of the stream."""
        ...

    def last(self) -> Iterable[S]:
        """Those that end it."""
        ...

    def more(self, texts: list[str]) -> bool:
        """Whether further texts of the run that the last message ended with went on without a message of their own."""
        ...


class _AsTheyAre:
    """The events of a turn, said as they are."""

    more = staticmethod(no_more)

    def batch(self, events: list[TurnEvent]) -> list[TurnEvent]:
        """See `Words.batch`."""
        return events


class _Events(Generic[T]):
    """The events of a turn, in the words of who asks for them."""

    def __init__(self, words: Words[T]) -> None:
        self._words = words
        self._reader = ChunkReader()

    def batches(self, said: Sequence[Told]) -> Iterable[T]:
        """See `_Form.batches`."""
        events: list[TurnEvent] = []
        for told in said:
            events += self._reader.texts(told.texts) if isinstance(told, TextPieces) else self._reader.read(*told)
        return self._told(events)

    def last(self) -> Iterable[T]:
        """See `_Form.last`."""
        return self._told(self._reader.finish())

    def more(self, texts: list[str]) -> bool:
        """See `_Form.more`."""
        # An empty text is no event of a turn.
        return self._words.more(texts if all(texts) else list(filter(None, texts)))

    def _told(self, events: list[TurnEvent]) -> Iterable[T]:
        told = self._words.batch(events) if events else None
        return () if told is None else (told,)


class _Chunks:
    """The chunks as they are, with what they share: one id and one time, whatever the upstream changes on the way."""

    def __init__(self, model: str, more: More | None) -> None:
        self._sent: Body = {}
        self._heard: Body = {}
        self._model = model
        self.more = more or no_more

    def batches(self, said: Sequence[Told]) -> Iterable[ChatCompletionChunkBatch]:
        """See `_Form.batches`. What is new or changed begins a message: it says nothing of earlier chunks."""
        if len(said) == 1 and isinstance(pieces := said[0], TextPieces):
            # What nearly all batches are.
            return (ChatCompletionChunkBatch(chunks=[pieces.chunk()]),)
        return self._batches(said)

    def last(self) -> Iterable[ChatCompletionChunkBatch]:
        """See `_Form.last`."""
        return ()

    def _batches(self, said: Iterable[Told]) -> list[ChatCompletionChunkBatch]:
        batch = ChatCompletionChunkBatch()
        batches = [batch]
        for told in said:
            if isinstance(told, TextPieces):
                batch.chunks.append(told.chunk())
                continue
            head, chunk = told
            if not (self._sent and head.items() <= self._heard.items()) and (news := self._news(head)):
                batch = ChatCompletionChunkBatch(**news)
                batches.append(batch)
            batch.chunks.append(chunk)
        # Only the first may have none.
        return batches if batches[0].chunks else batches[1:]

    def _news(self, head: Body) -> Body:
        self._heard |= head
        if self._sent:
            news = {key: head[key] for key in _CHANGING if head.get(key) and head[key] != self._sent.get(key)}
        else:
            news = {key: value for key, value in head.items() if value}
            news["model"] = self._model
            if "id" not in news:
                news["id"] = _new_id()
            if "created" not in news:
                news["created"] = int(time.time())
        self._sent |= news
        return news


def _new_id() -> str:
    return f"chatcmpl-{uuid4().hex}"
