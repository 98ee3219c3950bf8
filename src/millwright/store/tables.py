"""The tables of a project's database. Migrations in `migrations/` bring old databases to this shape."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
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

# What people said and what was predicted for them is sealed: only the vault opens `sealed`, which is JSON,
# and `subject` is a keyed pseudonym.
predictions = Table(
    "predictions",
    metadata,
    Column("id", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("subject", String),
    Column("ask", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Column("sealed", LargeBinary),  # text, label, probability, subject
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
    Column("created_at", String, nullable=False),
    Column("subject", String),
    Column("has_label", Boolean, nullable=False, server_default=false()),
    Column("sealed", LargeBinary),  # what the user said, and the key
    Index("opinions_by_prediction", "prediction"),
    Index("opinions_by_subject", "subject"),
    Column("key", String),  # a pseudonym too
    Column("asked_with", Float),
    Index("opinions_by_key", "key", unique=True),
)

proposed_rows = Table(
    "proposed_rows",
    metadata,
    Column("prediction", String, ForeignKey("predictions.id"), primary_key=True),
    Column("opinion", String, ForeignKey("opinions.id"), nullable=False),
    Column("subject", String),
    Column("split", String, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("sealed", LargeBinary),  # text, label, subject
    Index("proposed_rows_by_subject", "subject"),
)

# Rows that an older release left in the clear wait here, from the migration until the vault is opened.
clear_rows = Table(
    "clear_rows",
    metadata,
    Column("table", String, primary_key=True),
    Column("row", String, primary_key=True),
    Column("content", JSON, nullable=False),
)

# What stands in texts in place of a value, where `privacy.policies` says "tokenise".
vault_tokens = Table(
    "vault_tokens",
    metadata,
    Column("token", String, primary_key=True),
    Column("lookup", String, nullable=False),  # a keyed hash of person, kind and value
    Column("subject", String),
    Column("created_at", String, nullable=False),
    Column("used_at", String),  # last by the service; null for what files hold
    Column("sealed", LargeBinary, nullable=False),  # entity, value
    Index("vault_tokens_by_lookup", "lookup"),
    Index("vault_tokens_by_subject", "subject"),
)

# Tokens whose value is gone: nothing tells whose they were.
spent_tokens = Table(
    "spent_tokens",
    metadata,
    Column("token", String, primary_key=True),
    Column("reason", String, nullable=False),
)

consents = Table(
    "consents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("subject", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("legal_basis", String, nullable=False),
    Column("text_sha256", String),
    Column("text_version", String),
    Column("channel", String, nullable=False),
    Column("is_separate", Boolean, nullable=False),
    Column("granted_at", String, nullable=False),
    Column("withdrawn_at", String),
    Index("consents_by_subject", "subject"),
)

restrictions = Table(
    "restrictions",
    metadata,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("since", String, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("started_at", String, nullable=False),
    Column("finished_at", String),
    Column("record", JSON, nullable=False),
)

retired = Table(
    "retired",
    metadata,
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("successor", String),
    Column("erasure", String, nullable=False),
    Column("retired_at", String, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("requests_per_minute", Integer),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
    Column("revoked_at", String),
    Column("last_used_at", String),
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
    Index("failures_by_subject", "subject"),
)

shadows = Table(
    "shadows",
    metadata,
    Column("id", String, primary_key=True),
    Column("prediction", String, ForeignKey("predictions.id"), nullable=False),
    Column("version", String, nullable=False),
    Column("subject", String),
    Column("seconds", Float),
    Column("failure", String),
    Column("created_at", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # label, probability
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

review_items = Table(
    "review_items",
    metadata,
    Column("item", String, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("subject", String),
    Column("reason", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # text, given, choices
    Index("review_items_by_subject", "subject"),
)

annotations = Table(
    "annotations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("subject", String),
    Column("reason", String, nullable=False),
    Column("is_undone", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # label
    Index("annotations_by_item", "item"),
    Index("annotations_by_subject", "subject"),
)

gold = Table(
    "gold",
    metadata,
    Column("item", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # text, label
)

drifts = Table(
    "drifts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("record", JSON, nullable=False),
    Column("checked_at", String, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("url", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", String),
    Column("delivered_at", String),
    Column("error", String),
    Index("outbox_by_next_at", "next_at"),
)
