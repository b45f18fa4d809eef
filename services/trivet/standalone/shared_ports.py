"""Ports that several processes listen on, each with a socket of its own: the kernel deals the connections out among them."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trivet.kernel.settings import ServerSettings, is_unix, split_host_port
from trivet.standalone.config import Config, UsageError
from trivet.standalone.failures import CommandFailed


@contextmanager
def reserved(config: Config, *, http: bool, grpc: bool) -> Iterator[ServerSettings]:
    """For the block, keep for us the ports that are wanted; what comes back names those that were taken for port 0.

    Raises:
        CommandFailed: another process listens there already, or the address is not ours.
        UsageError: here, ports cannot be shared.
    """
    if sys.platform != "linux":
        raise UsageError("several workers need Linux: elsewhere, connections to a shared port are not dealt out")
    server = config.server
    if grpc and is_unix(server.grpc):
        raise UsageError("`server.grpc`: a Unix socket cannot be shared by several workers; give HOST:PORT")
    with ExitStack() as stack:
        wanted = {"http": server.http if http else "", "grpc": server.grpc if grpc else ""}
        taken = {name: _reserve(address, stack) for name, address in wanted.items() if address}
        yield server.model_copy(update=taken)


def _reserve(address: str, stack: ExitStack) -> str:
    host, port = split_host_port(address)
    try:
        for family, *_, name in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)):
            # Shared ports are shared with anybody who asks for it under our user: by this we find out whether somebody listens.
            with _socket(family) as probe:
                probe.bind((name[0], port, *name[2:]))
            # Bound and not listening, it gets no connections, and nobody else gets the port.
            reserving = stack.enter_context(_socket(family))
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserving.bind((name[0], port, *name[2:]))
            port = reserving.getsockname()[1]
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise CommandFailed(f"cannot listen on {address}: {why}") from error
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
