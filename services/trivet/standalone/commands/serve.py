"""`trivet serve`: run the gateway, or one part of it, in one process or in several that share the work."""

import asyncio
import signal
import sys
from argparse import Namespace
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version

from trivet.kernel.settings import ServerSettings
from trivet.standalone import worker
from trivet.standalone.collection import building
from trivet.standalone.config import Config
from trivet.standalone.parts import SERVICES
from trivet.standalone.reloading import Reloading
from trivet.standalone.served_config import ServedConfig


async def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    source = ServedConfig(arguments, worker.told() if arguments.worker else "")
    reloading = Reloading(source, arguments.part)
    if reloading.config.server.workers > 1 and not arguments.worker:
        return await _supervise(arguments, source, reloading.config)
    await _serve(arguments, source, reloading)
    return 0


async def _serve(arguments: Namespace, source: ServedConfig, reloading: Reloading) -> None:
    """Do the work, in this process."""
    async with AsyncExitStack() as stack:
        with building():
            from trivet.kernel.server import run_until_signal
            from trivet.standalone.gateway import open_gateway

            gateway = await stack.enter_async_context(open_gateway(reloading.config, arguments.part, reloading.told))
        await stack.enter_async_context(reloading.following(gateway.apply))
        if arguments.worker:
            worker.end_with_the_supervisor()
            serving = worker.tell_ready
        else:
            serving = partial(announce, gateway.http, gateway.grpc, source.generated)
        await run_until_signal(gateway.stop, reloading.config.server.grace_seconds, serving)


async def _supervise(arguments: Namespace, source: ServedConfig, config: Config) -> int:
    """Have others do the work."""
    from trivet.standalone.shared_ports import reserved
    from trivet.standalone.supervisor import Supervisor

    http, grpc = arguments.part in ("all", "bridge"), bool(SERVICES[arguments.part])
    with reserved(config, http=http, grpc=grpc) as server:
        supervisor = Supervisor(
            _worker_command(arguments, source, server), source.generated, server.workers, server.grace_seconds
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        if source.file is not None:
            loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
        return await supervisor.run(
            partial(announce, server.http if http else "", server.grpc if grpc else "", source.generated, server.workers)
        )


def _worker_command(arguments: Namespace, source: ServedConfig, server: ServerSettings) -> list[str]:
    options = {
        "--config": source.file,
        "--http": server.http,
        "--grpc": server.grpc,
        "--workers": server.workers,
        "--log-level": arguments.log_level,
        "--log-format": arguments.log_format,
    }
    given = [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    # -P: what lies in the folder that we were started in must not be taken for a library.
    return [sys.executable, "-P", "-m", "trivet.standalone", "serve", arguments.part, "--worker", *given]


def announce(http: str, grpc: str, key: str, workers: int = 1) -> None:
    """Print where is listened, and the key if it was made for this run."""
    print(f"Trivet {version('trivet')} is serving" + (f" in {workers} processes" if workers > 1 else ""))
    if http:
        print(f"  REST  http://{http}/v1 and /api/llm, described at http://{http}/docs")
    if grpc:
        print(f"  gRPC  {grpc}")
    if key:
        print(f"  key   {key}  (made for this run, shown this once)")
    sys.stdout.flush()
