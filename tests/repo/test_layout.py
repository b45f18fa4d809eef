"""The three source roots make one importable package, and every folder is where a newcomer looks for it."""

import importlib
import pkgutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("services", "bridge", "gen/python")
CONTRACTS = sorted(path.name for path in (ROOT / "protos/trivet").iterdir() if path.is_dir())
CODE_PACKAGES = sorted(
    path.parent.relative_to(ROOT) for root in ("services", "bridge") for path in (ROOT / root / "trivet").rglob("__init__.py")
)


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_no_source_root_makes_trivet_a_regular_package(root: str) -> None:
    """A stray `trivet/__init__.py` hides what the other roots hold."""
    assert not (ROOT / root / "trivet/__init__.py").exists()


@pytest.mark.parametrize("contract", CONTRACTS)
def test_no_code_package_is_named_like_a_contract(contract: str) -> None:
    """`services/trivet/model` would hide the generated `trivet.model.v1`."""
    for root in ("services", "bridge"):
        assert not (ROOT / root / "trivet" / contract).exists()


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_contract_is_importable(contract: str) -> None:
    package = importlib.import_module(f"trivet.{contract}.v1")

    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    assert modules
    for module in modules:
        importlib.import_module(f"trivet.{contract}.v1.{module}")


@pytest.mark.parametrize("package", CODE_PACKAGES, ids=str)
def test_a_package_says_in_one_sentence_what_it_is_and_exports_nothing(package: Path) -> None:
    text = (ROOT / package / "__init__.py").read_text(encoding="utf-8").strip()

    assert text.startswith('"""')
    assert text.endswith('."""')
    assert text.count('"""') == 2


def test_every_folder_with_code_is_a_package() -> None:
    for root in ("services", "bridge"):
        for module in (ROOT / root / "trivet").rglob("*.py"):
            assert (module.parent / "__init__.py").exists() or module.parent == ROOT / root / "trivet", module


def test_no_proto_names_a_package_of_another_language() -> None:
    """Managed mode gives `go_package` and the like to those who generate for these languages."""
    for proto in (ROOT / "protos").rglob("*.proto"):
        assert "_package =" not in proto.read_text(encoding="utf-8"), proto
