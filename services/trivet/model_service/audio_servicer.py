"""AudioService's RPCs."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter, UpstreamFailed
from trivet.model.v1 import audio_pb2 as pb
from trivet.model.v1 import audio_service_pb2_grpc
from trivet.model_service.domain.audio import AudioFile, FileContent, Media, Operation, Parameters, Speaker, Transcriber
from trivet.model_service.routing.router import Router, Target

M = TypeVar("M", bound=Message)

_EARLY = ("model", "stream")
"""What was decided by, when the file had not come yet."""

Vet = Callable[[Message], Awaitable[None]]

Uploads = AsyncIterable[pb.TranscriptionUpload] | AsyncIterable[pb.TranslationUpload]


class AudioServicer(audio_service_pb2_grpc.AudioServiceServicer):
    """Serves the models of a router that hear or speak. `vet` judges the URLs in parameters. Raises AddressRefused."""

    def __init__(self, router: Router, vet: Vet) -> None:
        self._router = router
        self._vet = vet

    async def CreateTranscription(self, requests: Uploads, context: Any) -> pb.TranscriptionAnswer:
        """What was said, in one piece."""
        return await self._transcribe("transcriptions", requests)

    async def StreamTranscription(self, requests: Uploads, context: Any) -> AsyncGenerator[pb.TranscriptionEventBatch]:
        """What is said, event by event."""
        request, file = await _opened(requests, self._vet)

        async def asking(target: Target) -> AsyncGenerator[pb.TranscriptionEventBatch]:
            heard = _transcriber(target, file).stream_transcription(_parameters(request, target), file)
            async with aclosing(heard) as batches:
                async for batch in batches:
                    yield pb.TranscriptionEventBatch(events=[_read(pb.TranscriptionEvent, event) for event in batch])

        async with aclosing(self._router.stream("audio.transcriptions", request.model, asking)) as batches:
            async for batch in batches:
                yield batch

    async def CreateTranslation(self, requests: Uploads, context: Any) -> pb.TranscriptionAnswer:
        """What was said, in English."""
        return await self._transcribe("translations", requests)

    async def CreateSpeech(self, request: pb.CreateSpeechRequest, context: Any) -> AsyncGenerator[HttpBody]:
        """The audio as it comes."""
        await self._vet(request)

        async def asking(target: Target) -> AsyncGenerator[HttpBody]:
            async with aclosing(_speaker(target).speak(_parameters(request, target))) as pieces:
                async for piece in pieces:
                    yield HttpBody(content_type=piece.content_type, data=piece.data)

        async with aclosing(self._router.stream("audio.speech", request.model, asking)) as pieces:
            async for piece in pieces:
                yield piece

    async def _transcribe(self, operation: Operation, requests: Uploads) -> pb.TranscriptionAnswer:
        request, file = await _opened(requests, self._vet)

        async def asking(target: Target) -> pb.TranscriptionAnswer:
            said = await _transcriber(target, file).transcribe(operation, _parameters(request, target), file)
            if isinstance(said, Media):
                return pb.TranscriptionAnswer(document=HttpBody(content_type=said.content_type, data=said.data))
            return pb.TranscriptionAnswer(transcription=_read(pb.Transcription, said))

        return await self._router.ask(f"audio.{operation}", request.model, asking)


async def _opened(requests: Uploads, vet: Vet) -> tuple[pb.CreateTranscriptionRequest | pb.CreateTranslationRequest, AudioFile]:
    """The parameters of an upload, and its file, whose content is still to come. Raises InvalidRequest, AddressRefused."""
    messages: AsyncIterator[Any] = aiter(requests)
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "parameters":
        raise InvalidRequest("The first message of the request must have its parameters.", "parameters")
    request = first.parameters
    await vet(request)
    size = request.file.size if request.file.HasField("size") else None
    content = FileContent(_content(messages, size, vet))
    return request, AudioFile(request.file.filename, request.file.content_type, size, content)


async def _content(messages: AsyncIterator[Any], size: int | None, vet: Vet) -> AsyncIterator[bytes | Parameters]:
    received, over = 0, False
    async for message in messages:
        if over or message.WhichOneof("part") is None:
            raise InvalidRequest("Parameters come in the first message of the request, or after all of the file.", "parameters")
        if message.WhichOneof("part") == "parameters":
            over = True
            await vet(message.parameters)
            late = _given(message.parameters)
            yield {name: value for name, value in late.items() if name not in _EARLY}
            continue
        received += len(message.content)
        if size is not None and received > size:
            break
        yield message.content
    if size is not None and (received != size or over):
        raise InvalidRequest(f"The file is not of the {size} bytes that were announced.", "file.size")


def _transcriber(target: Target, file: AudioFile) -> Transcriber:
    if target.provider.transcriber is None:
        raise UnsupportedParameter("The provider of this model cannot transcribe audio.", "model")
    if file.content.begun:
        # To the router this is a target that has nothing to do with the failure: it tells the caller of that.
        raise UnsupportedParameter("A file that a provider has begun to read cannot be sent a second time.", "file")
    return target.provider.transcriber


def _speaker(target: Target) -> Speaker:
    if target.provider.speaker is None:
        raise UnsupportedParameter("The provider of this model cannot read texts out.", "model")
    return target.provider.speaker


def _parameters(request: Message, target: Target) -> Parameters:
    given = _given(request) | dict(target.override_params) | {"model": target.model}
    return {name: value for name, value in given.items() if value is not None}


def _given(request: Message) -> dict[str, Any]:
    given: dict[str, Any] = codec_for(type(request)).encode(request)
    return given


def _read(message_class: type[M], said: dict[str, Any]) -> M:
    try:
        return codec_for(message_class).decode(said)
    except InvalidRequest as error:
        raise UpstreamFailed(f"The provider broke its API at `{error.param}`.") from error
