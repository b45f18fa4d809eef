"""What a start does, and what it leaves until it is needed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.standalone.running import program

_HEAVY = ("mcp", "httpx2", "alembic", "asyncpg", "sqlalchemy.orm", "jsonschema", "genai_prices", "botocore", "cryptography")


def loaded_by(script: str, folder: Path) -> set[str]:
    """Which of the heavy packages a process has loaded that ran these lines; `gateway` opens one for a block."""
    prelude = (
        "import asyncio, sys\n"
        "from contextlib import asynccontextmanager\n"
        "from trivet.standalone.config import Config\n"
        "from trivet.standalone.gateway import open_gateway\n"
        "def gateway(**sections):\n"
        "    server = {'http': '127.0.0.1:0', 'grpc': '127.0.0.1:0'}\n"
        "    keys = {'keys': [{'name': 'k', 'key': 'sk-k'}]}\n"
        "    store = {'url': f'sqlite:///{FOLDER}/trivet.db'}\n"
        "    return open_gateway(Config.model_validate({'server': server, 'auth': keys, 'store': store, **sections}))\n"
    ).replace("{FOLDER}", str(folder))
    lines = f"{prelude}async def main():\n{script}\nasyncio.run(main())\nprint(*({set(_HEAVY)} & set(sys.modules)))\n"
    return set(subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split())


def test_a_gateway_is_ready_without_what_only_some_calls_need(tmp_path: Path) -> None:
    provider = "{'name': 'p', 'type': 'openai-chat', 'base_url': 'http://127.0.0.1:9/v1'}"

    assert loaded_by(f"    async with gateway(providers=[{provider}]): pass", tmp_path) == set()


def test_where_mcp_servers_are_registered_their_sdk_is_loaded_before_the_first_call(tmp_path: Path) -> None:
    server = "{'name': 's', 'url': 'http://127.0.0.1:9/mcp'}"

    assert "mcp" in loaded_by(f"    async with gateway(mcp_servers=[{server}]): pass", tmp_path)


def test_grpc_has_nothing_to_say_about_how_it_is_set_up(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    asked = subprocess.run(
        program(["trivet", "health", "grpc", f"unix:{tmp_path}/nobody"]), env=clean, capture_output=True, text=True, check=False
    )

    assert (asked.stdout, asked.stderr) == ("not ready\n", "")
