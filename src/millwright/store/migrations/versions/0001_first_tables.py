"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table of the first release."""
    op.create_table(
        "datasets",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        sa.Column("dataset", sa.String, sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("accuracy", sa.Float),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_table(
        "aliases",
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("version", sa.String, sa.ForeignKey("versions.name"), nullable=False),
        sa.Column("changed_at", sa.String, nullable=False),
    )
    op.create_table(
        "alias_changes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("previous", sa.String),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_at", sa.String, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("ask", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index("predictions_by_subject", "predictions", ["subject"])
    op.create_table(
        "opinions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("prediction", sa.String, sa.ForeignKey("predictions.id"), nullable=False),
        sa.Column("label", sa.String),
        sa.Column("rating", sa.Integer),
        sa.Column("comment", sa.Text),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index("opinions_by_prediction", "opinions", ["prediction"])
    op.create_table(
        "proposed_rows",
        sa.Column("prediction", sa.String, sa.ForeignKey("predictions.id"), primary_key=True),
        sa.Column("opinion", sa.String, sa.ForeignKey("opinions.id"), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("split", sa.String, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
    )
    op.create_table(
        "turns",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("record", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Remove every table."""
    for table in (
        "turns",
        "proposed_rows",
        "opinions",
        "predictions",
        "alias_changes",
        "aliases",
        "versions",
        "datasets",
    ):
        op.drop_table(table)
