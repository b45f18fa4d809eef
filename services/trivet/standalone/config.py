"""The configuration: what a file may say, how it is read, and what stands when there is none."""

import ipaddress
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from trivet.agent_service.settings import AgentSettings
from trivet.bridge.settings import BridgeSettings
from trivet.kernel.settings import AuthSettings, GrpcAddress, KeySettings, ServerSettings, is_unix, split_host_port
from trivet.model_service.settings import ModelSettings, ProviderSettings
from trivet.standalone.config_problems import problems_of
from trivet.standalone.failures import Misused
from trivet.standalone.yaml_source import Document, Position, Problem, read_yaml
from trivet.standalone.yaml_source import Path as ValuePath
from trivet.tool_service.settings import McpServerSettings, ToolLimits, ToolSettings


class ConfigError(Misused):
    """A configuration that can't be used. Its text has one line for each problem, `FILE:LINE:COLUMN: what is wrong`."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__(
            "\n".join(
                f"{source}:{problem.position.line}:{problem.position.column}: {problem.message}" for problem in self.problems
            )
        )


class UsageError(Misused):
    """A command that can't be carried out as it was given, whatever the file says by itself."""


class ServicesSettings(BaseModel):
    """Where the services are when each runs in a process of its own; unused when one process runs everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: GrpcAddress | None = None
    """Where ModelService listens, `HOST:PORT` or `unix:PATH`. Needed by the agent and the bridge."""

    agent: GrpcAddress | None = None
    """Where AgentService listens. Needed by the bridge."""

    tool: GrpcAddress | None = None
    """Where ToolService listens. Needed by the agent and the bridge, and by the models for tools of type `mcp`."""


class Config(ModelSettings, ToolSettings):
    """A whole configuration file. `providers`, `mcp_servers` and `security` are the keys of the services that own them."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    services: ServicesSettings = ServicesSettings()
    agent: AgentSettings = AgentSettings()
    bridge: BridgeSettings = BridgeSettings()
    limits: ToolLimits = Field(default=ToolLimits(), alias="mcp_limits")
    """Named in the file for what it bounds: there, `limits` alone would not say of what."""


def load_config(file: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in `file`, the variables of `environ` filled in.

    Raises:
        ConfigError: with everything that is wrong with the file, not just the first of it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), [Problem(Position(1, 1), "not UTF-8 text")]) from error
    except OSError as error:
        raise ConfigError(str(file), [Problem(Position(1, 1), f"can't be read: {error.strerror}")]) from error
    document = read_yaml(text, environ)
    if document.problems and document.data is None:
        raise ConfigError(str(file), document.problems)
    config = _validated(document, str(file))
    problems = [
        *document.problems,
        *(Problem(document.position(path), message) for path, message in exposures(config)),
    ]
    if problems:
        raise ConfigError(str(file), problems)
    return config


def _validated(document: Document, source: str) -> Config:
    try:
        return Config.model_validate({} if document.data is None else document.data)
    except ValidationError as error:
        # What could not be read was reported already: a second complaint about the same place would only confuse.
        reported = {problem.position for problem in document.problems}
        more = [problem for problem in problems_of(error, Config, document) if problem.position not in reported]
        raise ConfigError(source, [*document.problems, *more]) from None


def default_config() -> Config:
    """What stands without a file: the embedded model, a clock as MCP server, loopback only."""
    return Config(
        providers=(ProviderSettings(name="local", type="local"),),
        mcp_servers=(McpServerSettings(name="clock", command=("mcp-server-time", "--local-timezone", "UTC")),),
    )


def exposures(config: Config) -> list[tuple[ValuePath, str]]:
    """The addresses that strangers could reach without a key, each with the complaint about it."""
    if config.auth.keys:
        return []
    addresses = {"http": config.server.http, "grpc": config.server.grpc}
    return [
        (("server", name), f"`server.{name}`: {address} is reachable from outside, and `auth.keys` is empty: give a key")
        for name, address in addresses.items()
        if not _is_loopback(address)
    ]


def with_server(config: Config, *, http: str | None = None, grpc: str | None = None, workers: int | None = None) -> Config:
    """The configuration with other addresses to listen on, and another number of workers, where they are given.

    Raises:
        UsageError: strangers could reach one of them without a key.
    """
    told = {"http": http, "grpc": grpc, "workers": workers}
    given = {name: value for name, value in told.items() if value is not None}
    changed = config.model_copy(update={"server": config.server.model_copy(update=given)})
    if complaints := [message for _, message in exposures(changed)]:
        raise UsageError("\n".join(complaints))
    return changed


def _is_loopback(address: str) -> bool:
    if is_unix(address):
        return True
    host, _ = split_host_port(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_generated_key(config: Config, key: str = "") -> tuple[Config, str]:
    """The configuration with a new key as its only one, or with `key`, made before; and that key, to be shown once."""
    key = key or f"sk-trivet-{secrets.token_urlsafe(24)}"
    auth = config.auth.model_copy(update={"keys": (KeySettings(name="generated", key=SecretStr(key), role="admin"),)})
    return config.model_copy(update={"auth": auth}), key
