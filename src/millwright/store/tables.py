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
    Index("predictions_by_subject", "subject"),
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
    Index("opinions_by_prediction", "prediction"),
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
