"""One question at a time, without any client library."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from bench.targets.target import Request

_PATIENCE_SECONDS = 60.0
_START_SECONDS = 180.0
"""Some gateways take half a minute to start, on a machine that has nothing else to do."""


def get(port: int, path: str) -> Any:
    """The JSON behind a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    connection.request("GET", path)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return told


def post(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body of a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    connection.request("POST", request.path, request.body, dict(request.headers))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def until_answered(port: Callable[[], int], request: Request, seconds: float = _START_SECONDS) -> float:
    """Ask until the answer is 200, whatever there is before it: how long that took. Raises TimeoutError."""
    started = time.monotonic()
    last: object = None
    while time.monotonic() - started < seconds:
        try:
            status, body = post(port(), request)
        except OSError as error:
            last = error
        else:
            if status == 200:
                return time.monotonic() - started
            last = (status, body[:500])
        time.sleep(0.01)
    raise TimeoutError(f"no answer with status 200 within {seconds:.0f} s: {last}")
