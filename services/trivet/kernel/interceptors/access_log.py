"""Writes one line for each RPC: what was called, by whom, how it ended and how long it took; never keys or bodies."""

import json
import logging
import time

import grpc

from trivet.kernel.call import Call

_log = logging.getLogger("trivet.access")


def log(call: Call, started: float) -> None:
    """Log the end of a call that began at `started`; health checks and reflection at DEBUG, for they come every few seconds."""
    level = logging.DEBUG if call.infrastructure else logging.INFO
    if not _log.isEnabledFor(level):
        return
    code = call.code or call.context.code() or grpc.StatusCode.OK
    milliseconds = (time.perf_counter() - started) * 1000
    # json.dumps quotes what the caller wrote: a method name cannot start a line of its own.
    _log.log(
        level,
        f"method={json.dumps(call.method)} code={code.name} ms={milliseconds:.1f} request_id={call.request_id} "
        f"principal={json.dumps(call.principal or '-')} peer={call.peer}",
    )
