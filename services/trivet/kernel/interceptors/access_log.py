"""Writes one line for each RPC: what was called, by whom, how it ended and how long it took; never keys or bodies."""

import logging
import time

import grpc

from trivet.kernel import access_lines
from trivet.kernel.access_lines import enabled, quoted
from trivet.kernel.call import Call

_OK = grpc.StatusCode.OK


def log(call: Call, started: float) -> None:
    """Log the end of a call that began at `started`; for debugging alone, where the line says nothing new.

    That is what comes every few seconds, and what went well inside a request.
    """
    code = call.code or call.context.code() or _OK
    level = logging.DEBUG if call.infrastructure or (call.in_process and code is _OK) else logging.INFO
    if enabled(level):
        access_lines.write(
            level,
            "method=%s code=%s ms=%.1f request_id=%s principal=%s peer=%s",
            quoted(call.method),
            code.name,
            (time.perf_counter() - started) * 1000,
            call.request_id,
            quoted(call.principal or "-"),
            call.peer,
        )
