"""The settings of the tool service: which MCP servers are registered, and what bounds their use."""

from collections import Counter
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from trivet.tool_service.domain.targets import invalid_header


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _http_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in {"http", "https"} or not rest.strip("/") or not url.isprintable() or " " in url:
        raise ValueError("an MCP server's url looks like https://host/mcp")
    return url


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if fault := invalid_header(name, value.get_secret_value()):
            raise ValueError(fault)
    return headers


class McpServerSettings(_Section):
    """One registered MCP server: reached by `url`, or started from `command` and spoken to over its stdin and stdout."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$")
    """What requests call it."""

    url: Annotated[str, AfterValidator(_http_url)] | None = None
    """Its MCP endpoint. Streamable HTTP is tried first, then the older SSE transport."""

    headers: Annotated[dict[str, SecretStr], AfterValidator(_headers)] = {}
    """Sent with every request to `url`."""

    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The program and its arguments. A bare name is looked for in PATH, then beside the running Python."""

    env: dict[str, SecretStr] = {}
    """Environment variables for `command`; beyond these it gets only HOME, PATH, USER and the like."""

    cwd: str | None = None
    """The working directory of `command`."""

    connect_timeout: float = Field(default=20.0, gt=0)
    """Seconds until a session must stand, a program's start included."""

    call_timeout: float = Field(default=60.0, gt=0)
    """Seconds that a tool call may take where the request asks for nothing else."""

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("an MCP server has either a url or a command")
        if self.url is None and self.headers:
            raise ValueError("headers go with a url; a command takes env")
        if self.command is None and (self.env or self.cwd):
            raise ValueError("env and cwd go with a command; a url takes headers")
        return self


class SecuritySettings(_Section):
    """What requests may make the gateway do."""

    allow_private_networks: bool = False
    """Lets URLs in requests lead to loopback, private and link-local addresses. Registered servers always may."""


class ToolLimits(_Section):
    """What bounds the use of all MCP servers together."""

    max_sessions: int = Field(default=256, ge=1)
    """Open sessions; the one unused for longest makes room for a new one."""

    idle_timeout: float = Field(default=900.0, gt=0)
    """Seconds after which an unused session is closed."""

    tools_max_age: float = Field(default=600.0, gt=0)
    """Seconds after which a tool list is asked for again where the server neither says how long nor tells of changes."""

    max_result_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """The largest answer taken from a server; a larger tool result becomes an error that the model can read."""


class ToolSettings(_Section):
    """Everything that the tool service reads from the configuration."""

    mcp_servers: tuple[McpServerSettings, ...] = ()
    security: SecuritySettings = SecuritySettings()
    limits: ToolLimits = ToolLimits()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = Counter(server.name for server in self.mcp_servers)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two MCP servers are named `{twice[0]}`")
        return self
