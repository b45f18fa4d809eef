"""The child process over the tiny model: one start for all, restarted if it dies, gone when its parent is."""

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.local import process
from trivet.model_service.adapters.local.model import LocalModel, LocalOptions
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint
from trivet.model_service.domain.turn import Message, Text, TurnRequest

BOUND = 30.0


@asynccontextmanager
async def client_of(model: LocalModel) -> AsyncIterator[AsyncOpenAI]:
    base_url, key = await model.endpoint()
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=BOUND) as client:
        yield client


async def is_answered(client: AsyncOpenAI) -> bool:
    answer = await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}], max_tokens=8)
    return len(answer.choices) == 1


async def kill(model: LocalModel) -> None:
    child = await model._child()
    os.kill(child.pid, signal.SIGKILL)
    await asyncio.wait_for(child.wait(), BOUND)


async def test_callers_at_once_share_one_start(tiny_local: LocalModel) -> None:
    endpoints = await asyncio.gather(*(tiny_local.endpoint() for _ in range(8)))
    assert len(set(endpoints)) == 1
    async with client_of(tiny_local) as client:
        assert await is_answered(client)


async def test_a_caller_that_leaves_during_the_start_does_not_end_it_for_others(tiny_local: LocalModel) -> None:
    first = asyncio.create_task(tiny_local.endpoint())
    second = asyncio.create_task(tiny_local.endpoint())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[0].startswith("http://127.0.0.1:")
    assert first.cancelled()


async def test_nobody_without_the_key_is_answered(tiny_local: LocalModel) -> None:
    base_url, _ = await tiny_local.endpoint()
    async with AsyncOpenAI(base_url=base_url, api_key="another", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await is_answered(stranger)


async def test_a_child_that_dies_is_started_again(tiny_local: LocalModel, caplog: pytest.LogCaptureFixture) -> None:
    first = await tiny_local.endpoint()
    await kill(tiny_local)
    assert await tiny_local.endpoint() != first
    async with client_of(tiny_local) as client:
        assert await is_answered(client)
    assert "exit status -9" in caplog.text


async def test_a_turn_in_flight_fails_as_the_upstreams_fault_when_the_child_dies(tiny_local: LocalModel) -> None:
    async def endpoint() -> Endpoint:
        return Endpoint(*await tiny_local.endpoint())

    dialect = OpenAIChat(UpstreamHttp("local", endpoint))
    request = TurnRequest(
        "m", (Message("user", (Text("hi"),)),), stream=True, max_output_tokens=8000, extra={"ignore_eos": "true"}
    )
    turn = dialect.turn(request)
    try:
        await anext(turn)
        await kill(tiny_local)
        with pytest.raises(UpstreamFailed):
            async for _ in turn:
                pass
    finally:
        await turn.aclose()
        await dialect.aclose()


async def test_no_child_is_left_after_close(tiny_local: LocalModel) -> None:
    child = await tiny_local._child()
    await tiny_local.aclose()
    assert not child.running
    with pytest.raises(UpstreamFailed, match="stopped"):
        await tiny_local.endpoint()


async def test_closing_during_the_start_fails_those_who_wait(tiny_local: LocalModel) -> None:
    waiting = asyncio.create_task(tiny_local.endpoint())
    await asyncio.sleep(0)
    await tiny_local.aclose()
    with pytest.raises(UpstreamFailed, match="stopped"):
        await waiting


async def test_what_cannot_be_loaded_fails_and_the_reason_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (broken := tmp_path / "broken.gguf").write_bytes(b"hello")
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    model = LocalModel(LocalOptions(file=broken, sha256=digest))
    with caplog.at_level(logging.DEBUG, logger=process.__name__):
        with pytest.raises(UpstreamFailed, match="did not start"):
            await model.endpoint()
        with pytest.raises(UpstreamFailed, match="did not start"):
            await model.endpoint()
    await model.aclose()
    assert "llama.cpp: " in caplog.text
    assert capfd.readouterr() == ("", "")


async def test_a_start_that_takes_too_long_leaves_no_child(tiny_options: LocalOptions) -> None:
    model = LocalModel(replace(tiny_options, start_seconds=0.0))
    with pytest.raises(UpstreamFailed, match="within 0 seconds"):
        await model.endpoint()
    await model.aclose()


async def test_other_weights_are_never_loaded(tiny: Path) -> None:
    model = LocalModel(LocalOptions(file=tiny))
    with pytest.raises(UpstreamFailed, match="SHA-256 differs"):
        await model.endpoint()


async def test_a_missing_runtime_is_answered_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def none_of_it(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "xllamacpp" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", none_of_it)
    with pytest.raises(UpstreamFailed, match="pip install xllamacpp"):
        await LocalModel().endpoint()


async def test_weights_that_nobody_needs_leave_memory_and_come_back(tiny_options: LocalOptions) -> None:
    model = LocalModel(replace(tiny_options, idle_seconds=1))
    async with closing_after(model), client_of(model) as client, asyncio.timeout(BOUND):
        assert await is_answered(client)
        while not await is_asleep(model):
            await asyncio.sleep(0.05)
        assert await is_answered(client)
        assert not await is_asleep(model)


@asynccontextmanager
async def closing_after(model: LocalModel) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await model.aclose()


async def is_asleep(model: LocalModel) -> bool:
    base_url, key = await model.endpoint()
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{base_url}/../props") as answer:
        return bool((await answer.json())["is_sleeping"])


PARENT = """
import asyncio, sys
from pathlib import Path
from trivet.model_service.adapters.local.model import LocalModel, LocalOptions

async def main(file, sha256):
    base_url, _ = await LocalModel(LocalOptions(file=Path(file), sha256=sha256)).endpoint()
    print(base_url, flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_child_ends_when_its_parent_is_killed(tiny_options: LocalOptions) -> None:
    command = [sys.executable, "-c", PARENT, str(tiny_options.file), tiny_options.sha256]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        url = urlsplit(parent.stdout.readline().decode())
        address = ("127.0.0.1", url.port or 0)
        with socket.create_connection(address, timeout=BOUND) as connection:
            parent.kill()
            wait_for_its_end(connection)
    with pytest.raises(ConnectionRefusedError):
        connect_while_it_listens(address)


def connect_while_it_listens(address: tuple[str, int]) -> None:
    # A process that ends closes its sockets one after the other, so the port may live a moment longer.
    for _ in range(3):
        with socket.create_connection(address, timeout=BOUND) as connection:
            wait_for_its_end(connection)


def wait_for_its_end(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""
