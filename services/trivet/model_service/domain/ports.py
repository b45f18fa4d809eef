"""What ModelService needs of an upstream: the port that every dialect adapter fills."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from trivet.model_service.domain.turn import TurnEvent, TurnRequest

T = TypeVar("T")
W = TypeVar("W", covariant=True)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as its provider lists it: the id there, the Unix time it was made (0: not told), what it is ("": not told)."""

    id: str
    created: int = 0
    description: str = ""


class Dialect(Protocol):
    """An upstream, spoken to in its own API.

    A dialect may also answer an API of its own shape without the detour over turns: it then has the methods of one of
    the Protocols in `trivet.model_service.faces.native`.
    """

    def turn(self, request: TurnRequest) -> AsyncGenerator[list[TurnEvent]]:
        """Asks for one turn, as a stream or in one piece as `request.stream` says.

        Yields batches of the events that were ready together: `TurnStarted` first, `TurnFinished` last. Read it to its
        end, or close it: closing or cancelling ends the upstream call at once.

        Raises:
            UnsupportedParameter: the upstream has no way to say what `request` asks; nothing was sent.
            UpstreamRejected, UpstreamFailed, UpstreamTimeout, RateLimited, Overloaded: before or between batches.
        """
        ...

    async def list_models(self) -> list[ModelInfo]:
        """The models that the upstream offers. Raises as `turn` does."""
        ...

    async def aclose(self) -> None:
        """Closes the connections; calls that still run end with UpstreamFailed."""
        ...


class Words(Protocol[W]):
    """How events of a turn are told to who asked for it."""

    def batch(self, events: list[TurnEvent], /) -> W | None:
        """The next message; None where the events say nothing in it."""
        ...

    def more(self, texts: list[str], /) -> bool:
        """Whether further texts of the run that the last message ended with could be told without a message; if not, none was."""
        ...


@runtime_checkable
class TellsTurns(Protocol):
    """A dialect that tells a turn in the words of who asks.

    What `turn` gives is an iterator around others, and each of them costs as much as the event that passes it.
    """

    async def whole_turn(self, request: TurnRequest) -> list[TurnEvent]:
        """All events of a turn that is no stream. Raises as `turn` does."""
        ...

    def turn_as(self, request: TurnRequest, words: Words[T]) -> AsyncGenerator[T]:
        """As `turn` gives one that is a stream, each batch in these words; one for which there are none is left out."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A dialect whose servers may count what a turn would bring to the model."""

    async def count_tokens(self, request: TurnRequest) -> int | None:
        """The tokens of the conversation and the tools; None where this server does not count. Raises as `turn` does."""
        ...


class Tokenizer(Protocol):
    """Counts tokens without asking anyone."""

    def count(self, texts: Iterable[str], model: str) -> int:
        """How many tokens texts are to the model with this name at its provider; an estimate where it is not known."""
        ...
