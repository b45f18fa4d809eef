"""The configuration file: what it may say, and what it answers to what it may not."""

from pathlib import Path

import pytest

from trivet.standalone.config import Config, ConfigError, default_config, exposures, load_config, with_generated_key

EXAMPLE = """\
server: {http: 127.0.0.1:8080, grpc: 127.0.0.1:50051}
auth:
  keys:
    - {name: dev, key: "${TRIVET_KEY}"}        # environment variables anywhere; a missing one is an error that names it
providers:
  - {name: lab, type: openai-chat, base_url: "http://127.0.0.1:9100/v1", api_key: "${LAB_KEY:-none}"}
  - {name: oai, type: openai-responses, base_url: "http://127.0.0.1:9100/v1", api_key: none}
  - {name: local, type: local}
mcp_servers:
  - {name: everything, url: "http://127.0.0.1:18201/mcp", headers: {X-Team: blue}}
  - {name: clock, command: [mcp-server-time, --local-timezone, UTC]}
security: {allow_private_networks: true}
"""
SECRET = "sk-very-secret-value"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trivet.yaml"


def load(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load_config(file, environ)


def complaints(file: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, text, **environ)
    return [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]


def test_the_example_loads_as_it_stands(file: Path) -> None:
    config = load(file, EXAMPLE, TRIVET_KEY=SECRET)

    assert (config.server.http, config.server.grpc) == ("127.0.0.1:8080", "127.0.0.1:50051")
    assert [(key.name, key.key.get_secret_value()) for key in config.auth.keys] == [("dev", SECRET)]
    assert [(provider.name, provider.type, provider.api_key) for provider in config.providers] == [
        ("lab", "openai-chat", None),
        ("oai", "openai-responses", None),
        ("local", "local", None),
    ]
    assert config.mcp_servers[0].headers["X-Team"].get_secret_value() == "blue"
    assert config.mcp_servers[1].command == ("mcp-server-time", "--local-timezone", "UTC")
    assert config.security.allow_private_networks


def test_the_example_names_its_missing_variable_and_its_line(file: Path) -> None:
    assert complaints(file, EXAMPLE) == [
        "4:19: the environment variable `TRIVET_KEY` is not set: set it, or write ${TRIVET_KEY:-default}"
    ]


def test_an_empty_file_is_a_configuration_that_serves_nothing(file: Path) -> None:
    config = load(file, "")

    assert (config.providers, config.mcp_servers) == ((), ())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("servr: {}", "1:1: unknown key `servr`: did you mean `server`?"),
        (
            "providers:\n  - {name: a, type: openai-chat, base_ur: 'http://h/v1', base_url: 'http://h/v1'}",
            "2:34: unknown key `base_ur`: did you mean `base_url`?",
        ),
        ("auth: {zzz: 1}", "1:8: unknown key `zzz`: known here are `keys`"),
        ("mcp_limits: {max_session: 1}", "1:14: unknown key `max_session`: did you mean `max_sessions`?"),
        (
            "providers: [{name: a, type: openai_chat}]",
            "1:23: `providers[0].type`: must be 'openai-chat', 'openai-responses', 'anthropic', 'gemini', 'bedrock', 'cohere' or 'local': did you mean `openai-chat`?",
        ),
        ("providers: [{type: local}]", "1:13: `providers[0].name` is missing"),
        ("providers: {name: a}", "1:1: `providers`: must be a list"),
        ("providers: [{name: a, type: openai-chat}]", "1:13: `providers[0]`: a provider of type `openai-chat` needs a `base_url`"),
        ("providers: [{name: a, type: anthropic, api_key: \"k\\n\"}]", "1:40: `providers[0].api_key`: a header cannot have a line break or another control character, such as one at the end of a file"),
        ("providers: [{name: a, type: anthropic, headers: {x: \"k\\n\"}}]", "1:50: `providers[0].headers.x`: a header cannot have a line break or another control character, such as one at the end of a file"),
        ("providers: [{name: a, type: anthropic, models: [m, {name: m}]}]", "1:13: `providers[0]`: two `models` are named `m`"),
        ("store: {retention_days: 36501}", "1:9: `store.retention_days`: input should be less than or equal to 36500"),
        ("usage: {retention_days: 36501}", "1:9: `usage.retention_days`: input should be less than or equal to 36500"),
        ("providers: [{name: 7, type: local}]", "1:14: `providers[0].name`: must be text: put it in quotes"),
        ("server: {http: '8080'}", "1:10: `server.http`: `8080` is not HOST:PORT, as in 127.0.0.1:8080"),
        ("server: {grace_seconds: -1}", "1:10: `server.grace_seconds`: input should be greater than or equal to 0"),
        ("server: {grace_seconds: soon}", "1:10: `server.grace_seconds`: input should be a valid number, unable to parse string as a number"),
        ("services: {model: nowhere}", "1:12: `services.model`: `nowhere` is not HOST:PORT, as in 127.0.0.1:8080"),
        ("mcp_servers: [{name: a}]", "1:15: `mcp_servers[0]`: an MCP server has either a url or a command"),
        ("security: {allow_private_networks: perhaps}", "1:12: `security.allow_private_networks`: input should be a valid boolean, unable to interpret input"),
        ("- a\n- b", "1:1: must be keys with values, as in `key: value`"),
        ("a: [", "1:5: not YAML: expected the node content, but found '<stream end>'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_a_hint(file: Path, text: str, complaint: str) -> None:
    assert complaints(file, text) == [complaint]


def test_names_are_unique(file: Path) -> None:
    twice = "providers: [{name: a, type: local}, {name: a, type: local}]"

    assert complaints(file, twice) == ["1:1: two providers are named `a`"]


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = "servr: {}\nauth:\n  keys: [{name: dev, key: '${GONE}'}]\nproviders:\n  - {type: local}\n  - {name: x, typ: local}\n"

    assert complaints(file, text) == [
        "1:1: unknown key `servr`: did you mean `server`?",
        "3:22: the environment variable `GONE` is not set: set it, or write ${GONE:-default}",
        "5:5: `providers[0].name` is missing",
        "6:5: `providers[1].type` is missing",
        "6:15: unknown key `typ`: did you mean `type`?",
    ]


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "gateway:8080"])
def test_an_address_open_to_strangers_needs_a_key(file: Path, address: str) -> None:
    text = f"server:\n  http: '{address}'\n"

    (complaint,) = complaints(file, text)
    assert complaint.startswith(f"2:3: `server.http`: {address} is reachable from outside, and `auth.keys` is empty")
    assert load(file, text + "auth: {keys: [{name: dev, key: sk-1}]}").server.http == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/run/trivet.sock"])
def test_a_loopback_address_needs_no_key(file: Path, address: str) -> None:
    assert load(file, f"server: {{grpc: '{address}'}}").server.grpc == address


@pytest.mark.parametrize(
    "text",
    [
        f"auth: {{keys: [{{name: '', key: {SECRET}}}]}}",
        f"auth: {{keys: [{{name: dev, kei: {SECRET}}}]}}",
        f"auth: {{keys: [{SECRET}]}}",
        f"auth: {SECRET}",
        f"providers: [{{name: a, type: {SECRET}, api_key: {SECRET}}}]",
        f"providers: [{{name: a, type: openai-chat, base_url: 'http://me:{SECRET}@host/v1'}}]",
        f"providers: [{{name: a, type: openai-chat, base_url: 'http://host/v1?key={SECRET}'}}]",
        f"providers: [{{name: a, type: local, api_key: {SECRET}}}]",
        f'providers: [{{name: a, type: anthropic, api_key: "{SECRET}\\n"}}]',
        f"mcp_servers: [{{name: a, url: 'ftp://{SECRET}/'}}]",
        f"mcp_servers: [{{name: a, url: 'http://h/', headers: {{X: '{SECRET}ü'}}}}]",
        f"mcp_servers: [{{name: a, url: 'http://h/', headers: [{SECRET}]}}]",
    ],
)
def test_no_complaint_repeats_a_value_that_may_be_a_secret(file: Path, text: str) -> None:
    assert SECRET not in "\n".join(complaints(file, text))


def test_secrets_are_hidden_in_what_is_printed(file: Path) -> None:
    text = EXAMPLE.replace("${LAB_KEY:-none}", SECRET).replace("X-Team: blue", f"X-Team: {SECRET}")

    config = load(file, text, TRIVET_KEY=SECRET)

    assert SECRET not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


def test_a_file_that_cannot_be_read_is_said_so(file: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        load_config(file, {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(file, {})


def test_without_a_file_the_local_model_and_a_clock_are_served_on_loopback() -> None:
    config = default_config()

    assert [provider.type for provider in config.providers] == ["local"]
    assert [server.command for server in config.mcp_servers] == [("mcp-server-time", "--local-timezone", "UTC")]
    assert exposures(config) == []


def test_a_generated_key_is_new_each_time_and_the_only_one() -> None:
    config, key = with_generated_key(default_config())

    assert key.startswith("sk-trivet-")
    assert [name.key.get_secret_value() for name in config.auth.keys] == [key]
    assert with_generated_key(default_config())[1] != key
