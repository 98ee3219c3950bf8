"""The tables of a project's database. Migrations in `migrations/` bring old databases to this shape."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

datasets = Table(
    "datasets",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("rows", Integer, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("name", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("dataset", String, ForeignKey("datasets.id"), nullable=False),
    Column("method", String, nullable=False),
    Column("accuracy", Float),
    Column("created_at", String, nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", String, primary_key=True),
    Column("version", String, ForeignKey("versions.name"), nullable=False),
    Column("changed_at", String, nullable=False),
)

alias_changes = Table(
    "alias_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("alias", String, nullable=False),
    Column("version", String, nullable=False),
    Column("previous", String),
    Column("reason", Text, nullable=False),
    Column("changed_at", String, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("label", String, nullable=False),
    Column("probability", Float, nullable=False),
    Column("subject", String),
    Column("ask", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Column("traffic", Integer),
    Column("arm", String),
    Column("propensity", Float),
    Column("unit", String),
    Column("seconds", Float),
    Index("predictions_by_subject", "subject"),
    Index("predictions_by_traffic", "traffic"),
)

opinions = Table(
    "opinions",
    metadata,
    Column("id", String, primary_key=True),
    Column("prediction", String, ForeignKey("predictions.id"), nullable=False),
    Column("label", String),
    Column("rating", Integer),
    Column("comment", Text),
    Column("created_at", String, nullable=False),
    Column("csat", Integer),
    Column("nps", Integer),
    Column("outcome", String),
    Column("key", String),
    Column("asked_with", Float),
    Index("opinions_by_prediction", "prediction"),
    Index("opinions_by_key", "key", unique=True),
)

proposed_rows = Table(
    "proposed_rows",
    metadata,
    Column("prediction", String, ForeignKey("predictions.id"), primary_key=True),
    Column("opinion", String, ForeignKey("opinions.id"), nullable=False),
    Column("text", Text, nullable=False),
    Column("label", String, nullable=False),
    Column("subject", String),
    Column("split", String, nullable=False),
    Column("turn", Integer, nullable=False),
)

turns = Table(
    "turns",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("record", JSON, nullable=False),
)

traffic = Table(
    "traffic",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("experiment", String, nullable=False),
    Column("salt", String, nullable=False),
    Column("arms", JSON, nullable=False),
    Column("shadows", JSON, nullable=False),
    Column("started_at", String, nullable=False),
    Column("ended_at", String),
)

failures = Table(
    "failures",
    metadata,
    Column("id", String, primary_key=True),
    Column("traffic", Integer, nullable=False),
    Column("arm", String, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("unit", String),
    Column("subject", String),
    Column("kind", String, nullable=False),
    Column("created_at", String, nullable=False),
)

shadows = Table(
    "shadows",
    metadata,
    Column("id", String, primary_key=True),
    Column("prediction", String, ForeignKey("predictions.id"), nullable=False),
    Column("version", String, nullable=False),
    Column("label", String),
    Column("probability", Float),
    Column("seconds", Float),
    Column("failure", String),
    Column("created_at", String, nullable=False),
    Index("shadows_by_prediction", "prediction"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("name", String, primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at", String, nullable=False),
    Column("ended_at", String),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("experiment", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("is_applied", Boolean, nullable=False),
    Column("decided_at", String, nullable=False),
)

survey_asks = Table(
    "survey_asks",
    metadata,
    Column("id", String, primary_key=True),
    Column("prediction", String, ForeignKey("predictions.id"), nullable=False),
    Column("survey", String, nullable=False),
    Column("probability", Float, nullable=False),
    Column("is_asked", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Index("survey_asks_by_prediction", "prediction", "survey", unique=True),
)

annotations = Table(
    "annotations",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("item", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("label", String),
    Column("reason", String, nullable=False),
    Column("is_undone", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Index("annotations_by_item", "item"),
)

gold = Table(
    "gold",
    metadata,
    Column("item", String, primary_key=True),
    Column("text", Text, nullable=False),
    Column("label", String, nullable=False),
    Column("created_at", String, nullable=False),
)

drifts = Table(
    "drifts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("record", JSON, nullable=False),
    Column("checked_at", String, nullable=False),
)
