"""The figures as tables of Markdown, which read well as they are."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.report.results import Results
from bench.targets.target import Face

Cell = Callable[[str], str]

_FACES: tuple[Face, ...] = ("chat", "responses", "messages")
_AGENTS: tuple[Face, ...] = ("agent", "responses")


def tables(results: Results) -> str:
    """All of them, with what they were measured on."""
    parts = [_work(results), _throughput(results), _latency(results), _agents(results), _memory(results), _cold_start(results)]
    failed = [f"- {one['target']}, {one['what']}: {one['why'].splitlines()[0]}" for one in results.failures if one["why"]]
    failed = ["**Not measured**", "", *failed] if failed else []
    return "\n\n".join([*(part for part in parts if part), "\n".join(failed)]).strip() + "\n\n" + _told(results) + "\n"


def _work(results: Results) -> str:
    columns = {f"{face} {load}": partial(_cost, results, face, load) for face in _FACES for load in results.head["loads"]}
    title = "CPU of the gateway, us per request (plain) or chunk (streams), and in units of the floor"
    return _table(title, columns, results.targets)


def _cost(results: Results, face: Face, load: str, target: str) -> str:
    seen, ratio = results.microseconds(target, face, load), results.ratio(target, face, load)
    if seen is None:
        return ""
    failed = results.failed(target, face, load)
    return f"{_number(seen)}{f' ({ratio:.2f} x)' if ratio else ''}{f' !{failed} failed' if failed else ''}"


def _throughput(results: Results) -> str:
    columns = {f"{face} {load}": partial(_rate, results, face, load) for face in _FACES for load in results.head["loads"]}
    return _table("Requests (plain) or chunks (streams) per second", columns, results.targets)


def _rate(results: Results, face: Face, load: str, target: str) -> str:
    return _number(results.per_second(target, face, load))


def _latency(results: Results) -> str:
    names = {"p50_ms": "p50", "p99_ms": "p99", "first_token_p50_ms": "first token p50", "first_token_p99_ms": "first token p99"}
    columns = {
        f"{face} {title}": partial(_figure, results, "latency", face, name) for face in _FACES for name, title in names.items()
    }
    return _table("Added latency at low load, ms", columns, results.targets)


def _agents(results: Results) -> str:
    names = {"cpu_ms": "CPU ms", "p50_ms": "p50 ms", "initialize": "initialize", "list_tools": "tools/list"}
    columns = {
        f"{face} {title}": partial(_figure, results, "agent", face, name) for face in _AGENTS for name, title in names.items()
    }
    return _table("An agent run: two turns of the model, one call of a tool", columns, results.targets)


def _figure(results: Results, kind: str, key: str, name: str, target: str) -> str:
    return _number(results.figure(kind, target, key, name))


def _memory(results: Results) -> str:
    columns: dict[str, Cell] = {
        f"{streams} stream{'s' * (streams > 1)}": partial(_megabytes, results, streams) for streams in (1, 100, 1000)
    }
    return _table("Memory under open streams", {**columns, "each stream": partial(_per_stream, results)}, results.targets)


def _megabytes(results: Results, streams: int, target: str) -> str:
    seen = results.figure("memory", target, str(streams))
    return "" if seen is None else f"{seen / 1e6:.0f} MB"


def _per_stream(results: Results, target: str) -> str:
    seen = results.per_stream(target)
    return "" if seen is None else f"{seen / 1e3:.0f} KB"


def _cold_start(results: Results) -> str:
    columns: dict[str, Cell] = {
        "first answer s": lambda target: _number(results.cold_start(target, "seconds")),
        "CPU s": lambda target: _number(results.cold_start(target, "cpu_seconds")),
        "imports s": lambda target: _number(results.figure("imports", target, "seconds")),
    }
    return _table("Cold start", columns, results.targets)


def _number(seen: float | None) -> str:
    """Three figures that count."""
    if seen is None:
        return ""
    return f"{seen:,.0f}" if abs(seen) >= 100 else f"{seen:.1f}" if abs(seen) >= 10 else f"{seen:.2f}"


def _table(title: str, columns: Mapping[str, Cell], targets: Sequence[str]) -> str:
    """Without columns and rows in which nothing stands."""
    cells = {target: {name: cell(target) for name, cell in columns.items()} for target in targets}
    names = [name for name in columns if any(cells[target][name] for target in targets)]
    rows = [[target, *(cells[target][name] for name in names)] for target in targets if any(cells[target].values())]
    if not names:
        return ""
    rows.insert(0, ["", *names])
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) + 1)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * (width - 1) + ":" if n else "-" * width for n, width in enumerate(widths)) + " |")
    return "\n".join([f"**{title}**", "", *lines])


def _told(results: Results) -> str:
    head = results.head
    machine = head["machine"]
    loads = ", ".join(f"{name} {connections}" for name, connections in head["loads"].items())
    versions = ", ".join(f"{target} {version}" for target, version in head["targets"].items())
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{head['at']}, `{head['command']}`, commit {machine['commit']}. {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['system']}. Python {machine['python']}, {packages}. {versions}. "
        f"Connections: {loads}; latency, agent: 1."
    )
