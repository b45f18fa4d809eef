"""The chat completions dialect: vLLM, Ollama, llama.cpp, OpenAI itself, and every other server with that API."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import uuid4

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import More, no_more
from trivet.kernel.errors import InvalidRequest, ServiceError, UpstreamFailed, UpstreamRejected
from trivet.model_service.adapters.chat_flavors import COMPATIBLE, ChatFlavor, in_flavor
from trivet.model_service.adapters.missing_api import is_missing
from trivet.model_service.adapters.openai_chat_events import ChunkReader
from trivet.model_service.adapters.openai_chat_plain import plain_events
from trivet.model_service.adapters.openai_chat_repair import ChunkRepair, as_chunk, is_whole, repair_completion
from trivet.model_service.adapters.openai_chat_request import chat_body
from trivet.model_service.adapters.openai_chat_text import TextPieces, TextTemplate
from trivet.model_service.adapters.openai_models import list_models
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_http import DONE, UpstreamHttp
from trivet.model_service.domain.ports import ModelInfo, Words
from trivet.model_service.domain.turn import TurnEvent, TurnRequest
from trivet.model_service.faces.chat_reasoning import without_seals

_REQUEST: Final = codec_for(CreateChatCompletionRequest)
_COMPLETION: Final = codec_for(ChatCompletion)
_CHUNK: Final = codec_for(ChatCompletionChunk)

_PATH = "chat/completions"
_CHANGING = ("service_tier", "system_fingerprint")
_HEAD = {"id": str, "created": int, "model": str, **dict.fromkeys(_CHANGING, str)}

Body = dict[str, Any]
T = TypeVar("T")
S = TypeVar("S", covariant=True)

_Split = tuple[Body, ChatCompletionChunk]
"""What a chunk shares with the others of its stream, and the rest of it."""

_Told = _Split | TextPieces
"""What a stream says next."""


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
        return [*reader.read(*self._split(answer)), *reader.finish()]

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

    async def create_chat_completion(self, request: CreateChatCompletionRequest, upstream_model: str) -> ChatCompletion:
        """See `NativeChat.create_chat_completion`."""
        body = self._native_body(request, upstream_model, stream=False)
        answer = self._vetted(await self._http.post_json(_PATH, self._adapt(body) if self._adapt else body))
        repair_completion(answer, functions=bool(request.functions))
        try:
            completion: ChatCompletion = _COMPLETION.decode(answer)
        except InvalidRequest as error:
            raise self._broken_api(error) from error
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
        if error := _error_in(answer):
            raise self._http.error(error)
        if not answer.get("choices"):
            raise self._http.invalid("answered without a choice")
        return answer

    async def _stream(self, body: Body, form: "_Form[T]", *, functions: bool = False) -> AsyncGenerator[T]:
        """Batches of repaired chunks in another form; unless it raises, every choice that began has ended when it ends."""
        repair, template = ChunkRepair(functions=functions), TextTemplate()
        taker = template.taker(self._more(form))
        whole = False
        async with aclosing(self._http.post_stream(_PATH, self._adapt(body) if self._adapt else body, taker=taker)) as batches:
            try:
                async for batch in batches:
                    chunks: list[_Told] = []
                    try:
                        self._read(batch, repair, template, chunks)
                    except ServiceError:
                        # What came before the fault still goes out.
                        for told in form.batches(chunks):
                            yield told
                        raise
                    for told in form.batches(chunks):
                        yield told
                    whole = repair.finished
            except UpstreamFailed:
                # Whatever broke after the last choice had ended: the answer is whole.
                if not whole:
                    raise
        if not repair.finished:
            raise self._http.invalid("ended its stream early")
        for told in form.last():
            yield told

    def _read(self, batch: list[SseEvent], repair: ChunkRepair, template: TextTemplate, told: list[_Told]) -> None:
        position = 0
        while position < len(batch):
            if texts := template.texts(batch, position):
                position += len(texts)
                told.append(template.pieces(self._merged(texts)))
                continue
            event = batch[position]
            position += 1
            if event.data == DONE:
                if repair.begun and not repair.finished:
                    told.append(self._split(repair.closing()))
                return
            whole = repair.finished
            try:
                if event.data and repair.repair(chunk := self._chunk(event)):
                    split = self._split(chunk)
                    told.append(template.learn(event.data, *split) or split)
                else:
                    template.forget()
            except UpstreamFailed:
                if not whole:
                    raise

    def _merged(self, texts: list[str]) -> list[str]:
        return ["".join(texts)] if self._merge_text else texts

    def _more(self, form: "_Form[T]") -> More:
        return (lambda texts: form.more(self._merged(texts))) if self._merge_text else form.more

    def _chunk(self, event: SseEvent) -> Body:
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise self._http.invalid("sent an event that is not JSON") from error
        if not isinstance(chunk, dict):
            raise self._http.invalid("sent an event that is not a JSON object")
        if fault := _error_in(chunk) or (event.event == "error" and chunk):
            raise self._http.error(fault)
        if is_whole(chunk):
            as_chunk(chunk)
        return chunk

    def _split(self, chunk: Body) -> _Split:
        head = {key: value for key, kind in _HEAD.items() if isinstance(value := chunk.pop(key, None), kind)}
        chunk.pop("object", None)
        try:
            return head, _CHUNK.decode(chunk)
        except InvalidRequest as error:
            raise self._broken_api(error) from error

    def _broken_api(self, error: InvalidRequest) -> ServiceError:
        return self._http.invalid(f"broke its API at `{error.param}`")


class _Form(Protocol[S]):
    """What becomes of the chunks of a stream. It is no iterator around theirs: that would cost as much as most chunks."""

    def batches(self, said: Sequence[_Told]) -> Iterable[S]:
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

    def batches(self, said: Sequence[_Told]) -> Iterable[T]:
        """See `_Form.batches`."""
        if len(said) == 1:
            return self._told(list(_events(self._reader, said[0])))
        return self._told([event for told in said for event in _events(self._reader, told)])

    def last(self) -> Iterable[T]:
        """See `_Form.last`."""
        return self._told(list(self._reader.finish()))

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
        self._head: Body | None = None
        self._model = model
        self.more = more or no_more

    def batches(self, said: Sequence[_Told]) -> Iterable[ChatCompletionChunkBatch]:
        """See `_Form.batches`. What is new or changed begins a message: it says nothing of earlier chunks."""
        if len(said) == 1 and isinstance(pieces := said[0], TextPieces):
            # What nearly all batches are.
            return (ChatCompletionChunkBatch(chunks=[pieces.chunk()]),)
        return self._batches(said)

    def last(self) -> Iterable[ChatCompletionChunkBatch]:
        """See `_Form.last`."""
        return ()

    def _batches(self, said: Iterable[_Told]) -> Iterator[ChatCompletionChunkBatch]:
        batch = ChatCompletionChunkBatch()
        for told in said:
            if isinstance(told, TextPieces):
                batch.chunks.append(told.chunk())
                continue
            head, chunk = told
            if head != self._head and (news := self._news(head)):
                if batch.chunks:
                    yield batch
                batch = ChatCompletionChunkBatch(**news)
            batch.chunks.append(chunk)
        if batch.chunks:
            yield batch

    def _news(self, head: Body) -> Body:
        self._head = head
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


def _events(reader: ChunkReader, told: _Told) -> Iterable[TurnEvent]:
    return reader.texts(told.texts) if isinstance(told, TextPieces) else reader.read(*told)


def _error_in(answer: Body) -> object:
    return answer.get("error") or (answer if answer.get("object") == "error" else None)


def _new_id() -> str:
    return f"chatcmpl-{uuid4().hex}"
