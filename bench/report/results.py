"""The figures of one sitting, as they are written to the file, and what is read out of them."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench.targets.target import Face


class Results:
    """Figures by kind, target and what they are of.

    Of all that is measured in rounds the median counts. The least would not be fairer: what else the machine does makes caches cold,
    which costs, but it also lets requests gather, so that one wake-up serves several of them, which is cheaper than it ever is
    on a quiet machine.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @classmethod
    def empty(cls, **head: Any) -> "Results":
        """Without any figure yet."""
        return cls(
            {**head, "work": {}, "latency": {}, "agent": {}, "memory": {}, "cold_start": {}, "imports": {}, "failures": []}
        )

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Those of a file."""
        return cls(json.loads(file.read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """For machines, and for later."""
        file.write_text(json.dumps(self._data, indent=1) + "\n", encoding="utf-8")

    def add_round(self, target: str, face: Face, load: str, figures: dict[str, Any]) -> None:
        """One look at a target under load."""
        self._data["work"].setdefault(target, {}).setdefault(face, {}).setdefault(load, []).append(figures)

    def add(self, kind: str, target: str, key: str, figures: Any) -> None:
        """Any other figure."""
        self._data[kind].setdefault(target, {})[key] = figures

    def add_failure(self, target: str, what: str, why: str) -> None:
        """What could not be measured."""
        self._data["failures"].append({"target": target, "what": what, "why": why})

    @property
    def head(self) -> dict[str, Any]:
        """What is said of the machine, the versions and the command."""
        return {key: self._data[key] for key in ("machine", "command", "at", "targets", "loads")}

    @property
    def targets(self) -> list[str]:
        """Those with figures, in the order in which they were measured."""
        return list(self._data["work"])

    @property
    def failures(self) -> list[dict[str, str]]:
        """What could not be measured, each once."""
        return list({(one["target"], one["what"]): one for one in self._data["failures"]}.values())

    def microseconds(self, target: str, face: Face, load: str) -> float | None:
        """CPU per request or chunk."""
        return self._median(target, face, load, "microseconds")

    def per_second(self, target: str, face: Face, load: str) -> float | None:
        """Requests or chunks per second."""
        return self._median(target, face, load, "per_second")

    def failed(self, target: str, face: Face, load: str) -> int:
        """Requests that failed, in all rounds."""
        return sum(one["failed"] for one in self._rounds(target, face, load))

    def floor(self, load: str) -> float | None:
        """What the floor took of it, of the dialect that it copied for less."""
        seen = [self.microseconds("floor", face, load) for face in self._data["work"].get("floor", {})]
        return min((one for one in seen if one is not None), default=None)

    def ratio(self, target: str, face: Face, load: str) -> float | None:
        """CPU in units of the floor's."""
        seen, floor = self.microseconds(target, face, load), self.floor(load)
        return seen / floor if seen and floor else None

    def figure(self, kind: str, target: str, key: str, name: str = "") -> float | None:
        """A figure of latency, agent, memory or imports."""
        found = self._data[kind].get(target, {}).get(key)
        return None if found is None else float(found[name] if name else found)

    def cold_start(self, target: str, name: str) -> float | None:
        """Seconds, or seconds of CPU: the median of the starts."""
        starts = [one[name] for one in self._data["cold_start"].get(target, {}).values()]
        return median(starts) if starts else None

    def per_stream(self, target: str) -> float | None:
        """The bytes that each open stream takes, between the most that were open and the number before that."""
        seen = {int(streams): memory for streams, memory in self._data["memory"].get(target, {}).items()}
        if len(seen) < 2:
            return None
        fewer, most = sorted(seen)[-2:]
        return float(seen[most] - seen[fewer]) / (most - fewer)

    def _rounds(self, target: str, face: Face, load: str) -> list[dict[str, Any]]:
        return list(self._data["work"].get(target, {}).get(face, {}).get(load, []))

    def _median(self, target: str, face: Face, load: str, name: str) -> float | None:
        seen = [one[name] for one in self._rounds(target, face, load)]
        return float(median(seen)) if seen else None
