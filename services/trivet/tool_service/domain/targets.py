"""Which MCP server a request means, and with which headers it is spoken to."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from trivet.kernel.errors import InvalidRequest, McpServerNotFound

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# The transport's own: a request that could set these would speak for the gateway, or break the framing.
_RESERVED = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "cookie", "expect", "host",
    "keep-alive", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_CONNECT_SECONDS = 20.0
_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """An MCP endpoint over HTTP. `guarded` ones come from a request and may lead to public addresses only."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class StdioCommand:
    """A program that speaks MCP over its stdin and stdout."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server that can be connected to.

    `name` is what callers may read; `param` is the field of the request that named it. Timeouts are seconds.
    """

    name: str
    endpoint: HttpEndpoint | StdioCommand
    connect_timeout: float = _CONNECT_SECONDS
    call_timeout: float = _CALL_SECONDS
    param: str = ""
    identity: tuple[str, str] = field(init=False, repr=False)
    """What makes two sessions interchangeable but for who uses them: the server, and a digest of the headers.

    A URL from a request never shares a session with a registered server, whatever it is called.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", _identity(self))

    @property
    def transport(self) -> str:
        """`http` or `stdio`."""
        return "stdio" if isinstance(self.endpoint, StdioCommand) else "http"

    @property
    def registered(self) -> bool:
        """Whether it is one of the operator's, and not one that a request has brought."""
        return isinstance(self.endpoint, StdioCommand) or not self.endpoint.guarded


@dataclass(frozen=True, slots=True)
class Target:
    """How a request names a server: exactly one of `name` (registered) and `url`; `headers` override the server's own.

    `param` is the path of this reference in the request, such as `server`.
    """

    name: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    param: str = ""

    def at(self, name: str) -> str:
        """The path of one of the reference's fields."""
        return f"{self.param}.{name}" if self.param else name


class Registry:
    """The servers that the operator configured, and the rules for those that requests bring."""

    def __init__(self, servers: Iterable[McpServer]) -> None:
        self._servers = {server.name: server for server in servers}

    def __iter__(self) -> Iterator[McpServer]:
        return iter(self._servers.values())

    def get(self, name: str) -> McpServer | None:
        """The server that is registered under the name, if there is one."""
        return self._servers.get(name)

    def resolve(self, target: Target) -> McpServer:
        """The server that `target` means, with the headers to use.

        Raises:
            InvalidRequest: neither or both of name and url, or headers that cannot be sent.
            McpServerNotFound: no server is registered under the name.
        """
        if bool(target.name) == bool(target.url):
            raise InvalidRequest("Give exactly one of a registered name and a URL.", target.param)
        for name, value in target.headers.items():
            if fault := invalid_header(name, value):
                raise InvalidRequest(fault, target.at("headers"))
        if target.url:
            endpoint = HttpEndpoint(target.url, dict(target.headers), guarded=True)
            return McpServer(_public_host(target), endpoint, param=target.at("url"))
        server = self._servers.get(target.name)
        if server is None:
            raise McpServerNotFound(target.name, target.at("name"))
        return _with_headers(server, target) if target.headers else server


def _identity(server: McpServer) -> tuple[str, str]:
    if isinstance(server.endpoint, StdioCommand):
        return f"name {server.name}", ""
    kind = f"url {server.endpoint.url}" if server.endpoint.guarded else f"name {server.name}"
    lines = sorted(f"{name.lower()}:{value}" for name, value in server.endpoint.headers.items())
    return kind, hashlib.sha256("\n".join(lines).encode()).hexdigest()


def invalid_header(name: str, value: str) -> str:
    """Why this header cannot be sent to an MCP server; "" if it can."""
    if not _HEADER_NAME.fullmatch(name):
        return f"`{name}` is not a header name."
    if name.lower() in _RESERVED:
        return f"The header `{name}` is the transport's own."
    if not (value.isascii() and value.isprintable()):
        return f"The value of the header `{name}` holds a character that a header cannot hold."
    return ""


def _with_headers(server: McpServer, target: Target) -> McpServer:
    if isinstance(server.endpoint, StdioCommand):
        raise InvalidRequest(f"The MCP server `{server.name}` is a program and takes no headers.", target.at("headers"))
    given = {name.lower() for name in target.headers}
    kept = {name: value for name, value in server.endpoint.headers.items() if name.lower() not in given}
    return replace(server, endpoint=replace(server.endpoint, headers={**kept, **target.headers}))


def _public_host(target: Target) -> str:
    try:
        return urlsplit(target.url).hostname or target.url
    except ValueError:
        raise InvalidRequest("The URL is malformed.", target.at("url")) from None
