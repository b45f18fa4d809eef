"""Starts, watches and stops the child process that runs llama.cpp (`child.py`)."""

import asyncio
import json
import logging
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trivet.kernel.errors import UpstreamFailed

_CHILD = Path(__file__).with_name("child.py")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the child is told. The key is made per start and is in no log."""

    model: str
    """Path of the GGUF file."""

    template: str
    """The chat template, Jinja."""

    alias: str
    """The model's name in answers."""

    context: int
    """Tokens, of all requests that run at once."""

    slots: int
    """Requests that run at once; more of them wait."""

    threads: int
    idle_seconds: int
    """After so long without a request, the weights leave memory until the next one; -1: never."""


class LlamaProcess:
    """A running child: `base_url` ends in `/v1`, `api_key` is its bearer token."""

    def __init__(self, process: Process, base_url: str, api_key: str) -> None:
        self._process = process
        self.base_url = base_url
        self.api_key = api_key
        self._log = asyncio.create_task(_log_output(process), name="embedded model's log")

    @classmethod
    async def start(cls, options: Options, *, timeout: float) -> Self:
        """Return when it answers; raise UpstreamFailed if it does not within `timeout` seconds. No child is left then."""
        key = secrets.token_urlsafe(32)
        # -P: this folder's modules must not shadow the library's. A session of its own: Ctrl-C is for the parent alone.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(_CHILD), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        child = cls(process, "", key)
        try:
            async with asyncio.timeout(timeout):
                child.base_url = await _address(process, asdict(options) | {"key": key}) + "/v1"
        except TimeoutError:
            raise UpstreamFailed(f"The embedded model did not start within {timeout:g} seconds.") from None
        finally:
            if not child.base_url:
                await child.stop()
        return child

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False from the moment its end is known."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end and return the exit status; negative for a signal."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it at once: it holds nothing that is worth a farewell."""
        if self.running:
            try:
                self._process.kill()
            except ProcessLookupError:
                pass
        await self._process.wait()
        await self._log


async def _address(process: Process, options: dict[str, object]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(options).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        raise UpstreamFailed(_why(await process.wait()))
    return line.decode().strip()


def _why(status: int) -> str:
    if status == -getattr(signal, "SIGILL", 0):
        return "The embedded model cannot run on this processor: it lacks AVX2."
    return f"The embedded model did not start (exit status {status}); the log has its words at level debug."


async def _log_output(process: Process) -> None:
    assert process.stderr is not None
    while output := await process.stderr.read(65536):  # by size: a line may be longer than asyncio's limit for one
        _LOG.debug("llama.cpp: %s", output.decode(errors="replace").rstrip())
