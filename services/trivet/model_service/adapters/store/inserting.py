"""Inserts many rows, with nothing but a statement's text between them and the driver.

SQLAlchemy takes longer for a small statement than SQLite does for several rows, so that is given to its driver itself; and with each
statement the driver hands the interpreter to other threads and has to get it back, so there are few statements, of some rows each.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table

_TOGETHER = (128, 16)
"""The numbers of rows that statements insert, and any that is less than the last: not more, for each has to be prepared once, and is
kept; one of 500 rows takes 1.5 MB."""

Row = tuple[Any, ...]


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, new_only: bool = False
) -> None:
    """Insert rows that have the values of these columns, as the database keeps them.

    `new_only`: those whose key is there already are left out; otherwise they make it raise the IntegrityError of the driver, or
    SQLAlchemy's.
    """
    if not rows:
        return
    insert = _inserter(connection)
    done = 0
    while left := len(rows) - done:
        together = next((number for number in _TOGETHER if number <= left), left)
        values = tuple(chain.from_iterable(rows[done : done + together]))
        statement = _insertion(connection.dialect.name, table.name, columns, together)
        insert(f"{statement} ON CONFLICT DO NOTHING" if new_only else statement, values)
        done += together


def _inserter(connection: Connection) -> Callable[[str, Row], Any]:
    if connection.dialect.name != "sqlite":
        return connection.exec_driver_sql
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver.execute


@cache
def _insertion(dialect: str, table: str, columns: tuple[str, ...], rows: int) -> str:
    width = len(columns)
    marks = [f"${number + 1}" if dialect == "postgresql" else "?" for number in range(rows * width)]
    each = ", ".join(f"({', '.join(marks[start : start + width])})" for start in range(0, len(marks), width))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {each}"  # noqa: S608 - names of ours
