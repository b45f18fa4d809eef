"""The embedded demonstration model: started on first use, watched, and stopped with its owner."""

import asyncio
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.local import weights
from trivet.model_service.adapters.local.process import LlamaProcess, Options

MODELS: dict[str, str] = {"smollm2": "SmolLM2-135M-Instruct, keyless demonstration model"}
"""What a provider of type `local` offers, with what to say of it; known without starting it."""

_TEMPLATE = Path(__file__).with_name("chatml.jinja")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How the model runs; the defaults suit a laptop: 0.4 GB of memory while it is loaded."""

    threads: int = 1
    """More are slower where the processor is shared: they wait for each other."""

    slots: int = 4
    """Requests that run at once; more of them wait."""

    context: int = 8192
    """Tokens, of all requests that run at once; also the model's own limit for one."""

    idle_seconds: int = 600
    """After so long without a request, the weights leave memory until the next one; -1: never."""

    start_seconds: float = 120.0
    """How long loading may take."""

    file: Path | None = None
    """Another file than the installed one."""

    sha256: str = weights.SHA256
    """What the file must be."""


class LocalModel:
    """One child process with the model, for all its callers. Use within one event loop."""

    def __init__(self, options: LocalOptions | None = None) -> None:
        self._options = options or LocalOptions()
        self._starting: asyncio.Task[LlamaProcess] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    async def endpoint(self) -> tuple[str, str]:
        """Return the base URL, ending in `/v1`, and the API key of the running server; start it if none runs.

        Any number of callers share one start; one that leaves does not end it for the others. Raises UpstreamFailed
        with what to do if the model is not installed, is not the expected one, or does not start; the next call
        tries again.
        """
        child = await self._child()
        return child.base_url, child.api_key

    async def aclose(self) -> None:
        """Stop the child. Safe to call twice; `endpoint` fails afterwards."""
        self._closed = True
        starting, self._starting = self._starting, None
        if starting is None:
            return
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            await starting.result().stop()
        if self._watch is not None:
            await self._watch

    async def _child(self) -> LlamaProcess:
        if self._closed:
            raise UpstreamFailed("The embedded model is stopped.")
        if self._starting is None or _is_over(self._starting):
            self._starting = asyncio.create_task(self._start(), name="start of the embedded model")
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if not starting.cancelled():
                raise  # it is the caller that left; the start goes on for the others
            raise UpstreamFailed("The embedded model is stopped.") from None

    async def _start(self) -> LlamaProcess:
        options = self._options
        if importlib.util.find_spec("xllamacpp") is None:
            raise UpstreamFailed("The embedded model's runtime is not installed. Install it with: pip install xllamacpp")
        path = options.file or weights.locate()
        await asyncio.to_thread(weights.verify, path, options.sha256)
        child = await LlamaProcess.start(
            Options(
                model=str(path),
                template=_TEMPLATE.read_text(encoding="utf-8"),
                alias=next(iter(MODELS)),
                context=options.context,
                slots=options.slots,
                threads=options.threads,
                idle_seconds=options.idle_seconds,
            ),
            timeout=options.start_seconds,
        )
        _LOG.info("The embedded demonstration model runs (process %d).", child.pid)
        self._watch = asyncio.create_task(self._report_end(child), name="watch over the embedded model")
        return child

    async def _report_end(self, child: LlamaProcess) -> None:
        status = await child.wait()
        if not self._closed:
            _LOG.warning("The embedded model ended (exit status %d); the next request starts it again.", status)
            await child.stop()


def _is_over(starting: asyncio.Task[LlamaProcess]) -> bool:
    if not starting.done():
        return False
    return starting.cancelled() or starting.exception() is not None or not starting.result().running
