"""llama.cpp's own HTTP server as an upstream that we did not write: `/v1/chat/completions`, `/v1/responses` and more."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from trivet.model_service.adapters.local import process
from trivet.model_service.adapters.local.process import Options

LOCAL = Path(process.__file__).parent
TEMPLATE = (LOCAL / "chatml.jinja").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Llama:
    """A running server. `base_url` ends in `/v1`."""

    base_url: str
    api_key: str
    pid: int


@contextmanager
def start_llama(
    model: Path, template: str = TEMPLATE, *, alias: str = "tiny", slots: int = 4, pooling: str = ""
) -> Iterator[Llama]:
    """Run it as the embedded model is run, and end it on leaving. With a `pooling` (`MEAN`, `RANK`) it makes vectors, and no texts."""
    key = secrets.token_urlsafe(16)
    options = Options(model=str(model), template=template, alias=alias, context=8192, slots=slots, threads=1, idle_seconds=-1)
    script = [str(Path(__file__).with_name("llama_pooled.py")), str(LOCAL), pooling] if pooling else [str(LOCAL / "child.py")]
    child = subprocess.Popen(
        [sys.executable, "-P", *script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        try:
            child.stdin.write(json.dumps(asdict(options) | {"key": key}).encode() + b"\n")
            child.stdin.flush()
            address = child.stdout.readline().decode().strip()
            assert address, "llama.cpp did not start"
            yield Llama(address + "/v1", key, child.pid)
        finally:
            child.kill()
