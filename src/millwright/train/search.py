"""Hyperparameter search with Optuna: least log loss on validation rows, test rows untouched."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, MissingExtra
from millwright.progress import Progress
from millwright.records import JsonObject
from millwright.settings import Settings, TrainSection, change_settings
from millwright.store.files import read_json, write_json
from millwright.train.backbones import load_backbone
from millwright.train.fit import fit
from millwright.train.tuned import drop_checkpoints, rate_of

if TYPE_CHECKING:
    from optuna import Trial

SEARCHED = ("top", "full", "lora", "adalora", "adapter")


def search(
    dataset: Dataset, settings: Settings, *, trials: int, kept: Path, progress: Progress
) -> tuple[Settings, JsonObject]:
    """Find better training settings for the project's method; a search that was cut short goes on.

    Args:
        dataset: its training rows teach, its validation rows judge.
        settings: where the search starts; the method stays.
        trials: how many trainings to try.
        kept: the project's `.millwright` folder.
        progress: called with "trial i of n" and the fraction of it done.

    Returns:
        The settings with the best values, and the table of trials.

    Raises:
        BadInput: the method has nothing to search (head chooses by itself), or there are no validation rows.
    """
    method = settings.train.method
    if method not in SEARCHED:
        raise BadInput(
            f"method {method!r} has nothing to search; pass --method {', '.join(SEARCHED)}",
            field="train.method",
        )
    train = dataset.split("train")
    known = {row.label for row in train}
    held = sum(row.label in known for row in dataset.split("validation"))
    if held < 10:
        raise BadInput(f"a search needs 10 validation rows, there are {held}; raise data.validation_share")
    optuna = need_optuna()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.train.seed))
    start = _start(settings.train, len(train))
    study.enqueue_trial(start)
    done = kept / "runs" / f"search-{_key(dataset, settings, kept)}.json"
    losses: dict[str, float] = read_json(done) if done.exists() else {}

    def objective(trial: "Trial") -> float:
        """Log loss of the rows that judge; of a trial that an earlier call finished, as it was then."""
        suggested = _suggest(trial, start)
        tried = change_settings(settings, "train", **suggested) if trial.number else settings
        name = f"trial {trial.number + 1} of {trials}"
        key = json.dumps(trial.params, sort_keys=True)
        if key not in losses:
            fitted = fit(
                dataset, tried, kept=kept, progress=lambda stage, part: progress(f"{name}: {stage}", part)
            )
            # The classifier itself has learnt from the validation rows by now, and would flatter itself.
            losses[key] = fitted.facts["validation_log_loss"]
            write_json(done, losses)
            drop_checkpoints(fitted.runs)
        return losses[key]

    study.optimize(objective, n_trials=trials)
    table = [{**trial.params, "log_loss": trial.value} for trial in study.trials]
    is_start = study.best_trial.number == 0
    best = settings if is_start else change_settings(settings, "train", **study.best_params)
    return best, {"trials": table, "best": study.best_params}


def need_optuna() -> Any:
    """The module optuna; MissingExtra with the pip line where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("a search needs Optuna; run: pip install optuna") from None
    return optuna


def _start(train: TrainSection, rows: int) -> dict[str, Any]:
    """The settings as they are: the first trial, so that a search never ends worse than it began."""
    start: dict[str, Any] = {
        "learning_rate": rate_of(train.method, train, rows),
        "label_smoothing": train.label_smoothing,
    }
    if train.method in ("lora", "adalora"):
        start["rank"] = train.rank
    if train.method == "adapter":
        start["adapter_size"] = train.adapter_size
    return start


def _suggest(trial: "Trial", start: dict[str, Any]) -> dict[str, Any]:
    rate, most = start["learning_rate"], max(0.2, start["label_smoothing"])
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", rate / 5, min(rate * 5, 0.99), log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, most),
    }
    for name, sizes in (("rank", {4, 8, 16}), ("adapter_size", {16, 48, 96})):
        if name in start:
            suggested[name] = trial.suggest_categorical(name, sorted(sizes | {start[name]}))
    return suggested


def _key(dataset: Dataset, settings: Settings, kept: Path) -> str:
    backbone = load_backbone(settings.backbone.name, settings.backbone.max_tokens, kept)
    about = [dataset.id, backbone.reading_sha256, settings.train.model_dump()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
