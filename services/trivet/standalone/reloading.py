"""Reads the configuration again while the process serves, and puts it in force, or keeps the one before."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from trivet.standalone.config import Config, ConfigError
from trivet.standalone.config_changes import differences, restart_needed
from trivet.standalone.config_watch import ConfigWatch
from trivet.standalone.failures import CommandFailed
from trivet.standalone.parts import Part
from trivet.standalone.served_config import ServedConfig

Apply = Callable[[Config], Awaitable[None]]

_log = logging.getLogger("trivet.config")


class Reloading:
    """Follows the file of a configuration: at SIGHUP, and when it changes if that is wanted. Without a file nothing happens."""

    def __init__(self, source: ServedConfig, part: Part) -> None:
        self._source = source
        self._part = part
        # Before it is read for the first time: a change right after that must not be missed.
        self._watch = ConfigWatch(source.file) if source.file else None
        self._asked = asyncio.Event()
        self._started = self._now = source.load()
        self._loaded_at = _time()
        self._refused: dict[str, object] | None = None
        self._restart_needed: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._now

    def told(self) -> dict[str, object]:
        """What anybody may know: when the configuration in force was read, and whether a newer one was refused. No content."""
        return {"loaded_at": self._loaded_at, "refused": self._refused, "restart_needed": list(self._restart_needed)}

    @asynccontextmanager
    async def following(self, apply: Apply) -> AsyncIterator[None]:
        """For the block, read the file again when there is reason to, and have `apply` put in force what it says."""
        if self._watch is None:
            # SIGHUP goes on to end the process, as when its terminal is closed.
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        tasks = [asyncio.create_task(self._follow(apply))]
        if self._started.server.reload == "watch":
            tasks.append(asyncio.create_task(self._ask_at_changes(self._watch)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            loop.remove_signal_handler(signal.SIGHUP)

    async def _ask_at_changes(self, watch: ConfigWatch) -> None:
        async with aclosing(watch.changes()) as changes:
            async for _ in changes:
                self._asked.set()

    async def _follow(self, apply: Apply) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                # In a thread: a long file takes a while, and streams go on meanwhile.
                config = await asyncio.to_thread(self._source.load)
                await apply(config)
            except ConfigError as error:
                self._refuse(str(error), len(error.problems))
            except CommandFailed as error:
                self._refuse(str(error))
            except Exception:  # noqa: BLE001 - a supervised task: whatever a provider can't be opened for, the old ones serve on
                _log.exception("the configuration could not be put in force")
                self._refuse("it could not be put in force")
            else:
                self._accept(config)

    def _refuse(self, why: str, problems: int = 1) -> None:
        self._refused = {"at": _time(), "problems": problems}
        _log.error(
            "configuration refused, the one from %s stays in force; try `trivet check-config --config %s`",
            self._loaded_at,
            self._source.file,
        )
        for line in why.splitlines():
            _log.error("configuration refused: %s", line)

    def _accept(self, config: Config) -> None:
        changed = ", ".join(map(str, differences(self._now, config))) or "nothing has changed"
        self._now, self._loaded_at, self._refused = config, _time(), None
        self._restart_needed = restart_needed(self._started, config, self._part)
        _log.info("configuration reloaded: %s", changed)
        if self._restart_needed:
            _log.warning("configuration: a restart is needed for %s", ", ".join(self._restart_needed))


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
