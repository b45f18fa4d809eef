"""`python -m bench.scale [CURVE ...]`: the curves that are named, or all of them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import machine
from bench.scale import bodies, concurrency, stored
from bench.scale.curve import table
from bench.site import neighbours

CURVES = {curve.name: curve for curve in (*concurrency.CURVES, *bodies.CURVES, *stored.CURVES)}


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"of {', '.join(CURVES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each point is looked at")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="FOLDER", help="default: build/bench")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.curves) - set(CURVES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    machine.allow_many_files()
    arguments.out.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine.described(), "curves": {}}
    for name in arguments.curves or CURVES:
        # Each with neighbours of its own, so that none finds what another has left.
        with neighbours() as around:
            points = dict(CURVES[name].measure(around, arguments.seconds))
        print(table(CURVES[name], points) + "\n", flush=True)
        told["curves"][name] = points
        (arguments.out / "scale.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
