"""Trains a version whose head is differentially private, and says what its promise covers."""

from dataclasses import dataclass

import torch

from millwright.privacy.gaussian_mechanism import mu_of, secure_normals
from millwright.records import JsonObject, Row
from millwright.train.classifier import Classifier, assemble
from millwright.train.label_names import words_of
from millwright.train.network import feature_count
from millwright.train.outsiders import person_of
from millwright.train.private_head import DELTA, check_people, fit_private_head, private_temperature
from millwright.train.work import Work, truth_of

PROMISE: JsonObject = {
    "unit": "a person: all rows of one subject, or one row without a subject",
    "neighbours": "two datasets, one of which has all rows of one person more",
    "mechanism": "Gaussian noise on sufficient statistics, and on the votes that choose the temperature",
    "randomness": "the operating system's secure source",
    "covered": ["weights and bias of the head", "the temperature", "whether labels' names taught"],
    "not_covered": [
        "the labels' names, which are taken as public",
        "which rows `prepare` left out because others have the same or nearly the same text; the split seed",
        "counts of rows, people and labels, and how long the stages took",
        "what was measured on test rows, and whatever compares answers on rows: promotion, choice of runtime",
    ],
}


def fit_private(work: Work) -> tuple[Classifier, JsonObject]:
    """Train a differentially private head; what looks at rows without noise is listed in `PROMISE`.

    Args:
        work: rows, settings, backbone; weak rows must not be among them.

    Returns:
        The classifier, and what its model card tells.

    Raises:
        BadInput: people are too few for the promise.
    """
    settings, roles = work.settings.train, roles_of(work)
    train, held = roles.teachers, roles.voters
    check_people(roles.people, len(work.labels), feature_count(work.backbone), settings.epsilon)
    names = [words_of(label) for label in work.labels]
    name_CD, _ = work.features("label names", names)
    feature, made = work.features("features", [row.text for row in (*train, *held)])
    mu, cut = mu_of(settings.epsilon, DELTA), len(train)
    with work.stage("head", cut):
        head = fit_private_head(
            feature[:cut], truth_of(train, work.labels), roles.person_N, name_CD, mu, secure_normals
        )
    with work.stage("temperature", len(held)):
        chosen = private_temperature(
            feature[cut:] @ head.weight_CD.T + head.bias_C,
            truth_of(held, work.labels),
            [person_of(row) for row in held],
            mu,
            head.cautious_temperature,
            secure_normals,
        )
    tuned = {"head.weight": torch.from_numpy(head.weight_CD), "head.bias": torch.from_numpy(head.bias_C)}
    temperature = head.cautious_temperature if chosen is None else chosen
    classifier = assemble(
        work.labels, "private-head", work.backbone, settings, temperature, work.precision, tuned
    )
    facts = {
        "privacy": {**PROMISE, "epsilon": settings.epsilon, "delta": DELTA, "mu": mu, "people": roles.people},
        "validation_accuracy": None,
        "texts_run": made,
        "taught_by": len(train),
        "label_names": len(names) if head.names_taught else 0,
        "is_calibrated": chosen is not None,
    }
    return classifier, facts


@dataclass(frozen=True)
class Roles:
    """Rows that teach with the person of each, and validation rows of others, who vote on a temperature."""

    teachers: list[Row]
    person_N: list[str]
    voters: list[Row]

    @property
    def people(self) -> int:
        """How many people teach."""
        return len(set(self.person_N))


def roles_of(work: Work) -> Roles:
    """Who teaches and who votes; nobody does both."""
    train = work.known_rows("train")
    person_N = [person_of(row) for row in train]
    taught = set(person_N)
    others = [row for row in work.known_rows("validation") if person_of(row) not in taught]
    return Roles(train, person_N, others)
