"""Usage records."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of usage."""
    op.create_table(
        "usage",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.LargeBinary, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("model", sa.LargeBinary, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_type", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("total_us", sa.BigInteger, nullable=False),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("total_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("cache_write_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("unpriced", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.LargeBinary, nullable=False),
        sa.Column("attempts", sa.LargeBinary, nullable=False),
    )
    op.create_index("usage_by_time", "usage", ["started_ms", "id"])
    op.create_index("usage_by_caller", "usage", ["caller", "started_ms", "id"])
    op.create_table(
        "usage_metadata",
        sa.Column("usage_id", sa.Text, primary_key=True),
        sa.Column("name", sa.LargeBinary, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
