"""The tables of the store. What is big stands last in its row: SQLite finds what stands before without reading it."""

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

# The newest of the migrations, said here so that a start that has nothing to migrate need not import Alembic.
VERSION = "0002"


class Name(TypeDecorator[str]):
    """A name that somebody else chose, kept as bytes: PostgreSQL's texts cannot hold every character."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else encoded(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else value.decode("utf-8", "surrogatepass")


encoded: Callable[[str], bytes] = methodcaller("encode", "utf-8", "surrogatepass")
"""A name as it is kept."""


class Now(FunctionElement[float]):
    """Seconds since 1970 by the clock of the database, the one clock that all processes share."""

    name = "now"
    inherit_cache = True
    type = Float()


@compiles(Now, "sqlite")
def _now_of_sqlite(element: Now, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Now, "postgresql")
def _now_of_postgresql(element: Now, compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) AS double precision)"


metadata = MetaData()

responses = Table(
    "responses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("background", Boolean, nullable=False),
    Column("streamed", Boolean, nullable=False),
    # A tombstone: found by nobody, and there for the history of those that went on from it.
    Column("gone", Boolean, nullable=False),
    Column("previous_id", Text),
    Column("conversation_id", Text),
    Column("expires_at", BigInteger, nullable=False),
    # What it takes together with its events; these are not counted before it has ended.
    Column("size", BigInteger, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
)
Index("responses_by_age", responses.c.created_at, responses.c.gone, responses.c.size)
_PARTIAL = [
    Index("responses_by_previous", responses.c.previous_id, sqlite_where=text("previous_id IS NOT NULL")),
    Index("responses_by_expiry", responses.c.expires_at, sqlite_where=text("expires_at > 0")),
]


def use_postgresql() -> None:
    """Have the indexes of some rows be that in PostgreSQL, too. Said with them, it would have every process import that dialect."""
    for index in _PARTIAL:
        index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


# One row for each response that has not ended, and so a small table: the queue, and who has a claim on what.
work = Table(
    "work",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("response_id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("conversation_id", Text),
    Column("background", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("runner", Text, nullable=False),
    Column("lease_until", Float, nullable=False),
)
Index("work_by_runner", work.c.runner)

events = Table(
    "events",
    metadata,
    Column("response_id", Text, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# The items of responses, their own input and output, by which they are found; what came last has the highest position.
held_items = Table(
    "held_items",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("response_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("item_id", Name, nullable=False),
)
Index("held_items_by_response", held_items.c.response_id)
Index("held_items_by_id", held_items.c.owner, held_items.c.item_id, held_items.c.position)

steps = Table(
    "steps",
    metadata,
    Column("response_id", Text, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    # The position of the next item.
    Column("end", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
)
Index("conversations_by_age", conversations.c.touched_at, conversations.c.size)

items = Table(
    "items",
    metadata,
    Column("conversation_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    # That of the conversation.
    Column("owner", Text, nullable=False),
    Column("id", Name, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("conversation_id", "id", name="items_by_id"),
)
Index("items_by_owner", items.c.owner, items.c.id)

# One row for each call to a model. Money is in units of 10^-12 US dollars, so that prices per token are whole numbers.
usage = Table(
    "usage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("caller", Name, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Name, nullable=False),
    Column("provider", Text, nullable=False),
    Column("provider_type", Text, nullable=False),
    Column("upstream_model", Name, nullable=False),
    Column("status", Integer, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("total_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    # All null where the target did not tell.
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_pico", BigInteger),
    Column("unpriced", Boolean, nullable=False),
    Column("request_id", Name, nullable=False),
    Column("attempts", LargeBinary, nullable=False),
)
Index("usage_by_time", usage.c.started_ms, usage.c.id)
Index("usage_by_caller", usage.c.caller, usage.c.started_ms, usage.c.id)

usage_metadata = Table(
    "usage_metadata",
    metadata,
    Column("usage_id", Text, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("value", Name, nullable=False),
)
