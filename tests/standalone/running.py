"""Runs a program of the environment, and reads what it prints."""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_SECONDS = 120.0


def program(command: Sequence[str]) -> list[str]:
    """The command with the program that stands beside the Python that runs the tests, whatever is on PATH."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


class Running:
    """A process; in a `with` block it ends with the block. Nothing waits longer than two minutes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            program(command), env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def read_until(self, mark: str) -> list[str]:
        """What the process prints, up to the line with `mark` in it."""
        assert self._process.stdout is not None
        lines: list[str] = []
        # A process that hangs is ended, which ends the reading, too.
        watchdog = threading.Timer(_SECONDS, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                lines.append(line.rstrip("\n"))
                if mark in line:
                    return lines
        finally:
            watchdog.cancel()
        raise AssertionError(f"ended with {self._process.wait()} without {mark!r}:\n" + "\n".join(lines))

    def stop(self) -> int:
        """Ask the process to end, as `docker stop` and systemd do; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        return self._process.returncode

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
