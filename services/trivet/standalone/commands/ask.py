"""`trivet ask`: run an agent in the terminal."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from trivet.standalone.asked_gateway import open_asked_gateway
from trivet.standalone.rest_client import GatewayError, RestClient, agent_request
from trivet.standalone.run_view import RunView


async def run(arguments: Namespace) -> int:
    """Show the run as it happens."""
    async with open_asked_gateway(arguments) as client:
        model = arguments.model or await _first_model(client)
        await show_run(client, arguments.question, model, arguments.mcp)
    return 0


async def show_run(client: RestClient, question: str, model: str, mcp_servers: Sequence[str]) -> None:
    """Run an agent on the gateway and write what happens to standard output. Raises GatewayError."""
    view = RunView(sys.stdout, colour=sys.stdout.isatty())
    try:
        async for chunk in client.run(agent_request(question, model, mcp_servers)):
            view.show(chunk)
    finally:
        view.end()


async def _first_model(client: RestClient) -> str:
    models = await client.models()
    if not models:
        raise GatewayError("there is no model: name a provider in the configuration")
    return models[0]
