"""Trains a version whose last layers learnt by noisy descent, and says what its promise covers."""

import numpy as np

from millwright.privacy.gaussian_mechanism import mu_of, secure_normals, secure_uniforms
from millwright.records import JsonObject
from millwright.train.classifier import Classifier, assemble
from millwright.train.fit_private import PROMISE, roles_of
from millwright.train.label_names import words_of
from millwright.train.methods import METHODS, build_network, tuned_tensors
from millwright.train.outsiders import person_of
from millwright.train.private_head import DELTA, check_people, private_temperature
from millwright.train.private_lora import (
    CLIP,
    SAMPLE_RATE,
    STEPS,
    Descent,
    descend,
    need_opacus,
    noise_for,
    start_head,
)
from millwright.train.tune import Rows, logits
from millwright.train.tuned import inputs_of
from millwright.train.work import Work, truth_of

METHOD = "private-lora"
DESCENT_PROMISE: JsonObject = {
    **PROMISE,
    "mechanism": "Gaussian noise on sums of clipped gradients, each person drawn by a coin of its own and "
    "standing with one row, and on the votes that choose the temperature",
    "covered": ["low-rank updates of the last layers", "weights and bias of the head", "the temperature"],
    "not_covered": [*PROMISE["not_covered"], "settings that somebody chose by looking at rows"],
}


def fit_private_lora(work: Work) -> tuple[Classifier, JsonObject]:
    """Train low-rank updates and a head under differential privacy.

    Args:
        work: rows, settings, backbone; weak rows must not be among them.

    Returns:
        The classifier, and what its model card tells.

    Raises:
        BadInput: people are too few for the promise.
        MissingExtra: Opacus is not installed.
    """
    need_opacus()
    settings, roles = work.settings.train, roles_of(work)
    train, held = roles.teachers, roles.voters
    network = build_network(METHOD, work.backbone, len(work.labels), settings, STEPS)
    check_people(roles.people, len(work.labels), network.width, settings.epsilon)
    names = [words_of(label) for label in work.labels]
    network.precision = work.precision
    inputs = inputs_of(work, [*names, *(row.text for row in (*train, *held))], network.depth)
    taught, cut, pad_id = inputs[len(names) :], len(train), work.backbone.pad_id
    with work.stage("noise", 1):
        multiplier = noise_for(settings.epsilon, DELTA)
    centre_D = start_head(network, inputs[: len(names)], pad_id)
    with work.stage("descend", cut):
        descend(
            network,
            Rows(taught[:cut], truth_of(train, work.labels)),
            roles.person_N,
            Descent(settings.learning_rate or METHODS[METHOD].learning_rate, multiplier),
            pad_id,
            centre_D,
            (secure_normals, secure_uniforms),
            work.teller("descend"),
        )
    mu = mu_of(settings.epsilon, DELTA)
    with work.stage("temperature", len(held)):
        chosen = private_temperature(
            logits(network, taught[cut:], pad_id).astype(np.float64),
            truth_of(held, work.labels),
            [person_of(row) for row in held],
            mu,
            1.0,
            secure_normals,
        )
    tuned = {name: tensor.cpu().clone() for name, tensor in tuned_tensors(network).items()}
    classifier = assemble(
        work.labels,
        METHOD,
        work.backbone,
        settings,
        1.0 if chosen is None else chosen,
        work.precision,
        tuned,
    )
    facts = {
        "privacy": {
            **DESCENT_PROMISE,
            "epsilon": settings.epsilon,
            "delta": DELTA,
            "mu": mu,  # of the votes alone
            "noise_multiplier": multiplier,
            "sample_rate": SAMPLE_RATE,
            "steps": STEPS,
            "clip": CLIP,
            "people": roles.people,
        },
        "validation_accuracy": None,
        "parameters_moved": sum(tensor.numel() for tensor in tuned.values()),
        "taught_by": cut,
        "label_names": len(names),
        "is_calibrated": chosen is not None,
    }
    return classifier, facts
