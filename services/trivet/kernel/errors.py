"""The errors that Trivet raises on purpose; each is one value of `trivet.error.v1.ErrorReason`.

    ServiceError
    +-- InvalidRequest            INVALID_REQUEST
    |   +-- UnsupportedParameter  UNSUPPORTED_PARAMETER
    |   +-- AddressRefused        ADDRESS_REFUSED
    |   +-- ToolNotFound          TOOL_NOT_FOUND
    |   +-- PayloadTooLarge       PAYLOAD_TOO_LARGE
    |   +-- UnsupportedMediaType  UNSUPPORTED_MEDIA_TYPE
    +-- MissingKey                MISSING_KEY
    +-- InvalidKey                INVALID_KEY
    +-- PermissionDenied          PERMISSION_DENIED
    +-- ModelNotFound             MODEL_NOT_FOUND
    +-- McpServerNotFound         MCP_SERVER_NOT_FOUND
    +-- ResponseNotFound          RESPONSE_NOT_FOUND
    +-- PreviousResponseNotFound  PREVIOUS_RESPONSE_NOT_FOUND
    +-- ConversationNotFound      CONVERSATION_NOT_FOUND
    +-- ItemNotFound              ITEM_NOT_FOUND
    +-- RouteNotFound             ROUTE_NOT_FOUND
    +-- MethodNotAllowed          METHOD_NOT_ALLOWED
    +-- RequestTimeout            REQUEST_TIMEOUT
    +-- RateLimited               RATE_LIMITED
    +-- ClientClosedRequest       CLIENT_CLOSED_REQUEST
    +-- InternalError             INTERNAL
    +-- UpstreamError             (what a neighbour did to us; not raised itself)
        +-- UpstreamRejected      UPSTREAM_REJECTED
        +-- UpstreamFailed        UPSTREAM_FAILED
        +-- UpstreamTimeout       UPSTREAM_TIMEOUT
        +-- McpServerUnavailable  MCP_SERVER_UNAVAILABLE
    +-- Overloaded                OVERLOADED

A message travels to the caller as it stands: it names what the caller can change, and never a key, a URL of ours
or a stack. What helps only us belongs in the log or in `__cause__`. This module imports no transport, so domains
may raise from it; `trivet.kernel.catalogue` says how each reason looks on the wire.
"""

# ruff: noqa: N818 - an error is named as its reason is; the base class says that it is one

from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """An error whose message the caller may read.

    `param` is the path of the field at fault (`mcp_servers[0].url`), "" if there is none. `metadata` holds the keys
    that the reason documents. `retry_after` is the seconds after which trying again makes sense, None if unknown.
    `upstream_status` is the HTTP status that an upstream answered with, or that its silence comes to, for whoever routes
    calls: it stays inside of the service. 0 where there is none.
    """

    reason: ClassVar[str] = ""
    upstream_status: int = 0
    message: str
    param: str
    metadata: dict[str, str]
    retry_after: float | None

    def __init__(
        self,
        message: str,
        param: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidRequest(ServiceError):
    """The request breaks the contract; `param` names the field."""

    reason = "INVALID_REQUEST"


class UnsupportedParameter(InvalidRequest):
    """A valid parameter that the model's provider cannot express."""

    reason = "UNSUPPORTED_PARAMETER"


class AddressRefused(InvalidRequest):
    """A URL in the request leads to an address that the operator does not allow."""

    reason = "ADDRESS_REFUSED"


class ToolNotFound(InvalidRequest):
    """The request names a tool that its MCP server does not have."""

    reason = "TOOL_NOT_FOUND"


class PayloadTooLarge(InvalidRequest):
    """The request exceeds a configured size."""

    reason = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(InvalidRequest):
    """The body is not of a type that the route reads."""

    reason = "UNSUPPORTED_MEDIA_TYPE"


class MissingKey(ServiceError):
    """The call carries no API key."""

    reason = "MISSING_KEY"

    def __init__(self) -> None:
        super().__init__("No API key was given: send it as `Authorization: Bearer <key>`.")


class InvalidKey(ServiceError):
    """The call carries a key that the configuration does not hold."""

    reason = "INVALID_KEY"

    def __init__(self) -> None:
        super().__init__("The API key is not valid.")


class PermissionDenied(ServiceError):
    """The key is known, and may not do this."""

    reason = "PERMISSION_DENIED"


class ModelNotFound(ServiceError):
    """No provider serves this model."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model `{model}` does not exist.", "model", metadata={"model": model})


class McpServerNotFound(ServiceError):
    """No MCP server is registered under this name."""

    reason = "MCP_SERVER_NOT_FOUND"

    def __init__(self, name: str, param: str = "") -> None:
        super().__init__(f"The MCP server `{name}` is not registered.", param, metadata={"server": name})


class ResponseNotFound(ServiceError):
    """The key has no such response."""

    reason = "RESPONSE_NOT_FOUND"

    def __init__(self, response_id: str) -> None:
        told = f"The response `{response_id:.80}` does not exist."
        super().__init__(told, "response_id", metadata={"response": response_id})


class PreviousResponseNotFound(ServiceError):
    """The key has no such response to go on from."""

    reason = "PREVIOUS_RESPONSE_NOT_FOUND"

    def __init__(self, response_id: str) -> None:
        told = f"The previous response `{response_id:.80}` does not exist."
        super().__init__(told, "previous_response_id", metadata={"response": response_id})


class ConversationNotFound(ServiceError):
    """The key has no such conversation."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation_id: str, param: str = "conversation_id") -> None:
        told = f"The conversation `{conversation_id:.80}` does not exist."
        super().__init__(told, param, metadata={"conversation": conversation_id})


class ItemNotFound(ServiceError):
    """The conversation has no such item."""

    reason = "ITEM_NOT_FOUND"

    def __init__(self, item_id: str) -> None:
        super().__init__(f"The item `{item_id:.80}` does not exist.", "item_id", metadata={"item": item_id})


class RouteNotFound(ServiceError):
    """Nothing is served under this path."""

    reason = "ROUTE_NOT_FOUND"

    def __init__(self, path: str) -> None:
        super().__init__(f"Nothing is served at `{path}`.", metadata={"path": path})


class MethodNotAllowed(ServiceError):
    """The path is served, under other HTTP methods: `allowed`, joined by ", "."""

    reason = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"`{method}` is not allowed here; use {allowed}.", metadata={"allowed": allowed})


class RequestTimeout(ServiceError):
    """The call did not end within its own deadline."""

    reason = "REQUEST_TIMEOUT"

    def __init__(self, message: str = "The request did not finish before its deadline.") -> None:
        super().__init__(message)


class RateLimited(ServiceError):
    """The caller, or we at an upstream, went over a limit."""

    reason = "RATE_LIMITED"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)


class ClientClosedRequest(ServiceError):
    """The caller left before the answer; nobody reads this one but the log."""

    reason = "CLIENT_CLOSED_REQUEST"

    def __init__(self) -> None:
        super().__init__("The client closed the request.")


class InternalError(ServiceError):
    """A fault of ours. The text is fixed, so that nothing can leak through it."""

    reason = "INTERNAL"

    def __init__(self) -> None:
        super().__init__("An internal error occurred.")


class Overloaded(ServiceError):
    """The gateway, or a part of it, takes no more work now."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)


class UpstreamError(ServiceError):
    """A model provider or MCP server let us down; raise one of the subclasses."""


class UpstreamRejected(UpstreamError):
    """The provider found fault with the request itself: its HTTP status (4xx), message, param, code and type stay.

    A 422 becomes 400, because the contract never answers 422.
    """

    reason = "UPSTREAM_REJECTED"

    def __init__(
        self,
        message: str,
        status: int,
        param: str = "",
        code: str = "",
        type: str = "",  # noqa: A002 - the contract's word
    ) -> None:
        known = {"http_status": str(400 if status == 422 else status), "code": code, "type": type}
        super().__init__(message, param, metadata={key: value for key, value in known.items() if value})


class UpstreamFailed(UpstreamError):
    """The provider failed: a 5xx, a refused key of ours, no connection, a broken stream."""

    reason = "UPSTREAM_FAILED"


class UpstreamTimeout(UpstreamError):
    """The provider or MCP server did not answer in time."""

    reason = "UPSTREAM_TIMEOUT"


class McpServerUnavailable(UpstreamError):
    """The MCP server is known and cannot be used now."""

    reason = "MCP_SERVER_UNAVAILABLE"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, metadata={"server": name})


def _subclasses(cls: type[ServiceError]) -> list[type[ServiceError]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *_subclasses(sub))]


BY_REASON: dict[str, type[ServiceError]] = {cls.reason: cls for cls in _subclasses(ServiceError) if cls.reason}


def restore(
    reason: str,
    message: str,
    param: str = "",
    *,
    metadata: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> ServiceError:
    """The error that was raised elsewhere, from its parts.

    Raises:
        KeyError: `reason` is not one that this version knows.
    """
    cls = BY_REASON[reason]
    error = cls.__new__(cls)
    ServiceError.__init__(error, message, param, metadata=metadata, retry_after=retry_after)
    return error
