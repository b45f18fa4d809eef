"""The gateway that a command asks: a running one, or one that lives as long as the command."""

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from trivet.standalone.chosen_config import configuration
from trivet.standalone.config import Config, with_generated_key, with_server
from trivet.standalone.gateway import open_gateway
from trivet.standalone.rest_client import RestClient, open_rest_client


@asynccontextmanager
async def open_asked_gateway(arguments: Namespace) -> AsyncIterator[RestClient]:
    """The gateway at `--url`, or everything of the configuration in this process."""
    async with AsyncExitStack() as stack:
        url, key = arguments.url, arguments.key
        if not url:
            config, key = with_generated_key(configuration(arguments))
            gateway = await stack.enter_async_context(open_gateway(_for_one_command(config)))
            url = f"http://{gateway.http}"
        yield await stack.enter_async_context(open_rest_client(url, key))


def _for_one_command(config: Config) -> Config:
    """The configuration on free loopback ports, leaving what waits in the store to processes that stay.

    Whoever asks is the operator, so URLs may lead anywhere.
    """
    security = config.security.model_copy(update={"allow_private_networks": True})
    background = config.background.model_copy(update={"max_running": 0})
    here = with_server(config, http="127.0.0.1:0", grpc="127.0.0.1:0", workers=1)
    return here.model_copy(update={"security": security, "background": background})
