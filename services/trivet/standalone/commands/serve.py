"""`trivet serve`: run the gateway, or one part of it."""

import sys
from argparse import Namespace
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version

from trivet.kernel.server import run_until_signal
from trivet.standalone.collection import building
from trivet.standalone.gateway import Gateway, open_gateway
from trivet.standalone.reloading import Reloading
from trivet.standalone.served_config import ServedConfig


async def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    source = ServedConfig(arguments)
    async with AsyncExitStack() as stack:
        with building():
            reloading = Reloading(source, arguments.part)
            config = reloading.config
            gateway = await stack.enter_async_context(open_gateway(config, arguments.part, reloading.told))
        await stack.enter_async_context(reloading.following(gateway.apply))
        await run_until_signal(gateway.stop, config.server.grace_seconds, partial(announce, gateway, source.generated))
    return 0


def announce(gateway: Gateway, key: str) -> None:
    """Print where the gateway listens, and the key if it was made for this run."""
    print(f"Trivet {version('trivet')} is serving")
    if gateway.http:
        print(f"  REST  http://{gateway.http}/v1 and /api/llm, described at http://{gateway.http}/docs")
    if gateway.grpc:
        print(f"  gRPC  {gateway.grpc}")
    if key:
        print(f"  key   {key}  (made for this run, shown this once)")
    sys.stdout.flush()
