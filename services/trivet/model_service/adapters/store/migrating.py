"""Brings a database to the tables of this version. Whoever calls holds a lock that keeps other processes out."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from trivet.model_service.adapters.store.schema import VERSION, metadata


class NewerTables(Exception):  # noqa: N818 - says what was found
    """The database was used by a Trivet that is newer than this one."""


def migrate(connection: Connection) -> None:
    """Make or change the tables, in the transaction of `connection`; nothing is done where they are as they should be.

    Raises:
        NewerTables: the tables are of a version that is not known here.
    """
    current = _version(connection)
    if not current:
        _make(connection)
    elif current != VERSION:
        upgrade(connection, current)


def upgrade(connection: Connection, current: str) -> None:
    """Run the migrations that come after the version `current`, or all where it is empty. Raises NewerTables."""
    # Slow to import, and seldom needed.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if current and current not in known:
        raise NewerTables(f"its tables are of version {current}, those of this Trivet of {VERSION}: use a newer Trivet")
    config.attributes["connection"] = connection
    command.upgrade(config, VERSION)


def _make(connection: Connection) -> None:
    """Make the tables as the code knows them, in the place of all the migrations that would come to the same."""
    metadata.create_all(connection, checkfirst=False)
    # As Alembic makes it, which finds there where to go on from.
    connection.execute(
        text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)")
    )
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:version)"), {"version": VERSION})


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""
