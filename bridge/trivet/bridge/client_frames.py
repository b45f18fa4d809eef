"""What clients say over a WebSocket: `response.create`, with the parameters of `POST /responses`."""

from typing import Any, Final, NamedTuple

from trivet.kernel.codec import text
from trivet.kernel.codec.refusal import expected, invalid, missing, shown
from trivet.kernel.errors import InvalidRequest, UnsupportedParameter

CREATE: Final = "response.create"
_STEER: Final = "response.steer"
# Of the frame, not of the response; `stream` says nothing where everything is streamed.
_ENVELOPE: Final = frozenset({"type", "response", "stream_id", "event_id", "stream"})
_LONGEST_STREAM_ID: Final = 128


class Frame(NamedTuple):
    """A frame as it came: text, or else binary."""

    data: bytes
    is_text: bool


def parsed(frame: Frame) -> dict[str, Any]:
    """The JSON object of a frame. Raises InvalidRequest."""
    if not frame.is_text:
        raise InvalidRequest("A frame must be text: a binary one cannot be read.")
    value = text.parse_once(frame.data)
    if not isinstance(value, dict):
        raise InvalidRequest("A frame must be a JSON object.")
    return value


def stream_id(asked: dict[str, Any]) -> str:
    """The name that the client wants in each event of the answer, "" for none. Raises InvalidRequest."""
    given = asked.get("stream_id")
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > _LONGEST_STREAM_ID:
        raise invalid(f"expected a string of at most {_LONGEST_STREAM_ID} characters", "stream_id").as_error()
    return given


def parameters(asked: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the response that a frame asks for, which may stand in the frame itself or under its `response`.

    Raises InvalidRequest for a frame that asks for something else.
    """
    _require_create(asked.get("type"))
    nested = asked.get("response")
    whole = asked | nested if isinstance(nested, dict) else asked
    given = {key: value for key, value in whole.items() if key not in _ENVELOPE}
    match given.get("generate", True):
        case True | None:
            given.pop("generate", None)
        case False:
            # A response that is not to be generated needs nothing to answer to.
            given.setdefault("input", [])
        case odd:
            refusal = expected("a boolean", odd)
            refusal.path.append("generate")
            raise refusal.as_error()
    return given


def _require_create(kind: Any) -> None:
    if kind == CREATE:
        return
    if kind == _STEER:
        raise UnsupportedParameter("A running response cannot be steered here: go on from it when it has ended.", "type")
    if not isinstance(kind, str):
        raise missing("type").as_error()
    raise invalid(f"expected '{CREATE}', but got {shown(kind)}", "type").as_error()
