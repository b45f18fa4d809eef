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
        self._lines: list[str] = []
        self._read = 0
        self._ended = False
        self._told_to_end = False
        self._changed = threading.Condition()
        # Apart from who asks: a process that is not read from stands still once the pipe is full.
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def read_until(self, mark: str) -> list[str]:
        """What the process prints, up to the line with `mark` in it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._position(mark) is not None, _SECONDS)
            begin, position = self._read, self._position(mark)
            if position is not None:
                self._read = position + 1
                return self._lines[begin : position + 1]
            told = "\n".join(self._lines[begin:])
        raise AssertionError(f"{'ended' if self._ended else 'goes on'} without {mark!r}:\n{told}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ending(self) -> bool:
        """Whether the process has ended, or was told to."""
        return self._told_to_end or self._process.poll() is not None

    def stop(self) -> int:
        """Ask the process to end, as `docker stop` and systemd do; its exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """Ask the process to end, and don't wait for it."""
        self._told_to_end = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Send the signal that has the configuration read again."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> int:
        """End the process at once; its exit code."""
        self._process.kill()
        return self.wait()

    def suspend(self) -> None:
        """Let the process stand still, until `resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """The exit code of the process, once it has ended."""
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        return self._process.returncode

    def _position(self, mark: str) -> int | None:
        return next((n for n, line in enumerate(self._lines[self._read :], self._read) if mark in line), None)

    def _collect(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
