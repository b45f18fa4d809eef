"""What an agent run costs: two turns of the model with one call of a tool between them, on an MCP server that is known."""

import time
from collections import Counter
from dataclasses import dataclass
from statistics import median

import uvloop

from bench.load import ask
from bench.load.client import Broken, Connection, connected
from bench.site import Neighbours, Running
from bench.targets.target import Face
from bench.upstream.scripts import AGENT

_WARM = 10
_MOST_SECONDS = 20.0
_LAST = f" word{AGENT.size - 1}".encode()


@dataclass(frozen=True)
class AgentRun:
    """One run, streamed to the end, one at a time; and what the MCP server saw of each beside its call."""

    cpu_ms: float
    p50_ms: float
    initialize: float
    list_tools: float


def agent_run(one: Running, around: Neighbours, face: Face, runs: int) -> AgentRun:
    """The mean of so many runs, or of those that could be made in the time. Raises Broken if one was not two turns and one call."""
    return uvloop.run(_agent_run(one, around, face, runs))


async def _agent_run(one: Running, around: Neighbours, face: Face, runs: int) -> AgentRun:
    async with connected(one.port) as connection:
        await _until_it_calls(one, around, face, connection)
        request = one.target.request(face, AGENT)
        took: list[float] = []
        for _ in range(_WARM):
            await connection.ask(request)
        before, cpu, began = _counts(around), one.cpu_seconds(), time.monotonic()
        while len(took) < runs and time.monotonic() - began < _MOST_SECONDS:
            answer = await connection.ask(request)
            took.append(answer.ended * 1e3)
            answer.first_with(_LAST)
        cpu, seen, runs = one.cpu_seconds() - cpu, _counts(around) - before, len(took)
    if seen["tools/call"] != runs or seen["requests"] != 2 * runs:
        raise Broken(f"{runs} runs made {seen['tools/call']} calls of the tool and {seen['requests']} of the model")
    return AgentRun(cpu / runs * 1e3, median(took), seen["initialize"] / runs, seen["tools/list"] / runs)


async def _until_it_calls(one: Running, around: Neighbours, face: Face, connection: Connection) -> None:
    """Some gateways get to know the server while they answer already, and run without its tools until then."""
    for _ in range(50):
        before = _counts(around)
        await connection.ask(one.target.request(face, AGENT))
        if (_counts(around) - before)["tools/call"]:
            return
        time.sleep(0.2)  # noqa: ASYNC251 - nothing else runs in this loop
    raise Broken("no run called the tool")


def _counts(around: Neighbours) -> Counter[str]:
    return Counter(ask.get(around.mcp, "/counts")) + Counter(ask.get(around.upstream, "/counts"))
