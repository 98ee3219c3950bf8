"""millwright.toml as pydantic models: every key, its default, its limits. An unknown key is an error.

The comments that `millwright new` writes above each key are the field descriptions below: one source.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from millwright.errors import BadInput, BadSetting, NotFound, one_of
from millwright.records import JsonObject

MINILM = "minilm"
FILENAME = "millwright.toml"

Task = Literal["text-classification", "token-classification"]
SPANS: Task = "token-classification"

Method = Literal["auto", "head", "private-head", "private-lora", "top", "full", "lora", "adalora", "adapter"]
FROZEN = ("head", "private-head")  # methods that leave the backbone as it was
PRIVATE = ("private-head", "private-lora")  # methods under differential privacy

Runtime = Literal["auto", "torch", "openvino-float32", "openvino-bfloat16", "openvino-int8"]

LoggedRequests = Literal["errors", "requests"]

Policy = Literal["keep", "mask", "surrogate", "pseudonymise", "tokenise"]

Entity = Literal[
    "PERSON", "ADDRESS", "POSTCODE", "EMAIL_ADDRESS", "PHONE_NUMBER", "URL", "IP_ADDRESS", "IBAN_CODE",
    "CREDIT_CARD", "ACCOUNT_NUMBER", "US_SSN", "NATIONAL_ID", "CN_RESIDENT_ID", "CN_SOCIAL_CREDIT_CODE",
    "PASSPORT", "DRIVER_LICENSE", "LICENSE_PLATE", "DATE_OF_BIRTH", "SECRET", "ORGANIZATION", "LOCATION",
    "NATIONALITY", "DATE", "AGE", "TITLE",
]  # fmt: skip
Consent = Literal["not-required", "opt-out", "opt-in"]


class Section(BaseModel):
    """One table of millwright.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSection(Section):
    """[project]: what the project is."""

    name: str = Field("project", description="What the project is called, in reports and model cards.")
    task: Task = Field(
        "text-classification",
        description='What a model does: "text-classification", or "token-classification", which finds spans.',
    )


class DataSection(Section):
    """[data]: where the rows come from and how they are split."""

    files: list[str] = Field([], description="Labelled files: CSV, TSV, JSONL or Parquet, gzipped or not.")
    test_files: list[str] = Field([], description="Labelled files that are only ever tested on.")
    text: str = Field("text", description="Column with the input.")
    label: str = Field("label", description="Column with the right answer.")
    group: str | None = Field(None, description="Column whose rows stay together, in one split.")
    subject: str | None = Field(None, description="Column that names the person whose data the row is.")
    slices: list[str] = Field([], description="Columns by which quality is reported separately.")
    validation_share: float = Field(
        0.1, ge=0.02, le=0.5, description="Share of groups that choose settings and calibrate."
    )
    test_share: float = Field(
        0.15, ge=0, le=0.5, description="Share of groups that only measure. 0 when test_files are given."
    )
    split_seed: int = Field(
        0, ge=0, description="Which hash assigns groups to splits. Changing it mixes train and test!"
    )
    near_duplicate_similarity: float = Field(
        0.85,
        gt=0.3,
        le=1,
        description="Jaccard similarity of words and pairs of words that makes near duplicates.",
    )
    max_characters: int = Field(
        20_000, ge=100, description="Longer texts are excluded, and listed; longer inputs are refused."
    )


class BackboneSection(Section):
    """[backbone]: the pretrained network."""

    name: str = Field(
        MINILM,
        description='"minilm" (built in), an id on the Hugging Face Hub, or a folder (from the project\'s).',
    )
    max_tokens: int = Field(128, ge=8, le=8192, description="Longer inputs are cut after this many tokens.")


class TrainSection(Section):
    """[train]: how a version is made."""

    method: Method = Field(
        "auto",
        description='"auto", "head", "top", "full", "lora", "adalora", "adapter", "private-head" or '
        '"private-lora".',
    )
    seed: int = Field(0, ge=0, description="Seed of everything random in training.")
    epochs: int | None = Field(
        None, ge=1, le=1000, description="Maximum passes over rows. Unset: 4, or 3 with 5,000 rows or more."
    )
    patience: int = Field(2, ge=1, description="Epochs without a better validation loss before stopping.")
    batch_size: int | None = Field(
        None, ge=1, le=4096, description="Rows per step. Unset: 32, or 64 with 5,000 rows or more."
    )
    learning_rate: float | None = Field(
        None, gt=0, lt=1, description="Peak rate of what moves in the backbone. Unset: fits method and batch."
    )
    top_layers: int = Field(2, ge=1, description="How many last layers top and private-lora train.")
    rank: int = Field(8, ge=1, le=512, description="Rank of LoRA, target rank of AdaLoRA.")
    adapter_size: int = Field(48, ge=1, le=4096, description="Width of the bottleneck of an adapter.")
    epsilon: float = Field(
        3.0, gt=0, le=100, description="Privacy budget of a private method, per person; less tells less."
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of a target spread over all labels.")
    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="Shards, by person, trained separately: an erasure retrains one. A head has none.",
    )
    cache_bytes: int = Field(
        4_000_000_000, ge=0, description="Bytes that cached states may take; the longest unused go first."
    )


class ServeSection(Section):
    """[serve]: the HTTP service and its limits."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="Largest request body.")
    max_inputs: int = Field(256, ge=1, description="Most inputs in one request.")
    queue_size: int = Field(2_048, ge=1, description="Inputs that may wait; more are refused with 429.")
    deadline_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="A request not answered by then is refused with 504, one not whole by then with 408.",
    )
    runtime: Runtime = Field(
        "auto",
        description='"auto" measures when a version is promoted and takes the fastest that agrees; or one of '
        '"torch", "openvino-float32", "openvino-bfloat16", "openvino-int8".',
    )
    cache_answers: int = Field(
        0, ge=0, description="Answers kept in memory for inputs that come again; 0 keeps none."
    )
    log: LoggedRequests = Field(
        "errors", description='"requests" writes a line of JSON for each request, "errors" for refused ones.'
    )

    @model_validator(mode="before")
    @classmethod
    def _without_max_batch(cls, tree: Any) -> Any:
        """Read files of earlier releases, which had a key for what 64 is for all."""
        if isinstance(tree, dict) and tree.get("max_batch") == 64:
            return {key: value for key, value in tree.items() if key != "max_batch"}
        return tree


class TurnSection(Section):
    """[turn]: when a challenger is promoted."""

    min_rows: int = Field(10, ge=1, description="Fewer new labelled rows than this do not make a turn.")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Highest p-value of the paired test that promotes a challenger."
    )
    max_slice_loss: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Accuracy that a label or slice may be shown to lose in a promotion. 1 lets all pass.",
    )


class RunSection(Section):
    """[run]: when `millwright run` turns the wheel by itself, and how much memory a turn may take."""

    rows: int = Field(100, ge=1, description="A turn starts once users labelled this many new predictions.")
    hours: float | None = Field(
        None, gt=0, description="A turn starts this long after the last one, if turn.min_rows are new."
    )
    decide_by: Literal["users", "rows"] = Field(
        "users",
        description='"users" lets an experiment decide on a challenger, "rows" the held-out rows alone.',
    )
    memory_gib: float | None = Field(
        None, gt=0, description="Maximum memory of a turn, on Linux. Unset: all there is."
    )
    check_seconds: float = Field(
        30.0, gt=0, le=86_400, description="How often a server checks what is due, also in experiments."
    )


class WebhooksSection(Section):
    """[webhooks]: who is told of finished turns, decisions and drift."""

    urls: list[Annotated[str, Field(pattern=r"^https?://[^/\s]+")]] = Field(
        [], description="Where signed messages go: finished turns, decisions of experiments, drift."
    )
    secret: str = Field(
        "file:.millwright/webhook.secret",
        description='What signs them: "file:PATH", made at first use, or "env:NAME".',
    )


class PrivacySection(Section):
    """[privacy]: masking, keys, consent, and how long what people said is kept."""

    mask: bool = Field(
        True, description="Whether personal data is replaced before anything is stored, learnt or answered."
    )
    names: StrictBool | Annotated[str, Field(min_length=1)] = Field(
        True,
        description="Whether names of people, organisations and places are looked for, not patterns alone; "
        "or what looks for them: a token-classification model, by id on the Hugging Face Hub or by folder.",
    )
    policies: dict[Entity, Policy] = Field(
        {},
        description='What becomes of an entity: "keep", "mask", "surrogate", "pseudonymise", "tokenise".',
    )
    master_key: str = Field(
        "file:.millwright/master.key",
        description='What wraps all keys: "file:PATH", "env:NAME", "transit:https://HOST:PORT/KEY" or '
        '"pkcs11:LIBRARY?token=TOKEN&key=KEY".',
    )
    key_store: str = Field(
        ".millwright/keys.db", description="Where wrapped keys are kept; back it up apart from the data."
    )
    seal_datasets: bool = Field(
        False, description="Encrypt the rows of datasets too; then only Millwright reads them."
    )
    consent: Consent = Field(
        "not-required", description='Whose rows may teach: "not-required", "opt-out" or "opt-in".'
    )
    consent_column: str | None = Field(
        None, description="Column of files that says yes or no, or the purposes that a person consents to."
    )
    keep_service_days: int | None = Field(
        None, ge=1, description="Days that predictions and opinions are kept. Unset: until they are erased."
    )
    keep_training_days: int | None = Field(
        None, ge=1, description="Days that rows made of opinions may teach. Unset: until they are erased."
    )


class ExperimentSection(Section):
    """[experiment]: how versions are compared on users."""

    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Chance that an experiment's interval ever misses the effect."
    )
    min_effect: float = Field(
        0.01, ge=0, lt=1, description="Gain of the metric, in [0, 1], that makes a challenger worth it."
    )
    margin: float = Field(0.05, gt=0, lt=1, description="Harm to a guardrail that is tolerated, in [0, 1].")
    window_hours: float = Field(
        24.0,
        gt=0,
        le=2160,
        description="A user's outcome is what is known this long after the first request.",
    )
    max_days: float = Field(28.0, gt=0, le=365, description="Without a decision by then the champion stays.")
    is_automatic: bool = Field(
        True, description="False lets shipping and larger shares wait for `millwright experiment approve`."
    )


class FeedbackSection(Section):
    """[feedback]: whom surveys ask."""

    survey_share: float = Field(0.2, ge=0, le=1, description="Share of predictions after which to ask.")
    survey_days: int = Field(30, ge=0, le=365, description="Days for which a person is not asked again.")


class ReviewSection(Section):
    """[review]: how rows are looked at."""

    annotators: int = Field(1, ge=1, le=20, description="How many people label a row before it counts.")


class Settings(Section):
    """All of millwright.toml."""

    project: ProjectSection = ProjectSection()
    data: DataSection = DataSection()
    backbone: BackboneSection = BackboneSection()
    train: TrainSection = TrainSection()
    serve: ServeSection = ServeSection()
    turn: TurnSection = TurnSection()
    privacy: PrivacySection = PrivacySection()
    experiment: ExperimentSection = ExperimentSection()
    feedback: FeedbackSection = FeedbackSection()
    review: ReviewSection = ReviewSection()
    run: RunSection = RunSection()
    webhooks: WebhooksSection = WebhooksSection()


def read_settings(path: Path) -> Settings:
    """Read and check a millwright.toml.

    Args:
        path: the file.

    Returns:
        The settings, defaults filled in.

    Raises:
        NotFound: there is no such file.
        BadSetting: it cannot be read or is not TOML, or a key is unknown or has a wrong value, which the
            message names.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        hint = "make one with `millwright new NAME --data FILE`"
        raise NotFound(f"no project here: {path} is missing; {hint}") from None
    except OSError as error:
        raise BadSetting(
            f"{path} cannot be read ({error.strerror}); make it a file that you may read"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not valid TOML: {error}; mend that line") from None
    return check_settings(tree, str(path))


def check_settings(tree: dict[str, Any], where: str) -> Settings:
    """Turn a parsed TOML tree into Settings; raise BadSetting naming key, value and remedy."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadSetting(_explain(error, where), field=_key(error.errors()[0]["loc"])) from None


def change_settings(settings: Settings, section: str, **changes: object) -> Settings:
    """Return settings with `changes` (None means unchanged) applied to one section, checked again."""
    tree = settings.model_dump()
    tree[section].update({key: value for key, value in changes.items() if value is not None})
    return check_settings(tree, "command line")


def dump_settings(settings: Settings) -> str:
    """Write settings as TOML text with each key's description as a comment above it."""
    lines = ["# A Millwright project: every key, its meaning above it.", ""]
    for section_name in Settings.model_fields:
        section = getattr(settings, section_name)
        lines += [f"[{section_name}]"]
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            lines.append(f"# {field.description}")
            lines.append(f"# {key} =" if value is None else f"{key} = {to_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def explain_settings(settings: Settings) -> JsonObject:
    """Each key as "section.key" with its value, its default and what it means."""
    return {
        f"{name}.{key}": {
            "value": getattr(section, key),
            "default": field.default,
            "description": field.description,
        }
        for name, section in settings
        for key, field in type(section).model_fields.items()
    }


def to_toml(value: object) -> str:
    """A value as TOML writes it; lists and tables on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _explain(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    key = _key(first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {key} = {first['input']!r} cannot be used: {first['msg'].lower()}"
    section: Any = Settings
    for part in first["loc"][:-1]:
        section = section.model_fields[str(part)].annotation
    try:
        one_of("setting", str(first["loc"][-1]), section.model_fields)
    except NotFound as unknown:
        prefix = f"[{first['loc'][0]}]: " if len(first["loc"]) > 1 else ""
        return f"{where}: {prefix}{unknown}"
    raise AssertionError(f"{key} is known and yet forbidden")


def refuse_spans(settings: Settings, verb: str) -> None:
    """Refuse what knows texts with one label each only where spans are to be found.

    Args:
        settings: `project.task` matters.
        verb: what was asked for, as its user writes it.

    Raises:
        BadInput: the task is to find spans.
    """
    if settings.project.task == SPANS:
        raise BadInput(
            f"{verb} knows texts with one label each, and project.task is {SPANS!r} here; instead, correct "
            "the spans in the files of data.files and run `millwright train`",
            field="project.task",
        )
