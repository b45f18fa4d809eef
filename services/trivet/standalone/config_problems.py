"""Turns what pydantic finds wrong with a configuration into problems that say where, what, and what to do."""

import re
import types
import typing
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from trivet.standalone.yaml_source import Document, Path, Problem

_QUOTED = re.compile(r"'([^']*)'")


def problems_of(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """One problem for each error. No value of the file is repeated in a message: it may be a secret."""
    found = [(_path(details["loc"]), details) for details in error.errors(include_url=False)]
    return [
        Problem(document.position(path), _message(path, details, model))
        for path, details in found
        if details["type"] != "too_short" or not _is_within(path, [other for other, _ in found])
    ]


def _is_within(path: Path, others: list[Path]) -> bool:
    """Whether one of the others stands inside `path`: a list whose only element is wrong is not empty as well."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def dotted(path: Path) -> str:
    """`("providers", 0, "base_url")` as it is spoken of: `providers[0].base_url`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _path(loc: tuple[int | str, ...]) -> Path:
    return tuple(part for part in loc if part != "[key]")


def _message(path: Path, details: Any, model: type[BaseModel]) -> str:
    where = f"`{dotted(path)}`: " if path else ""
    match details["type"]:
        case "extra_forbidden":
            known = _keys(model, path[:-1])
            return f"unknown key `{path[-1]}`{_did_you_mean(str(path[-1]), known)}"
        case "missing":
            return f"`{dotted(path)}` is missing"
        case "literal_error":
            known = _QUOTED.findall(details["ctx"]["expected"])
            return f"{where}must be {details['ctx']['expected']}{_did_you_mean(str(details['input']), known, listed=True)}"
        case "string_type" if isinstance(details["input"], int | float):
            return f"{where}must be text: put it in quotes"
        case "model_type" | "dict_type":
            return f"{where}must be keys with values, as in `key: value`"
        case "tuple_type":
            return f"{where}must be a list"
        case "too_short":
            least = details["ctx"]["min_length"]
            return f"{where}must have at least {least} element{'s' if least > 1 else ''}"
        case "value_error":
            return f"{where}{details['ctx']['error']}"
        case _:
            message: str = details["msg"]
            return f"{where}{message[:1].lower()}{message[1:]}"


def _did_you_mean(word: str, known: list[str], *, listed: bool = False) -> str:
    if close := get_close_matches(word, known, n=1, cutoff=0.6):
        return f": did you mean `{close[0]}`?"
    if known and not listed:
        return f": known here are {', '.join(f'`{name}`' for name in known)}"
    return ""


def _keys(annotation: Any, path: Path) -> list[str]:
    """The keys of the model that `path` leads to, starting from `annotation`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _keys(typing.get_args(annotation)[0], path)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [key for member in typing.get_args(annotation) for key in _keys(member, path)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        return _keys(fields.get(str(path[0])), path[1:]) if path else list(fields)
    if path and typing.get_args(annotation):
        # The elements of a tuple, the values of a mapping.
        element = -1 if typing.get_origin(annotation) is dict else 0
        return _keys(typing.get_args(annotation)[element], path[1:])
    return []
