"""The comments of the proto files, which descriptors at run time do not carry."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import orjson

from trivet.rest.v1 import annotations_pb2


@cache
def contract_prose() -> Mapping[str, str]:
    """The comment of each message, field, service and method of the contract, by full name; Markdown."""
    # Generated, and shipped, beside the generated code.
    path = Path(annotations_pb2.__file__).parents[2] / "prose.json"
    prose: dict[str, str] = orjson.loads(path.read_bytes())
    return prose
