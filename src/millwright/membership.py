"""Audits a version: how well one who sees its answers can tell whose rows taught it.

Members are rows that taught, the others are the test rows of the same dataset; both are known here only, so
nobody else can make this record. It goes to reports/, with the model card anew beside it.

Shape suffixes: N rows, D features, C labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from millwright.data.dataset import open_dataset
from millwright.privacy.gaussian_mechanism import most_true_positives
from millwright.privacy.sampled_gaussian import most_found
from millwright.progress import Progress, quiet
from millwright.project import WAIT_S, Project
from millwright.records import Interval, JsonObject, Row
from millwright.registry.card import model_card
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import CHAMPION, resolve, version_manifest
from millwright.settings import FROZEN, PRIVATE, refuse_spans
from millwright.store.files import write_json, write_text
from millwright.train.attacks import (
    OperatingPoint,
    area,
    likelihood_ratios,
    margins,
    operating_point,
    relative_margins,
    shadow_margins,
)
from millwright.train.averaging import LEAST
from millwright.train.classifier import head_of
from millwright.train.ensemble import Ensemble, Trained
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.label_names import with_names, words_of
from millwright.train.outsiders import check_outsiders, members_and_outsiders, person_of
from millwright.train.private_head import fit_private_head
from millwright.train.states import cached_features
from millwright.train.work import truth_of

SHADOWS = 32
RATES = (0.001, 0.01)
MOST_ROWS = 12_000
TUNED_NOTE = (
    "the version tuned its body and the shadows did not, so the second attack is weaker than one by shadows "
    "that were tuned too: the figures are a lower bound"
)
FILES_NOTE = "test rows come from files of their own: what differs between the files counts as membership"


@dataclass(frozen=True)
class Attack:
    """How well one attack does; points are None where others are too few for their rate."""

    name: str
    area: Interval
    points: tuple[OperatingPoint | None, ...]


@dataclass(frozen=True)
class MembershipAudit:
    """What an audit found. `promised` are the most true positives that a private version allows, by rate."""

    version: str
    method: str
    members: int
    others: int
    shadows: int
    attacks: tuple[Attack, ...]
    promised: tuple[float, ...] | None
    notes: tuple[str, ...]

    @property
    def worst(self) -> OperatingPoint:
        """The most that any attack finds at 1 % false accusations."""
        points = [point for attack in self.attacks if (point := attack.points[-1]) is not None]
        return max(points, key=lambda point: point.true_positives.value)

    def to_json(self) -> JsonObject:
        """The same as a tree of plain values."""
        return {**asdict(self), "rates": list(RATES)}


def audit_membership(
    project: Project, *, version: str = CHAMPION, shadows: int = SHADOWS, progress: Progress = quiet
) -> tuple[MembershipAudit, Path]:
    """Attack a version, and write what was found and the version's card with it to reports/.

    Args:
        project: an open project.
        version: a version or an alias.
        shadows: how many shadow heads, an even number of at least 8; more find more.
        progress: called with a stage's name and the fraction done.

    Returns:
        The figures, and their file.

    Raises:
        NotFound: no such version.
        BadInput: fewer than 100 rows that taught nothing, or too few shadows.
        Busy: another process trains or erases somebody.
    """
    refuse_spans(project.settings, "an audit of membership")
    with project.lock("train", WAIT_S):  # an erasure holds it: what it takes away must not come back
        return _audit(project, version, shadows, progress)


def _audit(project: Project, version: str, shadows: int, progress: Progress) -> tuple[MembershipAudit, Path]:
    name = resolve(project, version)
    manifest = version_manifest(project, name)
    members, others = _rows(project, manifest)
    check_outsiders(len(others))
    classifier = load_classifier(project, name)
    rows = (*members, *others)
    texts, truth_N = [row.text for row in rows], truth_of(rows, classifier.labels)
    names = [words_of(label) for label in classifier.labels]
    feature, _ = cached_features(
        classifier.backbone,
        [*texts, *names],
        classifier.members[0].precision if isinstance(classifier, Ensemble) else classifier.precision,
        project.kept / "cache",
        lambda done: progress("features", done),
        project.settings.train.cache_bytes,
    )
    feature_ND, name_CD = feature[: len(texts)].numpy(), feature[len(texts) :].numpy()
    margin_N = margins(_logits(classifier, feature_ND, texts), truth_N)
    person_N = [person_of(row) for row in rows]
    teach = partial(_teach, manifest, feature_ND, truth_N, person_N, name_CD)
    shadow = shadow_margins(
        feature_ND, truth_N, person_N, teach, shadows, lambda done: progress("shadows", done)
    )
    frozen = manifest["method"] in FROZEN
    scores = {
        "margin": margin_N,
        "shadows": (likelihood_ratios if frozen else relative_margins)(margin_N, *shadow),
    }
    privacy = manifest["facts"].get("privacy")
    audit = MembershipAudit(
        version=name,
        method=manifest["method"],
        members=len(members),
        others=len(others),
        shadows=shadows,
        attacks=attacked(scores, len(members)),
        promised=None if privacy is None else tuple(_promised(privacy, rate) for rate in RATES),
        notes=(() if frozen else (TUNED_NOTE,)) + ((FILES_NOTE,) if project.settings.data.test_files else ()),
    )
    path = project.reports / f"membership-{name}.json"
    write_json(path, audit.to_json())
    write_text(project.reports / f"card-{name}.md", model_card(manifest, audit.to_json()))
    return audit, path


def _promised(privacy: JsonObject, false_positives: float) -> float:
    """The most true positives that a promise allows."""
    if "steps" in privacy:
        return most_found(privacy["epsilon"], privacy["delta"], false_positives)
    return most_true_positives(privacy["mu"], false_positives)


def attacked(scores: Mapping[str, np.ndarray], members: int) -> tuple[Attack, ...]:
    """The figures of attacks.

    Args:
        scores: of each attack [N], members first.
        members: how many rows are members.

    Returns:
        Each attack with its area and a point a rate of RATES.
    """
    return tuple(
        Attack(
            name,
            area(score_N[:members], score_N[members:]),
            tuple(operating_point(score_N[:members], score_N[members:], rate) for rate in RATES),
        )
        for name, score_N in scores.items()
    )


def _rows(project: Project, manifest: JsonObject) -> tuple[Sequence[Row], Sequence[Row]]:
    """Rows that taught and rows that did not, at most MOST_ROWS of both and half as many of the latter.

    Those that did not are mostly fewer, and on them hangs how small a rate can be told.
    """
    dataset = open_dataset(project, manifest["dataset"]["id"])
    taught = ("train",) if manifest["method"] in PRIVATE else ("train", "validation")
    members, others = members_and_outsiders(dataset, manifest["labels"], taught)
    chance = np.random.default_rng(0)
    drawn = _draw(others, MOST_ROWS // 2, chance)
    return _draw(members, MOST_ROWS - len(drawn), chance), drawn


def _draw(rows: Sequence[Row], most: int, chance: np.random.Generator) -> Sequence[Row]:
    """At most so many rows, by chance, in their order."""
    return [rows[place] for place in sorted(chance.permutation(len(rows))[:most])]


def _logits(classifier: Trained, feature_ND: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    if isinstance(classifier, Ensemble):
        log_NC: np.ndarray = np.log(np.maximum(classifier.probabilities(texts), LEAST))
        return log_NC
    if classifier.method not in FROZEN:
        return classifier.logits(texts)
    weight_CD, bias_C = head_of(classifier.tuned)
    logit_NC: np.ndarray = feature_ND @ weight_CD.T + bias_C
    return logit_NC


def _teach(
    manifest: JsonObject,
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    person_N: Sequence[str],
    name_CD: np.ndarray,
    places: np.ndarray,
    chance: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A head of the rows at `places`, made as the version's was."""
    facts, labels = manifest["facts"], len(name_CD)
    if (privacy := facts.get("privacy")) is not None and manifest["method"] in FROZEN:
        some = [person_N[place] for place in places]
        made = fit_private_head(
            feature_ND[places], truth_N[places], some, name_CD, privacy["mu"], chance.standard_normal
        )
        return made.weight_CD, made.bias_C
    named = name_CD[: facts.get("label_names", 0)]
    taught = with_names(feature_ND[places], truth_N[places], named)
    return fit_head(*taught, labels, facts.get("strength", DEFAULT_STRENGTH))
