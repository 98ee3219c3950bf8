"""Hyperparameter search with Optuna: least log loss on validation rows, test rows untouched."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, MissingExtra
from millwright.records import JsonObject
from millwright.settings import Settings, change_settings
from millwright.train.fit import Progress, fit, truth_of
from millwright.train.heads import log_loss
from millwright.train.methods import METHODS

if TYPE_CHECKING:
    from optuna import Trial

SEARCHED = ("top", "full", "lora", "adalora", "adapter")


def search(
    dataset: Dataset, settings: Settings, *, trials: int, kept: Path, progress: Progress
) -> tuple[Settings, JsonObject]:
    """Find better training settings for the project's method.

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
    held = [
        row for row in dataset.split("validation") if row.label in {r.label for r in dataset.split("train")}
    ]
    if len(held) < 10:
        raise BadInput(
            f"a search needs 10 validation rows, there are {len(held)}; raise data.validation_share"
        )
    optuna = need_optuna()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.train.seed))
    study.enqueue_trial({"learning_rate": METHODS[method].learning_rate, "label_smoothing": 0.05})

    def objective(trial: "Trial") -> float:
        tried = change_settings(settings, "train", **_suggest(trial, method))
        name = f"trial {trial.number + 1} of {trials}"
        fitted = fit(
            dataset, tried, kept=kept, progress=lambda stage, done: progress(f"{name}: {stage}", done)
        )
        truth_N = truth_of(held, fitted.classifier.labels)
        return log_loss(fitted.classifier.probabilities([row.text for row in held]), truth_N)

    study.optimize(objective, n_trials=trials)
    table = [{**trial.params, "log_loss": trial.value} for trial in study.trials]
    best = change_settings(settings, "train", **study.best_params)
    return best, {"trials": table, "best": study.best_params}


def need_optuna() -> Any:
    """The module optuna; MissingExtra with the pip line where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("a search needs Optuna; run: pip install 'millwright[search]'") from None
    return optuna


def _suggest(trial: "Trial", method: str) -> dict[str, Any]:
    rate = METHODS[method].learning_rate
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", rate / 5, rate * 5, log=True),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
    }
    if method in ("lora", "adalora"):
        suggested["rank"] = trial.suggest_categorical("rank", [4, 8, 16])
    if method == "adapter":
        suggested["adapter_size"] = trial.suggest_categorical("adapter_size", [16, 48, 96])
    return suggested
