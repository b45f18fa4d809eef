"""Which configuration a command works with."""

import os
from argparse import Namespace
from pathlib import Path

from trivet.standalone.config import Config, default_config, load_config


def config_file(arguments: Namespace) -> Path | None:
    """The file to read: `--config`, $TRIVET_CONFIG, or ./trivet.yaml where there is one."""
    if arguments.config:
        return Path(arguments.config)
    if named := os.environ.get("TRIVET_CONFIG"):
        return Path(named)
    usual = Path("trivet.yaml")
    return usual if usual.exists() else None


def configuration(arguments: Namespace) -> Config:
    """What the file says, or what stands without one. Raises ConfigError."""
    file = config_file(arguments)
    return load_config(file, os.environ) if file else default_config()
