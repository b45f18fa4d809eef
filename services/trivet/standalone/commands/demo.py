"""`trivet demo`: what a newcomer sees first, a model that runs here and calls a tool of a real MCP server."""

import shlex
import socket
import sys
from argparse import Namespace
from functools import partial

import orjson

from trivet.kernel.server import run_until_signal
from trivet.kernel.settings import split_host_port
from trivet.standalone.commands.ask import show_run
from trivet.standalone.commands.serve import announce
from trivet.standalone.config import Config, default_config, with_generated_key, with_server
from trivet.standalone.gateway import Gateway, open_gateway
from trivet.standalone.rest_client import agent_request, open_rest_client

QUESTION = "What time is it in Tokyo?"
MODEL = "local/smollm2"
MCP_SERVERS = ("clock",)


async def run(arguments: Namespace) -> int:
    """Show the run, then keep serving until SIGTERM or SIGINT."""
    config, key = with_generated_key(_on_free_addresses(default_config()))
    _say("==> starting ModelService, ToolService, AgentService and the bridge in one process")
    async with open_gateway(config) as gateway:
        _say("==> asking SmolLM2-135M, a tiny demonstration model that runs on this machine without any key;")
        _say("    its tools come from an MCP server, mcp-server-time. The first answer waits for the model to load.\n")
        _say(f"$ trivet ask {shlex.quote(QUESTION)} --model {MODEL} --mcp {' '.join(MCP_SERVERS)}")
        async with open_rest_client(f"http://{gateway.http}", key) as client:
            await show_run(client, QUESTION, MODEL, MCP_SERVERS)
        _say("")
        await run_until_signal(gateway.stop, config.server.grace_seconds, partial(_announce, gateway, key))
    return 0


def _announce(gateway: Gateway, key: str) -> None:
    announce(gateway.http, gateway.grpc, key)
    _say(f"\nThe same run over REST:\n\n{curl(gateway.http, key)}\n\nCtrl-C ends it.")


def curl(http: str, key: str) -> str:
    """The command that asks the gateway at `http` the question of the demonstration."""
    request = agent_request(QUESTION, MODEL, MCP_SERVERS)
    del request["stream"], request["stream_options"]
    return " \\\n  ".join(
        (
            f"curl --no-buffer http://{http}/v1/agent/responses",
            f"-H 'Authorization: Bearer {key}'",
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(orjson.dumps(request).decode())}",
        )
    )


def _on_free_addresses(config: Config) -> Config:
    """The usual addresses, or any free port in the place of one that is taken: nothing must stand in a newcomer's way."""
    return with_server(config, http=_free(config.server.http), grpc=_free(config.server.grpc))


def _free(address: str) -> str:
    host, port = split_host_port(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return f"{host}:0"
    return address


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
