"""`trivet serve`: run the gateway, or one part of it."""

import sys
from argparse import Namespace
from functools import partial
from importlib.metadata import version

from trivet.kernel.server import run_until_signal
from trivet.standalone.chosen_config import configuration
from trivet.standalone.config import UsageError, with_addresses, with_generated_key
from trivet.standalone.gateway import Gateway, open_gateway


async def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    config = with_addresses(configuration(arguments), http=arguments.http, grpc=arguments.grpc)
    key = ""
    if not config.auth.keys:
        if arguments.part != "all":
            raise UsageError("`auth.keys` is empty: parts that run apart need a key that all of them know")
        config, key = with_generated_key(config)
    async with open_gateway(config, arguments.part) as gateway:
        await run_until_signal(gateway.stop, config.server.grace_seconds, partial(announce, gateway, key))
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
