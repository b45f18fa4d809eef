"""Inserts many rows, with nothing but a statement's text between them and the driver.

SQLAlchemy takes longer for a small statement than SQLite does for several rows; and with each statement SQLite's driver hands the
interpreter to other threads and has to get it back. So there are few statements, of some rows each.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table

_TOGETHER = (500, 64, 8, 1)
"""The numbers of rows that statements insert: few numbers, so that few statements have to be prepared."""

Row = tuple[Any, ...]


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, new_only: bool = False
) -> None:
    """Insert rows that have the values of these columns, as the database keeps them.

    `new_only`: those whose key is there already are left out; otherwise they make it raise IntegrityError.
    """
    done = 0
    for together in _TOGETHER:
        while len(rows) - done >= together:
            values = tuple(chain.from_iterable(rows[done : done + together]))
            statement = _insertion(connection.dialect.name, table.name, columns, together)
            connection.exec_driver_sql(f"{statement} ON CONFLICT DO NOTHING" if new_only else statement, values)
            done += together


@cache
def _insertion(dialect: str, table: str, columns: tuple[str, ...], rows: int) -> str:
    width = len(columns)
    marks = [f"${number + 1}" if dialect == "postgresql" else "?" for number in range(rows * width)]
    each = ", ".join(f"({', '.join(marks[start : start + width])})" for start in range(0, len(marks), width))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {each}"  # noqa: S608 - names of ours
