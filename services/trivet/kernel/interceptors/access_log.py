"""Writes one line for each RPC: what was called, by whom, how it ended and how long it took; never keys or bodies."""

import time

import grpc

from trivet.kernel import access_lines
from trivet.kernel.access_lines import enabled, quoted
from trivet.kernel.call import Call

_OK = grpc.StatusCode.OK


def log(call: Call, started: float) -> None:
    """Log the end of a call that began at `started`."""
    code = call.code or call.context.code() or _OK
    level = access_lines.level_of_call(infrastructure=call.infrastructure, in_process=call.in_process, failed=code is not _OK)
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
