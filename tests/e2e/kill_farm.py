"""Processes that share one store and are killed at any moment, over a model and a tool that outlive them all."""

import asyncio
import json
import os
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.answers import Answer, Call
from tests.e2e.frames import Json
from tests.e2e.tool_server import ToolServer, tool_server
from tests.standalone.compose import KEY
from tests.standalone.running import Running
from tests.upstreams.scripted import Request, ScriptedUpstream, Step

ROUNDS = 3
"""How often a model asks for its tool, two calls at once, before it has done."""

_PACE = 0.02
"""Seconds between two pieces of what the model says, at most: long enough for a kill to come in between."""

_TOOL_SECONDS = 0.15


class Model(ScriptedUpstream):
    """Answers by what it is asked, so that it says the same when it is asked again: calls for some rounds, then a text.

    While `going` is not set, whoever asks is left waiting in the middle of the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.going = asyncio.Event()
        self.going.set()

    def next_script(self, request: Request) -> list[Step]:
        self.requests.append(request)
        messages, tools = request.body["messages"], request.body.get("tools", [])
        job = next(str(one["content"]) for one in messages if one["role"] == "user")
        done = sum(one["role"] == "tool" for one in messages) // 2
        if tools and done < ROUNDS:
            name = next(tool["function"]["name"] for tool in tools if tool["function"]["name"].endswith("work"))
            steps = (2 * done, 2 * done + 1)
            calls = tuple(Call(f"call_{step}", name, json.dumps({"job": job, "step": step})) for step in steps)
            said = Answer(text=(f"Round {done}", " of ", job, "."), calls=calls)
        else:
            said = Answer(reasoning=("All ", "is ", "done."), text=tuple(f"{word} " for word in f"{job} is done now .".split()))
        paced = _paced(said.script("lab", streamed=True))
        return [*paced[:6], self.going, *paced[6:]]


def _paced(script: list[Step]) -> list[Step]:
    loop, paced, after = asyncio.get_running_loop(), list[Step](), 0.0
    for step in script:
        gate = asyncio.Event()
        after += random.uniform(0, _PACE)
        loop.call_later(after, gate.set)
        paced += [gate, step]
    return paced


class Work:
    """The tool: it takes its time, and knows what it did when."""

    def __init__(self) -> None:
        self.begun: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.returned: dict[tuple[str, int], list[float]] = defaultdict(list)

    async def work(self, job: str, step: int) -> str:
        """Do a step of a job."""
        self.begun[job, step].append(now())
        await asyncio.sleep(random.uniform(0, _TOOL_SECONDS))
        self.returned[job, step].append(now())
        return f"{job}/{step}"


def now() -> float:
    """The time by which everything here is told."""
    return asyncio.get_running_loop().time()


@dataclass
class Farm:
    """Some processes; `kills` says when one of them was killed."""

    model: Model
    work: Work
    tools: ToolServer
    folder: Path
    store: str
    urls: dict[int, str] = field(default_factory=dict)
    processes: dict[int, Running] = field(default_factory=dict)
    kills: list[float] = field(default_factory=list)

    def url(self) -> str:
        """Of any process that serves; "" while none does."""
        return random.choice(list(self.urls.values())) if self.urls else ""

    async def start(self, number: int, **background: Any) -> None:
        """Start a process, on whatever ports are free; with these settings of `background`."""
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "trivet.yaml").write_text(json.dumps(self._config(background)), encoding="utf-8")
        process = Running(["trivet", "serve", "--config", str(folder / "trivet.yaml")], os.environ, folder)
        self.processes[number] = process
        said = "\n".join(await asyncio.to_thread(process.read_until, "gRPC "))
        self.urls[number] = re.findall(r"REST  (http://[^/]+)/", said)[0]

    async def kill(self, number: int) -> None:
        """Kill a process, whatever it does, and start it again."""
        del self.urls[number]
        self.kills.append(now())
        await asyncio.to_thread(self.processes[number].kill)
        await self.start(number)

    def _config(self, background: Json) -> Json:
        return {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "grace_seconds": 1},
            "auth": {"keys": [{"name": "test", "key": KEY}]},
            "store": {"url": self.store, "secret_key": "a secret of the test's own", "claim_seconds": 2},
            "background": {"max_running_per_key": 50, "max_attempts": 20, "poll_seconds": 0.2, **background},
            "providers": [{"name": "lab", "type": "openai-chat", "base_url": self.model.base_url, "api_key": "none"}],
            "mcp_servers": [{"name": "tools", "url": self.tools.url}],
            "security": {"allow_private_networks": True},
        }


@asynccontextmanager
async def farm(folder: Path, store: str, processes: int) -> AsyncIterator[Farm]:
    """So many processes over the store with this URL."""
    work = Work()
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(Model())
        tools = await stack.enter_async_context(tool_server(work.work))
        made = Farm(model, work, tools, folder, store)
        try:
            await asyncio.gather(*(made.start(number) for number in range(processes)))
            yield made
        finally:
            for process in made.processes.values():
                process.kill()


def client() -> aiohttp.ClientSession:
    """A client that knows the key."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(total=None, sock_read=30, connect=5)
    )


@dataclass
class Seen:
    """What the readers of one response saw: two streams, what polling told, and when each step was first told as done.

    `finished` counts the items that readers saw finished.
    """

    job: str
    response_id: str
    streams: list[list[Json]] = field(default_factory=lambda: [[], []])
    polled: list[Json] = field(default_factory=list)
    done: dict[int, float] = field(default_factory=dict)
    finished: int = 0

    def note(self, event: Json) -> None:
        """Remember what was finished, and when the calls were told as done."""
        item: Any = event.get("item", {})
        self.finished += event["type"] == "response.output_item.done" and item.get("status") != "incomplete"
        if event["type"] == "response.output_item.done" and item["type"] == "mcp_call" and item["status"] == "completed":
            self.done.setdefault(json.loads(item["arguments"])["step"], now())


def repeated(seen: list[Seen], there: Farm) -> dict[str, Any]:
    """Calls that were made more than once: how many, which of them although they were told as done, how many without a kill
    in between, and, of those that had returned when the kill came, how many milliseconds before it."""
    work = there.work
    told = {(one.job, step): when for one in seen for step, when in one.done.items()}
    again = {key: begun for key, begun in work.begun.items() if len(begun) > 1}
    # A call may be on its way when its process is killed, and so begin after that.
    killed = {key: next((kill for kill in there.kills if begun[0] - 0.5 < kill < begun[1]), 0.0) for key, begun in again.items()}
    returned = {key: killed[key] - work.returned[key][0] for key in again if killed[key]}
    return {
        "calls": len(work.begun),
        "repeated": len(again),
        "repeated though told as done": [key for key, begun in again.items() if key in told and begun[-1] > told[key]],
        "repeated without a kill": sum(not killed[key] for key in again),
        "returned before the kill (ms)": sorted(round(1000 * before) for before in returned.values() if before > 0),
    }
