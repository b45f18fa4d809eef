"""`python -m bench`: Trivet, the floor and every peer that is installed, measured on the same work in turn."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.benchmark import FULL, QUICK, Benchmark
from bench.load import wrk
from bench.report.chart import chart
from bench.report.results import Results
from bench.report.table import tables
from bench.targets.field import FIELD
from bench.targets.peer import FOLDER, peers_folder
from bench.targets.target import Target


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.show:
        print(tables(Results.read(arguments.show)))
        return 0
    if not wrk.is_installed():
        print(wrk.HOW_TO_GET_IT, file=sys.stderr)
        return 2
    peers = peers_folder(arguments.peers)
    found = {target: target.version(peers) for target in FIELD}
    _tell_of_the_missing([target for target, version in found.items() if not version])
    targets = [target for target, version in found.items() if version and target.name in _chosen(arguments.targets)]
    # So that everything that was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.allow_many_files()
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = replace(plan, rounds=arguments.rounds)
    if arguments.connections:
        plan = replace(plan, loads=[replace(load, connections=arguments.connections) for load in plan.loads])
    results = Results.empty(
        machine=machine.described(),
        command=_told(arguments),
        at=datetime.now(UTC).isoformat(timespec="minutes"),
        targets={target.name: found[target] for target in targets},
        loads={load.name: load.connections for load in plan.loads},
    )
    Benchmark(plan, targets, peers, results).run()
    _write(results, arguments.out)
    return 0


def _told(arguments: argparse.Namespace) -> str:
    """The command without folders, which are this machine's."""
    options = {name: getattr(arguments, name) for name in ("targets", "rounds", "connections")}
    words = ["python -m bench", *(["--quick"] if arguments.quick else [])]
    return " ".join([*words, *(f"--{name} {value}" for name, value in options.items() if value)])


def _write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = tables(results)
    results.write(folder / "results.json")
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "chart.svg").write_text(chart(results), encoding="utf-8")
    print(f"\n{table}\nWritten: {', '.join(str(folder / name) for name in ('results.json', 'table.md', 'chart.svg'))}")


def _tell_of_the_missing(missing: Sequence[Target]) -> None:
    for target in missing:
        print(f"{target.name} is not installed: {target.install}", file=sys.stderr)
    if missing:
        print(f"$PEERS is the folder that --peers or ${FOLDER} names.", file=sys.stderr)


def _chosen(names: str) -> set[str]:
    known = {target.name for target in FIELD}
    chosen = set(names.split(",")) if names else known
    if unknown := chosen - known:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: under three minutes")
    parser.add_argument("--targets", default="", metavar="NAMES", help="only these, with commas")
    parser.add_argument("--peers", metavar="FOLDER", help=f"where peers are installed (default: ${FOLDER}, or ./peers)")
    parser.add_argument("--rounds", type=int, help="rounds of the load")
    parser.add_argument("--connections", type=int, help="connections of every load, in place of 8, 4 and 64")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="FOLDER", help="default: build/bench")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="print the tables of an earlier results.json, and measure nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
