"""What goes wrong below MCP, in words for the caller and as what it means for the request."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from trivet.tool_service.domain.session import Answered, Interrupted, NeverReached, SessionError

ERROR_BODY_BYTES: Final = 64 * 1024
"""How much is read of what explains an HTTP error."""


class FaultKind(StrEnum):
    """What became of a request that got no answer of the server's own."""

    NOT_SENT = "not_sent"  # no connection
    LOST = "lost"  # sent, perhaps executed, never answered
    EXPIRED = "expired"  # the server does not know the session any more, so it did nothing
    REFUSED = "refused"  # the guard does not let us connect
    STATUS = "status"  # an HTTP error without a word of MCP
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure below MCP. `text` is public and ends "The MCP server `x` ..."; `status` is HTTP's, 0 where none came."""

    kind: FaultKind
    text: str
    status: int = 0

    def error(self) -> SessionError:
        """What it means for the request."""
        match self.kind:
            case FaultKind.NOT_SENT | FaultKind.EXPIRED | FaultKind.REFUSED:
                return NeverReached(self.text)
            case FaultKind.LOST:
                return Interrupted(self.text)
        return Answered(self.text)


def not_sent(*, slow: bool = False) -> Fault:
    """There was no connection to be had."""
    return Fault(FaultKind.NOT_SENT, f"cannot be reached{' in time' * slow}")


def unresolved() -> Fault:
    """The name of the server leads nowhere."""
    return Fault(FaultKind.NOT_SENT, "cannot be reached: its name does not resolve")


def lost() -> Fault:
    """The connection ended."""
    return Fault(FaultKind.LOST, "closed the connection without an answer")


def too_large(limit: int, status: int = 0) -> Fault:
    """More came than is taken."""
    return Fault(FaultKind.TOO_LARGE, f"sent more than {limit} bytes", status)


def of_status(status: int, body: bytes, *, in_session: bool) -> Fault | None:
    """What an HTTP error means; None where it carries an MCP error that speaks for itself."""
    message = _error_message(body)
    if in_session and (status == 404 or (status == 400 and "session" in message.lower())):
        return Fault(FaultKind.EXPIRED, "ended the session", status)
    if message:
        return None
    if status in {401, 403}:
        return Fault(FaultKind.STATUS, f"refused the credentials with HTTP {status}", status)
    return Fault(FaultKind.STATUS, f"answered with HTTP {status}", status)


def _error_message(body: bytes) -> str:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    match parsed:
        case {"jsonrpc": "2.0", "error": {"code": int(), "message": str(message)}}:
            return message or "error"
    return ""
