"""Where log records go, and in which form."""

import logging
from datetime import UTC, datetime
from typing import Literal

import orjson

LogForm = Literal["text", "json"]

# Whatever a record has beyond these came with `extra=`.
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
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


class TextFormatter(logging.Formatter):
    """One line for a person: time, level, message, and what the record carries besides as `key=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        return super().formatMessage(record) + extras


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_ATTRIBUTES}


def configure_logs(level: str, form: LogForm) -> None:
    """Send all records of `level` and above to standard error, and leave standard output to the answers of commands."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The bridge writes its own access log, Alembic names its own parts, the others tell of session ids, URLs and files in every line.
    for chatty in ("aiohttp.access", "alembic", "mcp", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
