"""Several processes that serve the same: started, watched, started again when one ends, and ended together."""

import asyncio
import logging
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from trivet.standalone.worker import READY

_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
"""How long is waited before a worker is started again: each time twice as long, until one has served longer than the longest."""

_MOST_FAILURES = 5
"""After so many starts in a row that failed, while no worker serves, there is no hope."""

_MARGIN_SECONDS = 20.0
"""What a worker may take after the grace to tell its callers, and to write what it has; then it is killed."""

_log = logging.getLogger("trivet.workers")


class Supervisor:
    """Keeps `count` processes of `command` running; `word` is what each is told, see `worker`. They may take `grace` seconds to end."""

    def __init__(self, command: Sequence[str], word: str, count: int, grace: float) -> None:
        self._command = command
        self._word = f"{word}\n".encode()
        self._count = count
        self._grace = grace
        self._processes: dict[int, Process] = {}
        self._serving: set[int] = set()
        self._stopping = asyncio.Event()
        self._ever_served = False
        self._failures = 0
        self._reloads = 0
        self._exit_code = 0

    async def run(self, ready: Callable[[], None]) -> int:
        """Return when all have ended: 0 if they were told to, else the exit code of one that could not be started.

        `ready` is called once all serve.
        """
        async with asyncio.TaskGroup() as tasks:
            # One ahead of the others, so that what keeps each of them from starting is told once.
            await self._begin([1], tasks)
            await self._begin(range(2, self._count + 1), tasks)
            if not self._stopping.is_set():
                ready()
        return self._exit_code

    def stop(self) -> None:
        """Have the workers end; said again, have them end at once."""
        if not self._stopping.is_set():
            self._stopping.set()
            asyncio.get_running_loop().call_later(self._grace + _MARGIN_SECONDS, self._signal, signal.SIGKILL)
        self._signal(signal.SIGTERM)

    def reload(self) -> None:
        """Have the workers read the configuration again; one that is just starting is told when it can hear it."""
        self._reloads += 1
        for number in self._serving:
            _send(self._processes[number], signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            _send(process, number)

    async def _begin(self, numbers: Iterable[int], tasks: asyncio.TaskGroup) -> None:
        """Keep these workers running; return once each of them serves for the first time, or will not."""
        if self._stopping.is_set():
            return
        settled = {number: asyncio.Event() for number in numbers}
        for number, event in settled.items():
            tasks.create_task(self._keep(number, event))
        for event in settled.values():
            await event.wait()

    async def _keep(self, number: int, settled: asyncio.Event) -> None:
        pause = _PAUSE_SECONDS
        while not self._stopping.is_set():
            reloads = self._reloads
            process = self._processes[number] = await self._start()
            try:
                served = await self._serve(process, partial(self._serves, number, settled, reloads))
            finally:
                self._serving.discard(number)
                del self._processes[number]
            if not self._stopping.is_set():
                self._ended(number, process.returncode or 0, served)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
            pause = _PAUSE_SECONDS if served > _LONGEST_PAUSE_SECONDS else min(2 * pause, _LONGEST_PAUSE_SECONDS)
        settled.set()

    async def _start(self) -> Process:
        # A session of its own: Ctrl-C is for the supervisor alone, which passes on what it means.
        process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        if self._stopping.is_set():
            _send(process, signal.SIGTERM)
        assert process.stdin is not None
        # Left open: that it ends is how the worker learns that we have.
        process.stdin.write(self._word)
        return process

    async def _serve(self, process: Process, serves: Callable[[], None]) -> float:
        """Wait until the process ends; for how many seconds it has served."""
        assert process.stdout is not None
        clock = asyncio.get_running_loop().time
        if await process.stdout.readline() != READY:
            await process.wait()
            return 0.0
        begin = clock()
        serves()
        await process.wait()
        return clock() - begin

    def _serves(self, number: int, settled: asyncio.Event, reloads: int) -> None:
        if settled.is_set():
            _log.warning("a worker serves again", extra={"worker": number})
        self._serving.add(number)
        self._ever_served = True
        self._failures = 0
        settled.set()
        if reloads != self._reloads:
            _send(self._processes[number], signal.SIGHUP)

    def _ended(self, number: int, code: int, served: float) -> None:
        """Judge a worker that has ended without being told to."""
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if served:
            _log.error("a worker has ended and is started again", extra={"worker": number, "ended_by": how})
            return
        self._failures += 1
        _log.error("a worker could not be started", extra={"worker": number, "ended_by": how, "attempts": self._failures})
        if not self._serving and (not self._ever_served or self._failures >= _MOST_FAILURES):
            _log.error("giving up: no worker can be started")
            self._exit_code = max(code, 1)
            self.stop()


def _send(process: Process, number: signal.Signals) -> None:
    # It may have ended in this moment.
    with suppress(ProcessLookupError):
        process.send_signal(number)
