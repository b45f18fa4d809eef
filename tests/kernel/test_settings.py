"""The settings that every process shares."""

from typing import Any

import pytest
from pydantic import ValidationError

from trivet.kernel.settings import AuthSettings, ServerSettings, split_host_port


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]):
    assert split_host_port(address) == expected


@pytest.mark.parametrize("address", ["", "8080", ":8080", "host:", "host:http", "host:65536", "::1:80", "h:-1", "h:٣"])
def test_anything_else_is_refused_by_name(address: str):
    with pytest.raises(ValueError, match="`") as refusal:
        split_host_port(address)
    assert f"`{address}`" in str(refusal.value)


def test_the_defaults_listen_on_loopback_only():
    settings = ServerSettings()
    assert split_host_port(settings.http)[0] == split_host_port(settings.grpc)[0] == "127.0.0.1"


def test_a_unix_socket_is_a_grpc_address_and_not_an_http_one():
    assert ServerSettings(grpc="unix:/run/trivet.sock").grpc == "unix:/run/trivet.sock"
    with pytest.raises(ValidationError):
        ServerSettings(grpc="unix:")
    with pytest.raises(ValidationError):
        ServerSettings(http="unix:/run/trivet.sock")


@pytest.mark.parametrize(
    "wrong",
    [
        {"htp": "127.0.0.1:1"},
        {"http": "nowhere"},
        {"grace_seconds": -1},
        {"default_deadline_seconds": 0},
        {"default_deadline_seconds": 9, "max_deadline_seconds": 8},
        {"max_message_bytes": 0},
    ],
)
def test_impossible_server_settings_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        ServerSettings.model_validate(wrong)


@pytest.mark.parametrize(
    "keys",
    [
        [{"name": "a", "key": "1"}, {"name": "a", "key": "2"}],
        [{"name": "a", "key": "1"}, {"name": "b", "key": "1"}],
        [{"name": "", "key": "1"}],
        [{"name": "a", "key": ""}],
        [{"name": "a"}],
    ],
)
def test_keys_have_unique_names_and_unique_values(keys: list[dict[str, str]]):
    with pytest.raises(ValidationError):
        AuthSettings.model_validate({"keys": keys})


def test_a_key_never_shows_in_a_repr():
    assert "hunter2" not in repr(AuthSettings.model_validate({"keys": [{"name": "a", "key": "hunter2"}]}))


@pytest.mark.parametrize("key", ["", " ", "hunter2\n", " hunter2", "hunter 2", "h\u00fcnter2", "hunter2\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str):
    with pytest.raises(ValidationError, match="printable ASCII") as refusal:
        AuthSettings.model_validate({"keys": [{"name": "ann", "key": key}]})
    assert all(error["msg"].count("nter") == 0 for error in refusal.value.errors())
