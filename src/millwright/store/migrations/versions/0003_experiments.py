"""Traffic, experiments, richer opinions, the review queue, drift."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NEW_COLUMNS = {
    "predictions": (
        ("traffic", sa.Integer),
        ("arm", sa.String),
        ("propensity", sa.Float),
        ("unit", sa.String),
        ("seconds", sa.Float),
    ),
    "opinions": (
        ("key", sa.String),
        ("asked_with", sa.Float),
    ),
}


def upgrade() -> None:
    """Add what experiments, surveys, reviews and drift keep."""
    for table, columns in NEW_COLUMNS.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind))
    op.create_index("predictions_by_traffic", "predictions", ["traffic"])
    op.create_index("opinions_by_key", "opinions", ["key"], unique=True)
    _make_traffic()
    _make_shadows()
    _make_experiments()
    _make_surveys()
    _make_reviews()
    _make_drifts()


def _make_traffic() -> None:
    op.create_table(
        "traffic",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("experiment", sa.String, nullable=False),
        sa.Column("salt", sa.String, nullable=False),
        sa.Column("arms", sa.JSON, nullable=False),
        sa.Column("shadows", sa.JSON, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("ended_at", sa.String),
    )
    op.create_table(
        "failures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("traffic", sa.Integer, nullable=False),
        sa.Column("arm", sa.String, nullable=False),
        sa.Column("propensity", sa.Float, nullable=False),
        sa.Column("unit", sa.String),
        sa.Column("subject", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index("failures_by_subject", "failures", ["subject"])


def _make_shadows() -> None:
    op.create_table(
        "shadows",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("prediction", sa.String, sa.ForeignKey("predictions.id"), nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("seconds", sa.Float),
        sa.Column("failure", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("shadows_by_prediction", "shadows", ["prediction"])


def _make_experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("ended_at", sa.String),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("experiment", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.Column("is_applied", sa.Boolean, nullable=False),
        sa.Column("decided_at", sa.String, nullable=False),
    )


def _make_surveys() -> None:
    op.create_table(
        "survey_asks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("prediction", sa.String, sa.ForeignKey("predictions.id"), nullable=False),
        sa.Column("survey", sa.String, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("is_asked", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index("survey_asks_by_prediction", "survey_asks", ["prediction", "survey"], unique=True)


def _make_reviews() -> None:
    op.create_table(
        "review_items",
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("review_items_by_subject", "review_items", ["subject"])
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("annotator", sa.String, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("is_undone", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("annotations_by_item", "annotations", ["item"])
    op.create_index("annotations_by_subject", "annotations", ["subject"])
    op.create_table(
        "gold",
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def _make_drifts() -> None:
    op.create_table(
        "drifts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("checked_at", sa.String, nullable=False),
    )


def downgrade() -> None:
    """Refuse, as the revision below it does: restore a backup from before it instead."""
    raise NotImplementedError("what users said since 0003 has no place before it; restore a backup instead")
