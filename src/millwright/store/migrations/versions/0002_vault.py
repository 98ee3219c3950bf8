"""What people said is sealed; consents, restrictions, erasures and keys for the service have tables.

A migration has no keys: what stood in the clear moves to `clear_rows`, which the vault seals when it is first
opened and then scrubs from the file.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

CLEAR = {
    "predictions": ("id", "'text', text, 'label', label, 'probability', probability, 'subject', subject"),
    "opinions": ("id", "'label', label, 'rating', rating, 'comment', comment"),
    "proposed_rows": ("prediction", "'text', text, 'label', label, 'subject', subject"),
}
OWNER = {
    "predictions": "subject",
    "opinions": "(SELECT subject FROM predictions WHERE predictions.id = opinions.prediction)",
    "proposed_rows": "subject",
}
DROPPED = {
    "predictions": ("text", "label", "probability"),
    "opinions": ("label", "rating", "comment"),
    "proposed_rows": ("text", "label"),
}


def upgrade() -> None:
    """Move what stands in the clear aside, and make the new tables."""
    op.create_table(
        "clear_rows",
        sa.Column("table", sa.String, primary_key=True),
        sa.Column("row", sa.String, primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.add_column("opinions", sa.Column("subject", sa.String))
    op.add_column("opinions", sa.Column("has_label", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE opinions SET has_label = label IS NOT NULL")
    for table, (key, content) in CLEAR.items():
        owned = f"json_object('owner', {OWNER[table]}, {content})"
        op.execute(f"INSERT INTO clear_rows SELECT '{table}', {key}, {owned} FROM {table}")
        op.add_column(table, sa.Column("sealed", sa.LargeBinary))
    for table, columns in DROPPED.items():
        op.execute(f"UPDATE {table} SET subject = NULL")
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    op.create_index("opinions_by_subject", "opinions", ["subject"])
    op.create_index("proposed_rows_by_subject", "proposed_rows", ["subject"])
    _make_consent_tables()
    _make_erasure_tables()
    _make_key_table()


def _make_consent_tables() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("legal_basis", sa.String, nullable=False),
        sa.Column("text_sha256", sa.String),
        sa.Column("text_version", sa.String),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("is_separate", sa.Boolean, nullable=False),
        sa.Column("granted_at", sa.String, nullable=False),
        sa.Column("withdrawn_at", sa.String),
    )
    op.create_index("consents_by_subject", "consents", ["subject"])
    op.create_table(
        "restrictions",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("since", sa.String, nullable=False),
    )


def _make_erasure_tables() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("finished_at", sa.String),
        sa.Column("record", sa.JSON, nullable=False),
    )
    op.create_table(
        "retired",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("successor", sa.String),
        sa.Column("erasure", sa.String, nullable=False),
        sa.Column("retired_at", sa.String, nullable=False),
    )


def _make_key_table() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String),
        sa.Column("revoked_at", sa.String),
        sa.Column("last_used_at", sa.String),
    )


def downgrade() -> None:
    """Refuse: what is sealed cannot be written in the clear again without its keys."""
    raise NotImplementedError("rows are sealed since 0002; restore a backup from before it instead")
