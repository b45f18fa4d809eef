"""What gateways of others have in common: each is installed in a folder of its own, below one that the benchmark is told."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = "TRIVET_BENCH_PEERS"
"""The environment variable that names the folder."""


def peers_folder(given: str | None) -> Path:
    """The folder that was given, or the environment's; one that is not there has no peers in it."""
    return Path(given or os.environ.get(FOLDER) or "peers").absolute()


def written(file: Path, config: Any) -> str:
    """The path of a configuration file, once it is written. JSON is YAML, too."""
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return str(file)
