"""Programs in processes of their own: started, waited for, and ended with everything they started."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_GRACE_SECONDS = 2.0
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Program:
    """A command, what its environment has beside ours, and the folder that it runs in."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class Ended(RuntimeError):
    """A program that ended before it served; its last words are the text."""


@contextlib.contextmanager
def running(program: Program, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The program in a session of its own, so that what it starts ends with it; what it says goes to `log`."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=program.folder,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    # Whoever of the session is left, the program itself or what it left behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until `process` listens on `port`. Raises Ended if it ends instead, or takes too long."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise Ended(last_words(log))


def last_words(log: Path, lines: int = 15) -> str:
    """The end of what a program said."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
