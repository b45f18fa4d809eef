"""The settings of every process: where it listens, what it bounds, and who may call."""

import re
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

MOST_WORKERS = 1024


def split_host_port(address: str) -> tuple[str, int]:
    """The host and port of `HOST:PORT` or `[IPV6]:PORT`, the host without brackets.

    Raises:
        ValueError: not of that form, or the port is not within 0..65535.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError(f"`{address}`: write an IPv6 address in brackets, as in [::1]:50051")
    if not (host and colon and port.isascii() and port.isdigit()):
        raise ValueError(f"`{address}` is not HOST:PORT, as in 127.0.0.1:8080")
    if int(port) > 65535:
        raise ValueError(f"`{address}`: a port is at most 65535")
    return host, int(port)


def _tcp_address(address: str) -> str:
    split_host_port(address)
    return address


def is_unix(address: str) -> bool:
    """Whether this is the address of a Unix socket."""
    return address.startswith("unix:")


def unix_path(address: str) -> str:
    """The path in `unix:PATH` or `unix:///PATH`."""
    return address.removeprefix("unix:").removeprefix("//")


def _grpc_address(address: str) -> str:
    if is_unix(address):
        if not unix_path(address):
            raise ValueError("`unix:` needs a path, as in unix:/run/trivet.sock")
        return address
    return _tcp_address(address)


TcpAddress = Annotated[str, AfterValidator(_tcp_address)]
GrpcAddress = Annotated[str, AfterValidator(_grpc_address)]


def _number_of_workers(said: object) -> object:
    return 0 if said == "auto" else said


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where a process listens and what it bounds."""

    http: TcpAddress = "127.0.0.1:8080"
    """Where the bridge listens, `HOST:PORT`; port 0 takes a free one."""

    grpc: GrpcAddress = "127.0.0.1:50051"
    """Where the gRPC server listens, `HOST:PORT` or `unix:PATH`; port 0 takes a free one."""

    grace_seconds: float = Field(default=10.0, ge=0)
    """How long running calls may go on after SIGTERM before they are cancelled."""

    default_deadline_seconds: float = Field(default=600.0, gt=0)
    """The deadline of a call that brings none."""

    max_deadline_seconds: float = Field(default=3600.0, gt=0)
    """The longest deadline that a call may bring; a longer one is cut to this."""

    max_message_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The largest gRPC message, sent or received."""

    reload: Literal["watch", "signal"] = "watch"
    """When the configuration file is read again: `watch`: when it changes, and at SIGHUP; `signal`: only at SIGHUP."""

    workers: Annotated[int, BeforeValidator(_number_of_workers)] = Field(default=1, ge=0, le=MOST_WORKERS)
    """How many processes do the work, all on the same ports: one for each processor with `auto` or 0. More than one need Linux."""

    @property
    def shares_ports(self) -> bool:
        """Whether other processes may listen on the same ports."""
        return self.workers > 1

    @model_validator(mode="after")
    def _default_within_max(self) -> Self:
        if self.default_deadline_seconds > self.max_deadline_seconds:
            raise ValueError("default_deadline_seconds is longer than max_deadline_seconds")
        return self


def _sendable(key: SecretStr) -> SecretStr:
    # Headers are trimmed, and gRPC metadata is ASCII: any other key would be refused on one face, or on both.
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise ValueError("a key is made of printable ASCII characters, without spaces or line ends")
    return key


class KeySettings(_Section):
    """One API key and the name under which its use is logged."""

    name: str = Field(min_length=1, max_length=64)
    """What logs call the caller, and what MCP sessions are kept apart by."""

    key: Annotated[SecretStr, AfterValidator(_sendable)]
    """What the caller shows, as `Authorization: Bearer <key>`."""

    role: Literal["user", "admin"] = "user"
    """A `user` sees its own usage, an `admin` that of all keys. The key that is made where there are none is an `admin`."""


class AuthSettings(_Section):
    """Who may call. Without keys every call is refused: an open gateway is never an accident."""

    keys: tuple[KeySettings, ...] = ()

    @property
    def admins(self) -> frozenset[str]:
        """The names of the keys of the role `admin`."""
        return frozenset(key.name for key in self.keys if key.role == "admin")

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = Counter(key.name for key in self.keys)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two keys are named `{twice[0]}`")
        values = Counter(key.key.get_secret_value() for key in self.keys)
        if any(count > 1 for count in values.values()):
            raise ValueError("two names share one key")
        return self
