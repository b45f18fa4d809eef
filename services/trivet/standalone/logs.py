"""Where log records go, and in which form."""

import asyncio
import logging
import time
from abc import abstractmethod
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, TextIO

import orjson

from trivet.kernel.access_lines import LOGGER, LineHandler

LogForm = Literal["text", "json"]

_Line = tuple[int, float, str, tuple[object, ...]]
"""The level of a line, when it was said, its template, and what stands in it."""

# Whatever a record has beyond these came with `extra=`.
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """A formatter of records that can do the same to a line, without a record."""

    @abstractmethod
    def format_line(self, line: _Line) -> str:
        """The line in the form of a record that has its level, its time and its message."""


class JsonFormatter(LineFormatter):
    """One JSON object for each record: `time`, `level`, `logger`, `message`, `stack`, and what the record carries besides."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["stack"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()

    def format_line(self, line: _Line) -> str:
        level, created, template, parts = line
        entry = {
            "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": _level_name(level).lower(),
            "logger": LOGGER,
            "message": template % parts,
        }
        return orjson.dumps(entry).decode()


class TextFormatter(LineFormatter):
    """One line for a person: time, level, message, and what the record carries besides as `key=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        return super().formatMessage(record) + extras

    def format_line(self, line: _Line) -> str:
        level, created, template, parts = line
        return f"{_clock(int(created))} {_level_name(level):<7} {template % parts}"


_level_name = lru_cache(maxsize=8)(logging.getLevelName)


@lru_cache(maxsize=8)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES}


class BufferingHandler(LineHandler, logging.StreamHandler[TextIO]):
    """Writes records at once, and lines many together: soon, or before the next record, or when the process ends."""

    _SECONDS: Final = 0.1
    _MOST: Final = 200

    def __init__(self, formatter: LineFormatter, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._format_line = formatter.format_line
        self._lines: list[_Line] = []
        self._since = 0.0

    def take(self, level: int, created: float, template: str, parts: tuple[object, ...]) -> None:
        """Write a line within a moment, where an event loop runs; else at once."""
        lines = self._lines
        lines.append((level, created, template, parts))
        if len(lines) == 1:
            self._since = created
            self._flush_soon()
        elif len(lines) >= self._MOST or created - self._since > 2 * self._SECONDS:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that came before it."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits; `logging` has it done at exit, too."""
        self.acquire()
        try:
            # In two steps that no other thread can come between to any harm: `take` goes on without the lock.
            lines = self._lines[:]
            del self._lines[: len(lines)]
            if lines:
                self.stream.write("".join([f"{text}\n" for text in map(self._format_line, lines)]))
            super().flush()
        except (OSError, ValueError):
            pass  # Nobody is left to be told that standard error is gone.
        finally:
            self.release()

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(self._SECONDS, self.flush)


def configure_logs(level: str, form: LogForm) -> None:
    """Send all records of `level` and above to standard error, and leave standard output to the answers of commands."""
    handler = BufferingHandler(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The bridge writes its own access log, Alembic names its own parts, the others tell of session ids, URLs and files in every line.
    for chatty in ("aiohttp.access", "alembic", "mcp", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
