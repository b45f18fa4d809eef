"""A quick look at whether a structured result is what its tool promises, for the schemas that are simple: most are."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Check = Callable[[Any], bool]

_SAY_NOTHING: Final = frozenset({"$schema", "default", "deprecated", "description", "examples", "title"})
_UNDERSTOOD: Final = _SAY_NOTHING | {"additionalProperties", "anyOf", "items", "properties", "required", "type"}
_OF_TYPE: Final[Mapping[str, Check]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def surely(schema: Any) -> Check:
    """A check that is true only for values that are valid by the JSON schema. That it is false says nothing: look closer then."""
    if isinstance(schema, bool):
        return _as_said(schema)
    if isinstance(schema, dict) and schema.keys() <= _UNDERSTOOD:
        return _all(_checks(schema))
    return _as_said(False)


def _checks(keywords: Mapping[str, Any]) -> list[Check]:
    checks: list[Check] = []
    for keyword, said in keywords.items():
        match keyword, said:
            case "type", str() if said in _OF_TYPE:
                checks.append(_OF_TYPE[said])
            case "anyOf", [_, *_]:
                checks.append(_any([surely(choice) for choice in said]))
            case "items", _:
                checks.append(_each(surely(said)))
            case "required", list() if all(isinstance(name, str) for name in said):
                checks.append(_has(frozenset(said)))
            case "properties", dict():
                rest = surely(keywords.get("additionalProperties", True))
                checks.append(_of_properties({name: surely(of) for name, of in said.items()}, rest))
            case "additionalProperties", _ if "properties" in keywords:
                pass
            case _ if keyword in _SAY_NOTHING:
                pass
            case _:
                return [_as_said(False)]
    return checks


def _as_said(truth: bool) -> Check:
    return lambda _: truth


def _all(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def valid(value: Any) -> bool:
        for check in checks:  # noqa: SIM110 - `all` would make a generator, for two or three checks
            if not check(value):
                return False
        return True

    return valid


def _any(checks: list[Check]) -> Check:
    return lambda value: any(check(value) for check in checks)


def _each(check: Check) -> Check:
    return lambda value: not isinstance(value, list) or all(map(check, value))


def _has(names: frozenset[str]) -> Check:
    return lambda value: not isinstance(value, dict) or names <= value.keys()


def _of_properties(checks: Mapping[str, Check], rest: Check) -> Check:
    def valid(value: Any) -> bool:
        if isinstance(value, dict):
            for name, inner in value.items():
                if not checks.get(name, rest)(inner):
                    return False
        return True

    return valid
