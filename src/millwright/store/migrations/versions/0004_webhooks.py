"""Messages to other systems wait here until they arrive."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the outbox."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.String),
        sa.Column("delivered_at", sa.String),
        sa.Column("error", sa.String),
    )
    op.create_index("outbox_by_next_at", "outbox", ["next_at"])


def downgrade() -> None:
    """Remove it again."""
    op.drop_index("outbox_by_next_at", "outbox")
    op.drop_table("outbox")
