"""The lines of the access log, one for each request, at a cost that every request can bear.

They go to the logger `trivet.access`, whose level and handlers say what becomes of them. To make a record of `logging` for each and
to write it by itself costs ten times as much as all else about a line, so a `LineHandler` is given the line alone, and writes
many at once. Any other handler gets a record.

A call that was made in this process, on behalf of a request or a call that has a line itself, is worth one of its own only where it
fails: see `trivet.kernel.interceptors.access_log`.
"""

import json.encoder
import logging
import time
from abc import abstractmethod
from typing import Final

LOGGER: Final = "trivet.access"

_log = logging.getLogger(LOGGER)

quoted: Final = json.encoder.encode_basestring_ascii
"""A text that others wrote, as a JSON string: it cannot begin a line of its own."""


class LineHandler(logging.Handler):
    """A handler that takes lines without records."""

    @abstractmethod
    def take(self, level: int, created: float, template: str, parts: tuple[object, ...]) -> None:
        """Write a line, soon, which is still to be put together: by `%`, of a template and what stands in it."""


enabled: Final = _log.isEnabledFor
"""Whether lines of a level are wanted."""


def write(level: int, template: str, *parts: object) -> None:
    """Write a line, if its level is wanted; `%` puts it together, maybe later."""
    if not _log.isEnabledFor(level):
        return
    takers: list[LineHandler] = []
    logger: logging.Logger | None = _log
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, LineHandler) or handler.filters or _log.filters:
                # Whatever wants to see a record gets one, and then all do.
                _log.handle(_log.makeRecord(LOGGER, level, "", 0, template, parts, None))
                return
            takers.append(handler)
        logger = logger.parent if logger.propagate else None
    now = time.time()
    for taker in takers:
        if level >= taker.level:
            taker.take(level, now, template, parts)
