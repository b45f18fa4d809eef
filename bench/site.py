"""Everything that runs during a benchmark: the upstream, the MCP server, and the targets between."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import cpu_seconds, memory_bytes, with_children
from bench.load import ask
from bench.processes import Ended, Program, free_port, last_words, running, wait_for_port
from bench.targets.target import Request, Site, Target
from bench.upstream.scripts import PLAIN


@dataclass(frozen=True)
class Neighbours:
    """The ports of the upstream and the MCP server, and a folder for all that targets write."""

    upstream: int
    mcp: int
    folder: Path
    peers: Path

    def site(self, name: str) -> Site:
        """A new place for a target."""
        return Site(
            upstream=f"http://127.0.0.1:{self.upstream}",
            mcp=f"http://127.0.0.1:{self.mcp}/mcp",
            port=free_port(),
            folder=Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)),
            peers=self.peers,
        )


@contextlib.contextmanager
def neighbours(peers: Path = Path()) -> Iterator[Neighbours]:
    """They run while this is entered."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trivet-bench-")))
        upstream = stack.enter_context(_serving("bench.upstream", folder))
        mcp = stack.enter_context(_serving("bench.mcp_server", folder))
        yield Neighbours(upstream, mcp, folder, peers)


@contextlib.contextmanager
def _serving(module: str, folder: Path) -> Iterator[int]:
    port, log = free_port(), folder / f"{module}.log"
    with running(Program([sys.executable, "-m", module, str(port)]), log) as process:
        wait_for_port(port, process, log)
        yield port


class Running:
    """A target that runs."""

    def __init__(self, target: Target, site: Site, processes: "list[subprocess.Popen[bytes]]") -> None:
        self.target = target
        self.site = site
        self.roots = [process.pid for process in processes]
        # From the start of the processes to the first answer.
        self.start_seconds = 0.0
        self.start_cpu_seconds = 0.0

    @property
    def port(self) -> int:
        """Where it answers."""
        return self.target.port(self.site)

    def cpu_seconds(self) -> float:
        """What all of its processes took so far."""
        return cpu_seconds(with_children(self.roots))

    def memory_bytes(self) -> int:
        """What all of its processes have now."""
        return memory_bytes(with_children(self.roots))


@contextlib.contextmanager
def started(target: Target, site: Site, **environment: str) -> Iterator[Running]:
    """The target, from the start of its processes on; it may not answer yet."""
    with contextlib.ExitStack() as stack:
        processes = []
        for number, program in enumerate(target.programs(site)):
            program = Program(program.command, {**program.environment, **environment}, program.folder)
            processes.append(stack.enter_context(running(program, site.folder / f"{number}.log")))
        yield Running(target, site, processes)


@contextlib.contextmanager
def answering(target: Target, site: Site, request: Request | None = None) -> Iterator[Running]:
    """The target, once it has answered a question. Raises Ended with what it said if it does not."""
    with started(target, site) as one:
        try:
            one.start_seconds = ask.until_answered(lambda: one.port, request or target.request(target.faces[0], PLAIN))
            one.start_cpu_seconds = one.cpu_seconds()
        except TimeoutError as error:
            said = "\n".join(last_words(log) for log in sorted(site.folder.glob("*.log")))
            raise Ended(f"{target.name}: {error}\n{said}") from error
        yield one
