"""YAML as the configuration needs it: every value knows where it stands, and environment variables are filled in.

Variables are filled into scalars after parsing, so what they hold is always text and never YAML.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

Path = tuple[str | int, ...]
"""Where a value stands in the document: `("providers", 0, "base_url")`."""

_MOST_VALUES = 100_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?P<default>:-(?P<text>[^}]*))?\}|\$\{")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file, counted from one as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file, and where."""

    position: Position
    message: str


@dataclass(slots=True)
class Document:
    """The plain values of a file, where each of them stands, and what was wrong in reading it."""

    data: object = None
    positions: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: Path) -> Position:
        """Where `path` stands, or the nearest thing around it that is in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Position(1, 1))


class _Loader(yaml.SafeLoader):
    """Plain scalars as YAML 1.2 means them: `on` and `12:30` are text here, where YAML 1.1 makes true and 750 of them."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(text: str, environ: Mapping[str, str]) -> Document:
    """The document in `text` with the variables of `environ` filled in; what is wrong with it is in its `problems`."""
    document = Document()
    try:
        root = _Loader(text).get_single_node()
        document.data = None if root is None else _Reader(document, environ).value(root, ())
    except RecursionError:
        document.problems.append(Problem(Position(1, 1), "nested too deep"))
    except _TooMany:
        document.problems.append(Problem(Position(1, 1), f"more than {_MOST_VALUES} values, with what aliases repeat"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        document.problems.append(Problem(place, f"not YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        document.problems.append(Problem(Position(1, 1), f"not YAML: {getattr(error, 'reason', error)}"))
    return document


class _TooMany(Exception):  # noqa: N818 - says what happened
    """A file has more values than a configuration can have: aliases of aliases make a few lines as large as anyone likes."""


class _Reader:
    """Makes plain values of nodes, and notes positions and problems on the way."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: Path) -> object:
        self._document.positions.setdefault(path, _position(node))
        if len(self._document.positions) > _MOST_VALUES:
            raise _TooMany
        if any(node is outer for outer in self._open):
            return self._problem(path, "an alias must not stand inside what it names")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(element, (*path, index)) for index, element in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, "a key must be plain text")
            elif key in result:
                first = self._document.positions[*path, key]
                self._note(key_node, f"duplicate key `{key}`: it stands in line {first.line} already")
            else:
                self._document.positions[*path, key] = _position(key_node)
                result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return self._filled_in(text, path)
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
            case _:
                return self._problem(path, f"the tag `{node.tag}` means nothing here")

    def _filled_in(self, text: str, path: Path) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name = match["name"]
            if name is None or not _NAME.fullmatch(name):
                self._problem(path, "`${` opens a variable, as in ${NAME} or ${NAME:-default}; write `$${` for the text itself")
                return ""
            value = self._environ.get(name)
            if match["default"] is not None:
                # As in a shell: the default stands in for an empty value, too.
                return value or match["text"]
            if value is None:
                self._problem(path, f"the environment variable `{name}` is not set: set it, or write ${{{name}:-default}}")
                return ""
            return value

        return _REFERENCE.sub(fill, text)

    def _problem(self, path: Path, message: str) -> object:
        """Notes the problem, and gives what stands in for the value that could not be read."""
        self._document.problems.append(Problem(self._document.positions[path], message))
        return None

    def _note(self, node: yaml.Node, message: str) -> None:
        self._document.problems.append(Problem(_position(node), message))


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
