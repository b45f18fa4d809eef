"""The chunks of one stream, read: repaired, decoded, and most of them not even that, because one like them was."""

from collections.abc import Callable
from typing import Any, Final

import orjson

from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunk
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.runs import More
from trivet.kernel.errors import InvalidRequest, ServiceError, UpstreamFailed
from trivet.model_service.adapters.openai_chat_repair import ChunkRepair, as_chunk, is_whole
from trivet.model_service.adapters.openai_chat_shapes import HEAD, ChunkShapes, cut, start_of
from trivet.model_service.adapters.openai_chat_text import TextPieces, TextTemplate
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upstream_events import DONE
from trivet.model_service.adapters.upstream_http import UpstreamHttp

_CHUNK: Final = codec_for(ChatCompletionChunk)

Body = dict[str, Any]

Split = tuple[Body, ChatCompletionChunk]
"""What a chunk shares with the others of its stream, and the rest of it. Neither is to be changed."""

Told = Split | TextPieces
"""What a stream says next."""


class ChunkStream:
    """Reads one stream; `repair` tells how far it is."""

    def __init__(self, http: UpstreamHttp, shapes: ChunkShapes, *, functions: bool, merge_text: bool) -> None:
        """`shapes` are those of the provider's chunks; `functions`, `merge_text`: see `ChunkRepair`, `OpenAIChat`."""
        self._http = http
        self._shapes = shapes
        self._merge_text = merge_text
        self.repair = ChunkRepair(functions=functions)
        self._template = TextTemplate()
        self._start = b""
        self._begins: Body = {}

    def taker(self, more: More) -> Callable[[bytes], bool]:
        """Gives `more` the texts of bytes that are whole events with nothing else; whether it took them."""
        return self._template.taker((lambda texts: more(["".join(texts)])) if self._merge_text else more)

    def read(self, batch: list[SseEvent], told: list[Told]) -> None:
        """Add to `told` what these events say. Raises UpstreamFailed, and what an upstream's error is."""
        template, repair = self._template, self.repair
        position = 0
        while position < len(batch):
            if template.before and (texts := template.texts(batch, position)):
                position += len(texts)
                told.append(template.pieces(["".join(texts)] if self._merge_text else texts))
                continue
            event = batch[position]
            position += 1
            data = event.data
            if data == DONE:
                if repair.begun and not repair.finished:
                    told.append(split(self._http, repair.closing()))
                return
            if not (event.event or repair.finished) and (known := self._known(data)) is not None:
                told.append(known)
            elif (said := self._read(event)) is not None:
                told.append(said)

    def _known(self, data: bytes) -> Told | None:
        """What a chunk says whose like was read before, in this stream or another one."""
        repair = self.repair
        if not repair.single:
            return None
        if not self._start or not data.startswith(self._start):
            self._start, self._begins = start_of(data)
        before, said, after = cut(data, len(self._start))
        shape = self._shapes.get((repair.begun, before, after))
        if shape is None:
            return None
        try:
            text = orjson.loads(said) if said else ""
        except orjson.JSONDecodeError:
            return None
        if not repair.passed(shape.call, text if shape.begins else None, finishes=shape.finishes):
            return None
        head = {**self._begins, **shape.head}
        if shape.like is None:
            self._template.pass_by(head)
        elif self._template.resume(self._start + before, after, head, shape.like):
            return self._template.pieces([text])
        return head, shape.chunk(text) if said else shape.whole

    def _read(self, event: SseEvent) -> Told | None:
        """What a chunk says; None if that is nothing."""
        repair, template, data = self.repair, self._template, event.data
        whole, begun, single = repair.finished, repair.begun, repair.single
        try:
            if data and repair.repair(chunk := self._chunk(event)):
                said = split(self._http, chunk)
                if single and repair.single and not whole and self._start:
                    self._shapes.learn(data, self._start, said[1], begun=begun)
                return template.learn(data, *said) or said
            template.forget()
        except UpstreamFailed:
            # Whatever breaks after the last choice has ended: the answer is whole.
            if not whole:
                raise
        return None

    def _chunk(self, event: SseEvent) -> Body:
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise self._http.invalid("sent an event that is not JSON") from error
        if not isinstance(chunk, dict):
            raise self._http.invalid("sent an event that is not a JSON object")
        if fault := error_in(chunk) or (event.event == "error" and chunk):
            raise self._http.error(fault)
        if is_whole(chunk):
            as_chunk(chunk)
        return chunk


def split(http: UpstreamHttp, chunk: Body) -> Split:
    """A repaired chunk, decoded. Raises UpstreamFailed."""
    head = {}
    for key, kind in HEAD.items():
        value = chunk.pop(key, None)
        if isinstance(value, kind):
            head[key] = value
    chunk.pop("object", None)
    try:
        return head, _CHUNK.decode(chunk)
    except InvalidRequest as error:
        raise broken_api(http, error) from error


def broken_api(http: UpstreamHttp, error: InvalidRequest) -> ServiceError:
    """What an answer is that breaks its API."""
    return http.invalid(f"broke its API at `{error.param}`")


def error_in(answer: Body) -> object:
    """What an answer tells of an error in place of one."""
    return answer.get("error") or (answer if answer.get("object") == "error" else None)
