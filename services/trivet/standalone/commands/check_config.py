"""`trivet check-config`: tell whether the configuration is good, and what it says."""

from argparse import Namespace
from urllib.parse import urlsplit

from trivet.model_service.route_settings import VirtualModelSettings
from trivet.model_service.settings import CannotOpenStore, ProviderSettings, StoreSettings
from trivet.standalone.chosen_config import config_file, configuration
from trivet.tool_service.settings import McpServerSettings


def run(arguments: Namespace) -> int:
    """Print what the configuration says, without its secrets."""
    config = configuration(arguments)
    networks = "may" if config.security.allow_private_networks else "may not"
    lines = [
        ("http", config.server.http),
        ("grpc", config.server.grpc),
        *(("service", f"{name} at {address}") for name, address in config.services if address),
        ("keys", ", ".join(key.name for key in config.auth.keys) or "none: one is made at each start"),
        *(("provider", _provider(provider)) for provider in config.providers),
        *(("model", _model(model)) for model in config.models),
        *(("MCP server", _mcp_server(server)) for server in config.mcp_servers),
        ("store", _store(config.store)),
        ("security", f"URLs of requests {networks} lead to private networks"),
    ]
    print(f"{config_file(arguments) or 'without a file'}: good")
    for name, value in lines:
        print(f"  {name:<12}{value}")
    return 0


# Of a command the first word, of a URL the origin: arguments, paths and queries may hold secrets.


def _provider(provider: ProviderSettings) -> str:
    return f"{provider.name}: {provider.type}" + (f" at {_origin(provider.base_url)}" if provider.base_url else "")


def _model(model: VirtualModelSettings) -> str:
    return f"{model.name}: by {model.route.strategy} {', '.join(target.model for target in model.targets)}"


def _mcp_server(server: McpServerSettings) -> str:
    return f"{server.name}: " + (f"the program {server.command[0]}" if server.command else f"at {_origin(server.url or '')}")


def _store(store: StoreSettings) -> str:
    try:
        file = store.file
    except CannotOpenStore as error:
        return f"none: {error}"
    url = "" if store.url is None else store.url.get_secret_value()
    where = f"at {_origin(url)}{urlsplit(url).path}" if file is None else f"in {file.absolute()}"
    kept = f"kept for {store.retention_days:g} days" if store.retention_days else "kept for ever"
    return f"{where}, {kept}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
