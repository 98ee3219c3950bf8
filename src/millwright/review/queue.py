"""Builds the queue: rows that people should look at, most valuable first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from millwright.data.dataset import open_dataset
from millwright.feedback import is_reviewed
from millwright.privacy.holdings import PREDICTION
from millwright.privacy.sealed import open_opinion, open_prediction, stream_named
from millwright.privacy.vault import Vault, open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import Row
from millwright.registry.versions import CHAMPION, resolve, version_manifest
from millwright.review.annotations import gold_items, keep_guesses
from millwright.review.items import CHANCE, Item, write_queue
from millwright.review.label_errors import out_of_fold, suspects
from millwright.review.selection import unlike, worth_labelling
from millwright.serve.engine import Answering
from millwright.serve.features import features_of
from millwright.serve.loading import Loader
from millwright.settings import refuse_spans
from millwright.store.tables import drifts, opinions, predictions
from millwright.train.backbones import load_backbone
from millwright.train.calibrate import softmax
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.states import backbone_precision, cached_features

MOST_CANDIDATES = 5_000
OTHERS_SHARE = 0.2  # of the queue each for suspected labels, disagreements with users, and what is new
DRIFT_SHARE = 0.4  # of the queue for what is new, once drift was found
SURE = 0.8
CHOICES = 3


def build_queue(project: Project, count: int = 100, progress: Progress = quiet) -> list[Item]:
    """Choose rows for review and keep them as the queue.

    Args:
        project: a project with a champion.
        count: how many rows at most.
        progress: called with "review" and the fraction done.

    Returns:
        The queue: kinds of rows take turns, each kind with its most valuable first. What was drawn by chance
        keeps its share whatever else there is, evenly spread.

    Raises:
        NotFound: there is no champion.
        Corrupt: it is damaged.
        Busy: another process builds the queue, or erases somebody.
    """
    refuse_spans(project.settings, "`millwright review`")
    with project.lock("review"):  # what an erasure takes away meanwhile must not come back
        return _build(project, count, progress)


def _build(project: Project, count: int, progress: Progress) -> list[Item]:
    name, vault = resolve(project, CHAMPION), open_vault(project)
    model = Loader(project).load(name)
    dataset = open_dataset(project, version_manifest(project, name)["dataset"]["id"])
    rows = [row for row in dataset.split("train", "validation") if not row.is_weak]  # nobody looked at those
    row_texts = [row.text for row in rows]
    row_feature_MD = features_of(model, row_texts, lambda done: progress("review", 0.5 * done))
    others = round(OTHERS_SHARE * count)
    fresh, valued, drawn = _unlabelled(vault, model, row_feature_MD, count, progress)
    kinds = [
        _suspected(project, model.labels, rows, others),
        _disagreements(vault, others),
        fresh,
        valued,
    ]
    if golden := gold_items(project):
        probability_NC = model.probabilities(features_of(model, [item.text for item in golden]))
        guesses = [_choices(model.labels, probability_C) for probability_C in probability_NC]
        keep_guesses(project, {item.id: guess for item, guess in zip(golden, guesses, strict=True)})
    owners = {f"row:{row.id}": vault.pseudonym(row.subject) for row in rows}
    known = {item.id for item in drawn}  # also what a user disagreed with meanwhile
    chosen = [item for item in _in_turns(kinds) if item.id not in known]
    queue = write_queue(project, _spread(drawn, chosen[: count - len(drawn)]), owners)
    progress("review", 1.0)
    return queue


def _suspected(project: Project, labels: Sequence[str], rows: Sequence[Row], count: int) -> list[Item]:
    """Rows whose label looks wrong from the frozen backbone's features, which never saw a label."""
    if len({row.label for row in rows}) < 2:
        return []
    number = {label: place for place, label in enumerate(labels)}
    known = [place for place, row in enumerate(rows) if row.label in number]
    truth_N = np.array([number[rows[place].label] for place in known])

    def fit(feature_ND: np.ndarray, own_N: np.ndarray) -> "_Head":
        """A head on some of the rows."""
        return _Head(*fit_head(feature_ND.astype(np.float32), own_N, len(labels), DEFAULT_STRENGTH))

    feature_ND = _frozen_features(project, [rows[place].text for place in known])
    probability_NC = out_of_fold(feature_ND, truth_N, fit)
    found_N, _ = suspects(probability_NC, truth_N)
    return [
        Item(
            f"row:{rows[known[place]].id}", rows[known[place]].text, "suspect", rows[known[place]].label,
            _choices(labels, probability_NC[place]),
        )
        for place in found_N[:count]
    ]  # fmt: skip


@dataclass(frozen=True)
class _Head:
    weight_CD: np.ndarray
    bias_C: np.ndarray

    def __call__(self, feature_ND: np.ndarray) -> np.ndarray:
        return softmax(feature_ND @ self.weight_CD.T + self.bias_C, 1.0)


def _disagreements(vault: Vault, count: int) -> list[Item]:
    """Predictions of which the model was sure and a user said another label; the surest first.

    Users who are always asked are left out: looking again only where the model differs would bend what
    is measured on them in its favour.
    """
    labelled = (
        select(opinions)
        .join(predictions, predictions.c.id == opinions.c.prediction)
        .where(
            opinions.c.has_label, opinions.c.sealed.is_not(None),
            predictions.c.ask.is_(False), predictions.c.sealed.is_not(None),
        )
        .order_by(opinions.c.created_at)
    )  # fmt: skip
    _ = vault.keys  # before anything is read
    with vault.project.database.connect() as connection:
        newest = {row.prediction: row for row in connection.execute(labelled)}
    said = {name: open_opinion(vault, row) for name, row in newest.items()}
    labels = {name: one.label for name, one in said.items() if one.label is not None and not is_reviewed(one)}
    open_ = [
        (given, labels[given.id])
        for given in stream_named(vault, list(labels))
        if given.probability >= SURE and labels[given.id] != given.label
    ]
    open_.sort(key=lambda pair: (-pair[0].probability, pair[0].id))
    return [
        Item(PREDICTION + given.id, given.text, "disagreement", said, ((given.label, given.probability),))
        for given, said in open_[:count]
    ]


def _unlabelled(
    vault: Vault, model: Answering, known_MD: np.ndarray, count: int, progress: Progress
) -> tuple[list[Item], list[Item], list[Item]]:
    """Predictions that nobody labelled: unlike all that taught, worth it otherwise, and drawn by chance.

    What was drawn by chance stays so, whatever it is like, and it is drawn from requests, not from texts, so
    that it is a fair sample of requests that nobody labelled.

    Users who are always asked are left out: were their rows chosen by how unsure the model is, what is
    measured on them would no longer be a fair sample.
    """
    by_text = _open_requests(vault)
    texts = list(by_text)
    if not texts:
        return [], [], []
    feature_ND = features_of(model, texts, lambda done: progress("review", 0.5 + 0.5 * done))
    probability_NC = model.probabilities(feature_ND)
    times_N = np.array([len(names) for names in by_text.values()])
    chosen = worth_labelling(feature_ND, probability_NC, known_MD, count, len(texts), times_N)
    reasons = [(int(at), reason) for at, reason in zip(*chosen, strict=True)]
    drawn = [at for at, reason in reasons if reason == CHANCE]
    share = DRIFT_SHARE if _has_drifted(vault.project) else OTHERS_SHARE
    unusual = [int(at) for at in unlike(feature_ND, known_MD, len(texts)) if at not in drawn]

    def item(at: int, reason: str, name: str) -> Item:
        """A prediction as a row of the queue."""
        return Item(PREDICTION + name, texts[at], reason, None, _choices(model.labels, probability_NC[at]))

    oldest = [names[-1] for names in by_text.values()]
    names = {at: iter(by_text[texts[at]]) for at in drawn}
    return (
        [item(at, "new", oldest[at]) for at in unusual[: round(share * count)]],
        [item(at, reason, oldest[at]) for at, reason in reasons if reason != CHANCE],
        [item(at, CHANCE, next(names[at])) for at in drawn],
    )


def _open_requests(vault: Vault) -> dict[str, list[str]]:
    """Texts that nobody labelled, of users who are not always asked, each with its predictions."""
    labelled = select(opinions.c.prediction).where(opinions.c.has_label)
    wanted = (
        select(predictions)
        .where(
            predictions.c.id.not_in(labelled), predictions.c.ask.is_(False), predictions.c.sealed.is_not(None)
        )
        .order_by(predictions.c.created_at.desc(), predictions.c.id)
        .limit(MOST_CANDIDATES)
    )
    by_text: dict[str, list[str]] = {}
    with vault.project.database.connect() as connection:
        for row in connection.execute(wanted):
            by_text.setdefault(open_prediction(vault, row).text, []).append(row.id)
    return by_text


def _has_drifted(project: Project) -> bool:
    """Whether the last check of the champion for drift found some."""
    champion = resolve(project, CHAMPION)
    with project.database.connect() as connection:
        newest = connection.scalars(select(drifts.c.record).order_by(drifts.c.id.desc()))
        last = next((record for record in newest if record["version"] == champion), None)
    return last is not None and bool(last["is_drifting"])


def _frozen_features(project: Project, texts: Sequence[str]) -> np.ndarray:
    about = project.settings.backbone
    backbone = load_backbone(about.name, about.max_tokens, project.folder)
    precision = backbone_precision(backbone)
    cache, most_bytes = project.kept / "cache", project.settings.train.cache_bytes
    found, _ = cached_features(backbone, texts, precision, cache, lambda done: None, most_bytes)
    feature_ND: np.ndarray = found.numpy()
    return feature_ND


def _choices(labels: Sequence[str], probability_C: np.ndarray) -> tuple[tuple[str, float], ...]:
    best = (-probability_C).argsort(kind="stable")[:CHOICES]
    return tuple((labels[place], round(float(probability_C[place]), 4)) for place in best)


def _in_turns(kinds: Sequence[Sequence[Item]]) -> list[Item]:
    longest = max((len(kind) for kind in kinds), default=0)
    found = [kind[place] for place in range(longest) for kind in kinds if place < len(kind)]
    kept: dict[str, Item] = {}
    for item in found:
        kept.setdefault(item.id, item)
    return list(kept.values())


def _spread(drawn: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """All rows, those drawn at even distances, so that whoever stops early has seen their share of them."""
    total = len(drawn) + len(others)
    places = {(number + 1) * total // len(drawn) - 1 for number in range(len(drawn))} if drawn else set[int]()
    by_chance, chosen = iter(drawn), iter(others)
    return [next(by_chance if place in places else chosen) for place in range(total)]
