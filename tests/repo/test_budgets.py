"""Budgets that keep a file on a few screens and a function on one; the reasons stand in CONTRIBUTING."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES = 400
TEST_MODULE_LINES = 600
PROTO_LINES = 400
FUNCTION_LINES = 60
POSITIONAL_PARAMETERS = 5
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}

# The only places where anything that goes wrong must be met, whatever it is; each says why in a comment.
BROAD_EXCEPT = {
    "bridge/trivet/bridge/boundary.py",
    "bridge/trivet/bridge/websocket.py",
    "services/trivet/kernel/inprocess/driving.py",
    "services/trivet/model_service/adapters/store/work_thread.py",
    "services/trivet/model_service/responses/keeping/recording.py",
    "services/trivet/model_service/responses/background/run.py",
    "services/trivet/model_service/responses/background/runs.py",
    "services/trivet/standalone/reloading.py",
    "services/trivet/model_service/usage/recording.py",
}

CODE = sorted(path for root in ("services", "bridge", "tools") for path in (ROOT / root).rglob("*.py"))
TESTS = sorted(path for root in ("tests", "bench") for path in (ROOT / root).rglob("*.py"))
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def too_long(paths: list[Path], most: int) -> dict[str, int]:
    return {name_of(path): lines(path) for path in paths if lines(path) > most}


def test_modules_are_short() -> None:
    assert too_long(CODE, MODULE_LINES) == {}
    assert too_long(TESTS, TEST_MODULE_LINES) == {}
    assert too_long(PROTOS, PROTO_LINES) == {}


def test_functions_are_short() -> None:
    long = {
        f"{name_of(path)}:{function.lineno} {function.name}": length
        for path in CODE + TESTS
        for function in functions(path)
        if (length := (function.end_lineno or function.lineno) - function.lineno + 1) > FUNCTION_LINES
    }

    assert long == {}


def test_functions_take_few_positional_parameters() -> None:
    def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        return len(names) - (names[:1] in (["self"], ["cls"]))

    many = {
        f"{name_of(path)}:{function.lineno} {function.name}": positional(function)
        for path in CODE
        for function in functions(path)
        if positional(function) > POSITIONAL_PARAMETERS
    }

    assert many == {}


def test_every_module_name_says_what_is_in_it() -> None:
    assert [name_of(path) for path in CODE if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_no_function_rebinds_a_global() -> None:
    assert [
        f"{name_of(path)}:{node.lineno}"
        for path in CODE + TESTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Global)
    ] == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in kinds)


def reraises(handler: ast.ExceptHandler) -> bool:
    """Whether the handler only cleans up: its last statement is a bare `raise`."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_broad_excepts_stand_only_at_the_boundaries() -> None:
    broad = {
        name_of(path)
        for path in CODE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not reraises(node)
    }

    assert broad == BROAD_EXCEPT


@pytest.mark.parametrize(
    ("code", "broad"),
    [
        ("except Exception: pass", True),
        ("except: pass", True),
        ("except (ValueError, BaseException): pass", True),
        ("except ValueError: pass", False),
        ("except Exception: raise", True),
    ],
)
def test_a_broad_except_is_recognised(code: str, broad: bool) -> None:
    (node,) = ast.parse(f"try: pass\n{code}").body
    assert isinstance(node, ast.Try)

    assert is_broad(node.handlers[0]) is broad
    assert reraises(node.handlers[0]) is code.endswith(": raise")
