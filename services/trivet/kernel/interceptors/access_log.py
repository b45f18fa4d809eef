"""Writes one line for each RPC: what was called, by whom, how it ended and how long it took; never keys or bodies."""

import asyncio
import json
import logging
import time

import grpc

from trivet.kernel.call import Call, Proceed

_log = logging.getLogger("trivet.access")


async def access_log(call: Call, proceed: Proceed) -> None:
    """Log the call when it ends; health checks and reflection at DEBUG, for they come every few seconds."""
    level = logging.DEBUG if call.infrastructure else logging.INFO
    if not _log.isEnabledFor(level):
        await proceed()
        return
    started = time.perf_counter()
    code = grpc.StatusCode.UNKNOWN
    try:
        await proceed()
        code = call.context.code() or grpc.StatusCode.OK
    except asyncio.CancelledError:
        code = grpc.StatusCode.DEADLINE_EXCEEDED if call.time_remaining() == 0 else grpc.StatusCode.CANCELLED
        raise
    except grpc.aio.AbortError:
        code = call.context.code()
        raise
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        _log.log(level, _line(call, code.name, milliseconds))


def _line(call: Call, code: str, milliseconds: float) -> str:
    # json.dumps quotes what the caller wrote: a method name cannot start a line of its own.
    return (
        f"method={json.dumps(call.method)} code={code} ms={milliseconds:.1f} request_id={call.request_id} "
        f"principal={json.dumps(call.principal or '-')} peer={call.peer}"
    )
