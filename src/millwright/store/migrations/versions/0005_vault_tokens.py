"""Reversible tokens: their values, sealed, and which of them have none any more."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add both tables."""
    op.create_table(
        "vault_tokens",
        sa.Column("token", sa.String, primary_key=True),
        sa.Column("lookup", sa.String, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("used_at", sa.String),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("vault_tokens_by_lookup", "vault_tokens", ["lookup"])
    op.create_index("vault_tokens_by_subject", "vault_tokens", ["subject"])
    op.create_table(
        "spent_tokens",
        sa.Column("token", sa.String, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Refuse: texts hold tokens whose values would be lost; restore a backup from before it instead."""
    raise NotImplementedError("tokens in texts would lose their values; restore a backup instead")
