"""TensorZero's gateway, which its Python package carries inside; without its database."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.processes import Program
from bench.targets.target import Face, Site, Target, version_of_package

_CONFIG = """
[models.m]
routing = ["bench"]

[models.m.providers.bench]
type = "openai"
api_base = "{upstream}/v1/"
model_name = "m"
api_key_location = "none"
"""

# What asks for the gateway inside to be started, and tells where it listens.
_HOST = """
import pathlib, signal, sys
from openai import OpenAI
from tensorzero import patch_openai_client

client = OpenAI(api_key="none")
patch_openai_client(client, config_file=sys.argv[1], async_setup=False)
pathlib.Path("port").write_text(str(client.base_url.port))
signal.pause()
"""


class TensorZero(Target):
    """It takes a port of its own choice."""

    name = "tensorzero"
    language = "Rust"
    faces: ClassVar[tuple[Face, ...]] = ("chat",)
    install = "python -m venv $PEERS/tensorzero && $PEERS/tensorzero/bin/pip install tensorzero openai"
    model = "tensorzero::model_name::m"
    prefix = "/openai"

    def version(self, peers: Path) -> str:
        return version_of_package(peers / "tensorzero", "tensorzero")

    def programs(self, site: Site) -> Sequence[Program]:
        config = site.folder / "tensorzero.toml"
        config.write_text(_CONFIG.format(upstream=site.upstream), encoding="utf-8")
        return [Program([str(site.peers / "tensorzero/bin/python"), "-c", _HOST, str(config)], folder=site.folder)]

    def port(self, site: Site) -> int:
        told = site.folder / "port"
        return int(told.read_text(encoding="utf-8") or 0) if told.exists() else 0
