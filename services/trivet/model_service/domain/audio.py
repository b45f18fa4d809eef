"""What ModelService needs of a provider that hears or speaks: the ports, what they are asked, and what they answer."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trivet.kernel.errors import ServiceError

Parameters = Mapping[str, Any]
"""The parameters of a request by their names in OpenAI's API, as JSON values; `model` is the name at the provider."""

Operation = Literal["transcriptions", "translations"]


class FileContent:
    """The bytes of a file as they arrive, which can be read once; the parameters that come after them are `late` then.

    `begun` tells whether reading has been tried, `failure` what was wrong on the caller's side.
    """

    def __init__(self, pieces: AsyncIterator[bytes | Parameters]) -> None:
        self._pieces = pieces
        self.begun = False
        self.failure: ServiceError | None = None
        self.late: Parameters = {}

    async def read(self) -> AsyncIterator[bytes]:
        """The bytes. Raises ServiceError, which stays as `failure`."""
        self.begun = True
        try:
            async for piece in self._pieces:
                if isinstance(piece, bytes):
                    yield piece
                else:
                    self.late = piece
        except ServiceError as error:
            self.failure = error
            raise


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file: its name, by whose ending providers tell the format, its media type, and its size if that is known."""

    name: str
    content_type: str
    size: int | None
    content: FileContent


@dataclass(frozen=True, slots=True)
class Media:
    """Bytes and what they are; in a stream, only the first ones say it."""

    content_type: str
    data: bytes


class Transcriber(Protocol):
    """A provider's models that hear.

    Both ways to ask raise UpstreamRejected, UpstreamFailed, UpstreamTimeout, RateLimited and Overloaded, and the failure of the
    file's content. They may do so, or answer, before all of it was read.
    """

    async def transcribe(self, operation: Operation, parameters: Parameters, file: AudioFile) -> dict[str, Any] | Media:
        """What was said, as JSON, or as a text in the form that was asked for."""
        ...

    def stream_transcription(self, parameters: Parameters, file: AudioFile) -> AsyncGenerator[list[dict[str, Any]]]:
        """What is said, in batches of the events that were ready together. Closing the iterator ends the upstream call."""
        ...


class Speaker(Protocol):
    """A provider's models that speak."""

    def speak(self, parameters: Parameters) -> AsyncGenerator[Media]:
        """The audio as it comes. Closing the iterator ends the upstream call. Raises as a Transcriber does."""
        ...
