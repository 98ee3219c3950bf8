"""Answers by cached features are those of the network, and are made once."""

import pytest
import torch

from millwright.data.dataset import open_dataset
from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import version_manifest
from millwright.serve.convert import in_float32
from millwright.train.answers import answers
from millwright.train.cache import _open, text_key
from tests.serve.trained import add_trained, tiny_project

MOST_BYTES = 1_000_000_000


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project with a version of the method head, and one of the method top."""
    made = tiny_project(tmp_path_factory.mktemp("answers"))
    assert [add_trained(made), add_trained(made, "top")] == ["v1", "v2"]
    return made


def keys_in(kept) -> list[str]:
    return sorted(key for path in (kept / "cache").glob("*/*.safetensors") for key in _open(path).keys)


@pytest.mark.parametrize("exactly", [False, True])
def test_a_head_answers_by_cached_features_what_its_network_answers(project, tmp_path, exactly):
    head = load_classifier(project, "v1")
    head = in_float32(head) if exactly else head
    rows = open_dataset(project, version_manifest(project, "v1")["dataset"]["id"]).rows
    expected = head.probabilities([row.text for row in rows])
    close = 1e-4 if head.precision == torch.float32 else 0.02  # batches of other shapes round otherwise
    for _ in range(2):
        assert answers(head, rows, tmp_path, MOST_BYTES) == pytest.approx(expected, abs=close)
        assert keys_in(tmp_path) == sorted({text_key(row.text) for row in rows})


def test_a_version_with_a_body_of_its_own_leaves_nothing_in_the_cache(project, tmp_path):
    tuned = load_classifier(project, "v2")
    rows = open_dataset(project, version_manifest(project, "v2")["dataset"]["id"]).rows[:5]
    expected = tuned.probabilities([row.text for row in rows])
    assert answers(tuned, rows, tmp_path, MOST_BYTES) == pytest.approx(expected)
    assert keys_in(tmp_path) == []
