"""Writes what in docs/ is made of code: the page of the error catalogue, and the tables of the configuration page.

`make reference` runs it; tests/docs/test_reference.py fails when the pages are not what it would write.
"""

import ast
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from trivet.kernel.catalogue import TABLE, Row
from trivet.kernel.openapi.prose import contract_prose
from trivet.standalone.config import Config

DOCS = Path(__file__).parents[1] / "docs"
ERRORS = DOCS / "errors.md"
CONFIGURATION = DOCS / "configuration.md"
BEGIN = "<!-- made by `make reference`: change the settings, not this -->"
END = "<!-- end of what is made -->"

# As one writes a file, not as the classes stand.
_ORDER = (
    "server",
    "auth",
    "providers",
    "models",
    "store",
    "background",
    "usage",
    "mcp_servers",
    "security",
    "agent",
    "mcp_limits",
    "bridge",
    "services",
)
_KINDS: dict[Any, str] = {
    str: "text",
    bool: "`true` or `false`",
    int: "integer",
    float: "number",
    SecretStr: "secret text",
    Any: "JSON",
    Decimal: "decimal text or number",
}
_BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "at least {}"),
    Gt: ("gt", "above {}"),
    Le: ("le", "at most {}"),
    Lt: ("lt", "below {}"),
    MinLen: ("min_length", "at least {} long"),
    MaxLen: ("max_length", "at most {} long"),
}


# ---- the error catalogue ---------------------------------------------------------------------------------------------


def errors_page() -> str:
    """The whole of docs/errors.md."""
    rows = [_error_row(reason, row) for reason, row in TABLE.items()]
    return "\n".join([*_errors_head(), *rows, "", "## Reasons", "", *_reasons()])


def _errors_head() -> list[str]:
    return [
        "# Errors",
        "",
        "Made by `make reference` from `services/trivet/kernel/catalogue.py` and the comments of",
        "`protos/trivet/error/v1/error_reason.proto`: change those, not this page.",
        "",
        'Over REST an error is `{"error": {"message", "type", "param", "code"}}` with the HTTP status; `param` is the path of the',
        "field at fault (`mcp_servers[0].url`) or null. Over gRPC it is a `google.rpc.Status` with one `ErrorInfo` (domain",
        "`trivet`, the reason, its metadata), a `BadRequest` violation where a field is at fault, and a `RetryInfo` where the time to",
        "wait is known. *Again* says whether the same request may succeed when it is sent again. How errors travel in the middle of",
        "a stream is told in [contract.md](contract.md#errors).",
        "",
        "| Reason | HTTP | gRPC | `type` | `code` | Again |",
        "| --- | --- | --- | --- | --- | --- |",
    ]


def _error_row(reason: str, row: Row) -> str:
    # GitHub's anchor of a heading is its text in lower case.
    code = f"`{row.openai_code}`" if row.openai_code else "null"
    status = "the upstream's" if reason == "UPSTREAM_REJECTED" else str(row.http_status)
    again = "yes" if row.retryable else "no"
    return f"| [`{reason}`](#{reason.lower()}) | {status} | `{row.grpc_code.name}` | `{row.openai_type}` | {code} | {again} |"


def _reasons() -> Iterator[str]:
    for reason in TABLE:
        prose, _, example = _prose_of(reason).partition("\n\n")
        yield from (f"### {reason}", "", *textwrap.wrap(prose, 120), "", "```json", textwrap.dedent(example), "```", "")


def _prose_of(reason: str) -> str:
    return contract_prose()[f"trivet.error.v1.ErrorReason.ERROR_REASON_{reason}"]


# ---- the configuration -----------------------------------------------------------------------------------------------


def configuration_page(page: str) -> str:
    """`page`, the text of docs/configuration.md, with fresh tables in the place of the old ones."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_tables()}\n{END}{after}"


def keys(model: type[BaseModel] = Config, path: str = "") -> Iterator[str]:
    """The path of every key that a configuration file may have, `[]` standing for any element of a list."""
    for name, field in model.model_fields.items():
        inner, mark = _section(field)
        here = f"{path}{field.alias or name}"
        if inner is None:
            yield here
        else:
            yield from keys(inner, f"{here}{mark}.")


def _tables() -> str:
    sections: list[str] = []
    fields = {field.alias or name: field for name, field in Config.model_fields.items()}
    assert set(_ORDER) == set(fields), "the order of the page is not of these sections"
    for key in _ORDER:
        field = fields[key]
        section, mark = _section(field)
        assert section is not None, f"{key} is not a section"
        sections += [f"### `{key}`", "", _prose(section), ""]
        sections += ["| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        sections += [*_rows(section, f"{key}{mark}."), ""]
    return "\n".join(sections)


def _rows(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section, mark = _section(field)
        if section is not None:
            yield from _rows(section, f"{path}{name}{mark}.")
            continue
        meaning = _meaning(model, name)
        assert meaning, f"{model.__name__}.{name} has no docstring below it"
        cells = (f"`{path}{name}`", _type(field), _default(field), meaning)
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _section(field: FieldInfo) -> tuple[type[BaseModel] | None, str]:
    """The model of a field that holds more keys, and `[]` if it holds a list of such; None for a plain value."""
    annotation = _without_none(field.annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    element = typing.get_args(annotation)[0] if typing.get_origin(annotation) is tuple else None
    return (element, "[]") if isinstance(element, type) and issubclass(element, BaseModel) else (None, "")


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    (kind,) = (member for member in typing.get_args(annotation) if member is not type(None))
    return _without_none(typing.get_args(kind)[0]) if typing.get_origin(kind) is typing.Annotated else kind


def _type(field: FieldInfo) -> str:
    annotation = _without_none(field.annotation)
    return ", ".join([_kind(annotation), *(rule for each in field.metadata for rule in _rules(each))])


def _rules(constraint: Any) -> Iterator[str]:
    if type(constraint) in _BOUNDS:
        name, text = _BOUNDS[type(constraint)]
        yield text.format(f"{getattr(constraint, name):g}")
    elif pattern := getattr(constraint, "pattern", None):
        yield f"matching `{pattern}`"


def _kind(annotation: Any) -> str:
    match typing.get_origin(annotation):
        case typing.Literal:
            return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
        case typing.Annotated:
            return _kind(typing.get_args(annotation)[0])
        case origin if origin is tuple:
            return f"list of {_kind(typing.get_args(annotation)[0])}"
        case origin if origin is dict:
            return f"name to {_kind(typing.get_args(annotation)[1])}"
    return _KINDS[annotation]


def _default(field: FieldInfo) -> str:
    match field.default:
        case default if default is PydanticUndefined:
            return "required"
        case None:
            return "absent"
        case () | {}:
            return "none"
        case bool(flag):
            return f"`{str(flag).lower()}`"
        case tuple(values):
            return f"`{list(values)}`"
        case float(number):
            return f"`{number:g}`"
        case default:
            return f"`{default}`"


def _prose(model: type[BaseModel]) -> str:
    return _one_line(inspect.cleandoc(model.__doc__ or ""))


def _meaning(model: type[BaseModel], name: str) -> str:
    """The docstring below a field, wherever in the line of classes it stands; "" where there is none."""
    for owner in model.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            assert isinstance(tree, ast.ClassDef)
            for field, below in zip(tree.body, tree.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id == name:
                    return _one_line(ast.literal_eval(below.value)) if _is_text(below) else ""
    return ""


def _is_text(node: ast.stmt) -> typing.TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    ERRORS.write_text(errors_page(), encoding="utf-8")
    CONFIGURATION.write_text(configuration_page(CONFIGURATION.read_text(encoding="utf-8")), encoding="utf-8")
