"""LiteLLM's proxy, with its key and without a database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.processes import Program
from bench.targets.peer import written
from bench.targets.target import KEY, MCP_NAME, Face, Site, Target, version_of_package


class LiteLLM(Target):
    """One worker, as it is by default."""

    name = "litellm"
    language = "Python"
    faces: ClassVar[tuple[Face, ...]] = ("chat", "responses")
    agents: ClassVar[tuple[Face, ...]] = ("responses",)
    install = "python -m venv $PEERS/litellm && $PEERS/litellm/bin/pip install 'litellm[proxy]'"
    python = True

    def version(self, peers: Path) -> str:
        return version_of_package(peers / "litellm", "litellm")

    def programs(self, site: Site) -> Sequence[Program]:
        config = {
            "model_list": [
                {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": f"{site.upstream}/v1", "api_key": "none"}}
            ],
            "mcp_servers": {MCP_NAME: {"url": site.mcp, "transport": "http", "allow_all_keys": True}},
            "general_settings": {"master_key": KEY},
        }
        command = [str(site.peers / "litellm/bin/litellm"), "--host", "127.0.0.1", "--port", str(site.port)]
        # Its list of prices would be fetched at the start.
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        return [Program([*command, "--config", written(site.folder / "config.yaml", config)], environment, site.folder)]

    def tools(self, face: Face) -> dict[str, Any]:
        del face
        server = {"type": "mcp", "server_label": MCP_NAME, "server_url": f"litellm_proxy/mcp/{MCP_NAME}"}
        return {"tools": [{**server, "require_approval": "never"}]}
