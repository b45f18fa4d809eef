"""The command line of Trivet."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path

import uvloop

from trivet.kernel.settings import MOST_WORKERS, is_unix, split_host_port
from trivet.standalone.collection import building
from trivet.standalone.failures import CommandFailed, Misused
from trivet.standalone.logs import configure_logs
from trivet.standalone.parts import PARTS

INTERRUPTED = 130

_GRPC = {
    # We start programs (MCP servers, the model's process) but never go on in a fork: gRPC need not prepare for that, nor tell about it.
    "GRPC_ENABLE_FORK_SUPPORT": "false",
    # Its event engine hands each read and write to a pool of threads, all of which wake for it. Without, the thread that waits for
    # completions does them: a sixth less CPU for a call between two processes, a third less for a streamed message.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}
"""What gRPC reads of the environment when it is imported, which the commands do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code: 0, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    for name, value in _GRPC.items():
        os.environ.setdefault(name, value)
    arguments = _parser().parse_args(argv)
    configure_logs(arguments.log_level or arguments.default_log_level, arguments.log_format)
    try:
        # Each command imports what it needs: a health check every few seconds must not load the whole gateway.
        with building():
            command = importlib.import_module(f"trivet.standalone.commands.{arguments.command}")
        done = command.run(arguments)
        return _run(done) if asyncio.iscoroutine(done) else int(done)
    except CommandFailed as error:
        print(error if isinstance(error, Misused) else f"trivet: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`trivet models | head -1`); Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandFailed.exit_code


def _run(command: Coroutine[object, object, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trivet",
        description="An LLM and agent gateway: gRPC inside, OpenAI-style JSON and SSE outside.",
        epilog="Without --config, $TRIVET_CONFIG or ./trivet.yaml is read; without any, Trivet serves the local model and a clock.",
    )
    parser.add_argument("--version", action="version", version=f"trivet {version('trivet')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(subparsers)
    _add_check_config(subparsers)
    _add_questions(subparsers)
    _add_demo(subparsers)
    _add_health(subparsers)
    return parser


def _add_serve(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = subparsers.add_parser("serve", help="serve the whole gateway, or one part of it")
    serve.add_argument("part", nargs="?", choices=PARTS, default="all", help="which part (default: all, in one process)")
    serve.add_argument("--http", type=_tcp_address, metavar="HOST:PORT", help="where the bridge listens")
    serve.add_argument("--grpc", type=_grpc_address, metavar="HOST:PORT", help="where the gRPC server listens")
    serve.add_argument(
        "--workers", type=_workers, metavar="N", help="in how many processes (default: 1; auto: one per processor)"
    )
    # One of these: said by the process that starts them, see `supervisor`.
    serve.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    _finish(serve, "serve", log_level="info")


def _add_check_config(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = subparsers.add_parser("check-config", help="tell whether the configuration is good, and what it says")
    _finish(check, "check_config")


def _add_questions(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands that ask a gateway: a running one where --url names it, else one that lives as long as the command."""
    models = subparsers.add_parser("models", help="list the models")
    _finish(models, "models", asks=True)
    tools = subparsers.add_parser("tools", help="list the registered MCP servers and their tools")
    _finish(tools, "tools", asks=True)
    _add_usage(subparsers)
    ask = subparsers.add_parser("ask", help="run an agent in the terminal, its tool calls shown as they happen")
    ask.add_argument("question")
    ask.add_argument("--model", metavar="M", help="as `trivet models` lists them (default: the first one)")
    ask.add_argument(
        "--mcp", metavar="NAME|URL", nargs="+", action="extend", default=[], help="MCP servers whose tools may be called"
    )
    _finish(ask, "ask", asks=True)


def _add_usage(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    usage = subparsers.add_parser("usage", help="show what calls to models took and cost")
    usage.add_argument(
        "--by",
        metavar="WHAT",
        default="model",
        help="day, hour, model, target, provider, operation, caller, status, metadata.KEY; several with commas (default: model)",
    )
    usage.add_argument(
        "--from", dest="since", metavar="TIME", help="calls begun at that time or later, as 2026-11-29 (UTC) or RFC 3339"
    )
    usage.add_argument("--to", dest="until", metavar="TIME", help="calls begun before that time")
    for name, what in (("model", "of that model"), ("provider", "to that provider"), ("caller", "of that key")):
        usage.add_argument(f"--{name}", action="append", default=[], metavar="NAME", help=f"only calls {what}; may be repeated")
    usage.add_argument("--cost-first", action="store_true", help="what cost most comes first")
    usage.add_argument("--json", action="store_true", help="print the answer of GET /usage")
    _finish(usage, "usage", asks=True)


def _add_demo(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = subparsers.add_parser("demo", help="show an agent run with the local model and a clock, then keep serving")
    _finish(demo, "demo")


def _add_health(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    health = subparsers.add_parser("health", help="tell by the exit code whether a running process is ready")
    health.add_argument("face", choices=("grpc", "http"))
    health.add_argument("address", nargs="?", type=_grpc_address, metavar="HOST:PORT", help="default: that of the configuration")
    _finish(health, "health")


def _finish(parser: argparse.ArgumentParser, command: str, *, log_level: str = "warning", asks: bool = False) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration file")
    if asks:
        parser.add_argument("--url", default=os.environ.get("TRIVET_URL"), help="a running gateway (default: $TRIVET_URL)")
        parser.add_argument("--key", default=os.environ.get("TRIVET_KEY", ""), help="its key (default: $TRIVET_KEY)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help=f"default: {log_level}")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=os.environ.get("TRIVET_LOG_FORMAT", "text"),
        help="default: $TRIVET_LOG_FORMAT, or text",
    )
    parser.set_defaults(command=command, default_log_level=log_level)


def _tcp_address(text: str) -> str:
    try:
        split_host_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _grpc_address(text: str) -> str:
    return text if is_unix(text) else _tcp_address(text)


def _workers(text: str) -> int:
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"`{text}` is not `auto`, or a number up to {MOST_WORKERS}")
    return int(text)
