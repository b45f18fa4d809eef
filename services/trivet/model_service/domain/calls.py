"""What is known of a call to a model once it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trivet.model_service.domain.turn import Usage

CLIENT_LEFT = 499
"""The status of a call whose caller left before its end."""

# Nobody changes these. They are not frozen because each call makes one of each, and that would take four times as long.


@dataclass(slots=True)
class Attempt:
    """One request to a target, `<provider>/<model>`: the HTTP status that it ended with (200: well), and what it took."""

    target: str
    status: int
    seconds: float


@dataclass(slots=True)
class CallRecord:
    """A call to a model, as its caller and its targets know it.

    `operation` is what was asked for: `chat.completions`, `responses`, `embeddings` and so on. `model` is the name that the
    caller used; `provider`, `provider_type` (its `type` in the configuration) and `upstream_model` are of the target that
    answered, or was asked last: empty if none was asked. `started` is in Unix time. `first_token_seconds` counts from there to
    the first message that reached the caller: None for a call that is not streamed, or that had none. `status` is the HTTP
    status that the caller sees (of a stream that broke, the one that its error stands for), and 499 when the caller left.
    `usage` is None where the target did not tell.
    """

    operation: str
    model: str
    provider: str
    provider_type: str
    upstream_model: str
    attempts: tuple[Attempt, ...]
    started: float
    first_token_seconds: float | None
    total_seconds: float
    status: int
    usage: Usage | None
    stream: bool
    request_id: str = ""
    principal: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class CallObserver(Protocol):
    """Is told of each call to a model, once, when it has ended, however it ended."""

    def finished(self, record: CallRecord) -> None:
        """Takes the record. Called in the call's own task: it must return at once, and raise nothing."""
        ...
