"""Responses with their items, events and steps, the queue, conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _responses()
    _held_items()
    _runs()
    _conversations()


def _responses() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.Column("previous_id", sa.Text),
        sa.Column("conversation_id", sa.Text),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
    )
    op.create_index("responses_by_age", "responses", ["created_at", "gone", "size"])
    for name, column, which in (
        ("responses_by_previous", "previous_id", "previous_id IS NOT NULL"),
        ("responses_by_expiry", "expires_at", "expires_at > 0"),
    ):
        op.create_index(name, "responses", [column], sqlite_where=sa.text(which), postgresql_where=sa.text(which))


def _held_items() -> None:
    op.create_table(
        "held_items",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("item_id", sa.LargeBinary, nullable=False),
    )
    op.create_index("held_items_by_response", "held_items", ["response_id"])
    op.create_index("held_items_by_id", "held_items", ["owner", "item_id", "position"])


def _runs() -> None:
    op.create_table(
        "work",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("response_id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("runner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    op.create_index("work_by_runner", "work", ["runner"])
    op.create_table(
        "events",
        sa.Column("response_id", sa.Text, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "steps",
        sa.Column("response_id", sa.Text, primary_key=True),
        sa.Column("name", sa.LargeBinary, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
    )
    op.create_index("conversations_by_age", "conversations", ["touched_at", "size"])
    op.create_table(
        "items",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("conversation_id", "id", name="items_by_id"),
    )
    op.create_index("items_by_owner", "items", ["owner", "id"])
