"""Where and with what a benchmark ran."""

import os
import platform
import re
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("aiohttp", "grpcio", "mcp", "orjson", "protobuf", "uvloop")


def described() -> dict[str, Any]:
    """The machine, and the versions of what the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
        "commit": _commit(),
    }


def allow_many_files() -> None:
    """As many open files as the system lets us have, for us and for whom we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _processor() -> str:
    told = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return told[1] if told else platform.machine()


def _commit() -> str:
    folder = Path(__file__).parent
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False)
    return told.stdout.strip()
