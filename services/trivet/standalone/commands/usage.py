"""`trivet usage`: show what calls to models took and cost."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import orjson

from trivet.standalone.asked_gateway import open_asked_gateway

_COUNTS = ("calls", "failed", "input_tokens", "cached_tokens", "output_tokens")


async def run(arguments: Namespace) -> int:
    """Print a table, or JSON."""
    names = [name for name in arguments.by.split(",") if name]
    async with open_asked_gateway(arguments) as client:
        report = await client.usage(_query(arguments, names))
    if arguments.json:
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        print(_table(names, report))
    return 0


def _query(arguments: Namespace, names: Sequence[str]) -> list[tuple[str, str]]:
    query = [("group_by", name) for name in names]
    query += [(name, value) for name in ("model", "provider", "caller") for value in getattr(arguments, name)]
    query += [(name, value) for name, value in (("from", arguments.since), ("to", arguments.until)) if value]
    return [*query, ("order", "cost" if arguments.cost_first else "group")]


def _table(names: Sequence[str], report: dict[str, Any]) -> str:
    head = [*names, *(name.replace("_", " ") for name in _COUNTS), "cost in USD"]
    rows = [[*(_shown(group["group"].get(name)) for name in names), *_cells(group["usage"])] for group in report["data"]]
    rows.append([*(["total"] + [""] * len(names))[: len(names)], *_cells(report["totals"])])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(_set(cell, width, left=place < len(names)) for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in (head, *rows)
    ]
    if report["totals"]["unpriced"]:
        lines += ["", "+ n: and what n calls cost, which is not known"]
    return "\n".join(line.rstrip() for line in lines)


def _cells(sums: dict[str, Any]) -> list[str]:
    unpriced = f" + {sums['unpriced']}" if sums["unpriced"] else ""
    return [*(f"{sums[name]:,}" for name in _COUNTS), f"{'?' if sums['cost'] is None else sums['cost']}{unpriced}"]


def _shown(value: str | None) -> str:
    """A value that callers may have chosen, as a terminal can bear it."""
    return "-" if not value else "".join(letter if letter.isprintable() else "?" for letter in value)


def _set(cell: str, width: int, *, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
