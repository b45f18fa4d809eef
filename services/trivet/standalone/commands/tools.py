"""`trivet tools`: list the registered MCP servers and their tools."""

from argparse import Namespace

from trivet.standalone.asked_gateway import open_asked_gateway
from trivet.standalone.rest_client import GatewayError


async def run(arguments: Namespace) -> int:
    """Print each MCP server with its tools; 1 where one of them did not answer."""
    failed = 0
    async with open_asked_gateway(arguments) as client:
        for server in await client.servers():
            print(f"{server['name']} ({server['transport']})")
            try:
                for tool in await client.tools(server["name"]):
                    summary = (tool.get("description") or "").strip().partition("\n")[0]
                    print(f"  {tool['name']:<28} {summary}".rstrip())
            except GatewayError as error:
                failed = 1
                print(f"  {error}")
    return failed
