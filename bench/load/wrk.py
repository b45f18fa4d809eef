"""Load by `wrk`, which costs little enough to leave the machine to the target."""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.targets.target import Request

HOW_TO_GET_IT = "wrk is not installed: `apt-get install wrk`, `brew install wrk`, or https://github.com/wg/wrk"

_SCRIPT = """\
wrk.method = "POST"
wrk.path = {path}
wrk.body = {body}
{headers}
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{{"requests":%d,"failed":%d,"microseconds":%d,"p50":%d,"p99":%d}}',
    summary.requests, failed, summary.duration, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Told:
    """What wrk counted: requests, those of them that failed, the time it all took, and latencies, in microseconds."""

    requests: int
    failed: int
    microseconds: int
    p50: int
    p99: int


class Loading:
    """A wrk that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def stopped(self) -> Told:
        """End it: what it counted."""
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate()
        return Told(**json.loads(said[said.index("{") :]))


def is_installed() -> bool:
    """Whether there is a wrk."""
    return shutil.which("wrk") is not None


@contextlib.contextmanager
def loading(port: int, request: Request, *, connections: int) -> Iterator[Loading]:
    """One request over and over again, over so many connections, until it is stopped; a minute at most."""
    headers = "\n".join(f"wrk.headers[ {_lua(name)} ] = {_lua(value)}" for name, value in request.headers.items())
    script = _SCRIPT.format(path=_lua(request.path), body=_lua(request.body.decode()), headers=headers)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.lua"
        file.write_text(script, encoding="utf-8")
        command = ["wrk", "-t1", f"-c{connections}", "-d60s", "--timeout", "60s", "-s", str(file), f"http://127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield Loading(process)
        finally:
            process.kill()
            process.wait()


def _lua(text: str) -> str:
    """A string in Lua, as it is."""
    return f"[==[{text}]==]"
