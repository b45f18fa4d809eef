"""Audio at a provider that speaks OpenAI's API: transcriptions, translations, speech."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from trivet.kernel.errors import UpstreamError
from trivet.model_service.adapters.reading import json_event
from trivet.model_service.adapters.sse import SseEvent
from trivet.model_service.adapters.upload_body import UploadBody
from trivet.model_service.adapters.upstream_answer import UpstreamAnswer
from trivet.model_service.adapters.upstream_http import UpstreamHttp, is_done
from trivet.model_service.domain.audio import AudioFile, Media, Operation, Parameters

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_TEXTS: Final = frozenset({"text", "srt", "vtt"})
_DONE: Final = "transcript.text.done"
_SOUNDS: Final = ("audio/", "application/octet-stream", "binary/octet-stream", "application/ogg")


class OpenAIAudio:
    """The Transcriber and the Speaker of a provider; its connections are those of `http`."""

    def __init__(self, http: UpstreamHttp) -> None:
        self._http = http

    async def transcribe(self, operation: Operation, parameters: Parameters, file: AudioFile) -> dict[str, Any] | Media:
        """See `Transcriber.transcribe`."""
        async with self._heard(operation, {**parameters, "stream": None}, file, "*/*") as answer:
            as_text = {**parameters, **file.content.late}.get("response_format") in _TEXTS
            if answer.content_type == _JSON and not as_text:
                return self._whole(await answer.json_object())
            if answer.content_type == _EVENTS or not as_text:
                raise self._http.invalid("answered with something else than was asked for")
            return Media(answer.full_content_type, await answer.whole())

    async def stream_transcription(self, parameters: Parameters, file: AudioFile) -> AsyncGenerator[list[dict[str, Any]]]:
        """See `Transcriber.stream_transcription`."""
        async with self._heard("transcriptions", {**parameters, "stream": True}, file, _EVENTS) as answer:
            if answer.content_type == _JSON:
                # A model that cannot stream is not asked whether it can: it answers in one piece.
                said = self._whole(await answer.json_object())
                yield [{"type": _DONE, **{key: said[key] for key in ("text", "logprobs", "usage") if said.get(key) is not None}}]
                return
            if answer.content_type != _EVENTS:
                raise self._http.invalid("answered with something else than a stream")
            ended = False
            async for batch in answer.events():
                ended = ended or any(map(is_done, batch))
                events = list(self._events(batch))
                ended = ended or any(event.get("type") == _DONE for event in events)
                if events:
                    yield events
            if not ended:
                raise self._http.invalid("ended its stream early")

    async def speak(self, parameters: Parameters) -> AsyncGenerator[Media]:
        """See `Speaker.speak`."""
        accepted = (_EVENTS,) if parameters.get("stream_format") == "sse" else ()
        with await self._http.answer("audio/speech", dict(parameters), accept="*/*") as answer:
            if answer.content_type == _JSON:
                self._whole(await answer.json_object())
            if not answer.content_type.startswith((*_SOUNDS, *accepted)):
                raise self._http.invalid("answered with something else than audio")
            kind = answer.full_content_type
            async for data in answer.pieces():
                yield Media(kind, data)
                kind = ""
            if kind:
                raise self._http.invalid("answered without audio")

    @asynccontextmanager
    async def _heard(
        self, operation: Operation, parameters: Parameters, file: AudioFile, accept: str
    ) -> AsyncIterator[UpstreamAnswer]:
        body = UploadBody(parameters, "file", file)
        try:
            with await self._http.answer(f"audio/{operation}", body, accept=accept) as answer:
                yield answer
        except UpstreamError:
            # To the client it is the connection that broke when it was given no more to send.
            if file.content.failure is None:
                raise
            raise file.content.failure from None

    def _whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        if error := answer.get("error"):
            raise self._http.error(error)
        return answer

    def _events(self, batch: list[SseEvent]) -> Iterator[dict[str, Any]]:
        for event in batch:
            if not event.data or is_done(event):
                continue
            value = json_event(self._http, event)
            if fault := value.get("error") or ((event.event == "error" or value.get("type") == "error") and value):
                raise self._http.error(fault)
            yield value
