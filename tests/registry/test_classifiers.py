"""What a version's folder holds, and that a registration is whole or has not happened."""

import json
import shutil
from dataclasses import replace
from importlib.metadata import version as installed_version

import numpy as np
import pytest

from millwright.data.prepare import prepare
from millwright.errors import Busy, CannotStore, Corrupt, NotFound
from millwright.project import Project, open_project
from millwright.registry.classifiers import LIBRARIES, load_classifier, register
from millwright.registry.versions import list_versions, promote, version_manifest
from millwright.store.files import verify
from tests.conftest import full_disk
from tests.desk import add_version, fitted, make_desk, telling_rows

TEXTS = ["my card is lost", "pin forgot", "where is the money sent"]


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    return make_desk(tmp_path / "desk", encoder, telling_rows(60))


def folders(project: Project) -> list[str]:
    return sorted(path.name for path in (project.kept / "versions").glob("*"))


def same_encoder(project: Project, seed: int = 0):
    """A version of chance over the project's own encoder, so that it can be opened by name."""
    made = fitted(seed)
    classifier = made.classifier
    named = replace(classifier.backbone, name=project.settings.backbone.name)
    return replace(made, classifier=replace(classifier, backbone=named))


def test_versions_are_numbered_from_one_and_sealed(project):
    assert [add_version(project, seed).name for seed in (0, 1, 2)] == ["v1", "v2", "v3"]
    for name in folders(project):
        verify(project.kept / "versions" / name)


def test_a_folder_holds_weights_and_json_and_nothing_that_could_run(project):
    add_version(project)
    names = {path.name for path in (project.kept / "versions" / "v1").iterdir()}
    assert names == {
        *("weights.safetensors", "classifier.json", "tokenizer.json"),
        *("manifest.json", "README.md", "seal.json"),
    }


def test_the_manifest_says_where_the_version_came_from(project):
    dataset = prepare(project)
    info = add_version(project, dataset=dataset)
    manifest = version_manifest(project, "v1")
    assert manifest["dataset"]["id"] == info.dataset == dataset.id
    counts = {split: len(dataset.split(split)) for split in ("train", "validation", "test")}
    assert manifest["dataset"]["splits"] == counts
    assert manifest["settings"] == json.loads(json.dumps(project.settings.model_dump()))
    assert manifest["libraries"] == {name: installed_version(name) for name in LIBRARIES}
    assert manifest["metrics"]["rows"] == counts["test"]
    assert manifest["metrics"]["accuracy"]["value"] == info.accuracy
    assert (manifest["method"], manifest["why"]) == ("head", "a test asks for it")


def test_a_version_answers_as_what_was_registered(project):
    made = same_encoder(project)
    register(project, prepare(project), made, None)
    found = load_classifier(open_project(project.folder), "v1")
    assert found.labels == made.classifier.labels
    assert np.array_equal(found.probabilities(TEXTS), made.classifier.probabilities(TEXTS))


def test_an_alias_loads_the_version_that_it_means(project):
    for seed in (0, 1):
        register(project, prepare(project), same_encoder(project, seed), None)
    promote(project, "v2", "a test")
    expected = same_encoder(project, 1).classifier.probabilities(TEXTS)
    assert np.array_equal(load_classifier(project, "champion").probabilities(TEXTS), expected)


def test_without_test_rows_the_accuracy_is_unknown(project):
    assert register(project, prepare(project), fitted(), None).accuracy is None
    assert version_manifest(project, "v1")["metrics"] is None
    assert list_versions(project)[0].accuracy is None


@pytest.mark.parametrize("most_bytes", [100, 1_500, 20_000])
def test_a_full_disk_leaves_no_folder_and_no_line_and_the_next_number_is_the_same(project, most_bytes):
    dataset = prepare(project)
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        register(project, dataset, fitted(), None)
    assert folders(project) == []
    assert list_versions(project) == []
    assert register(project, dataset, fitted(), None).name == "v1"


def test_a_full_disk_leaves_the_versions_there_were(project):
    add_version(project, seed=1)
    with full_disk(1_500), pytest.raises(CannotStore):
        add_version(project, seed=2)
    assert folders(project) == ["v1"]
    verify(project.kept / "versions" / "v1")


def test_a_folder_that_a_kill_left_without_its_line_is_never_taken_for_a_new_version(project):
    dataset = prepare(project)
    register(project, dataset, same_encoder(project, 7), None)
    shutil.copytree(project.kept / "versions" / "v1", project.kept / "versions" / "v2")  # as a kill leaves it
    made = same_encoder(project, 8)
    info = register(project, dataset, made, None)
    assert info.name == "v3"
    assert np.array_equal(
        load_classifier(project, "v3").probabilities(TEXTS), made.classifier.probabilities(TEXTS)
    )
    with pytest.raises(NotFound, match="no version named 'v2'"):
        load_classifier(project, "v2")


def test_what_is_no_version_among_the_folders_does_not_matter(project):
    (project.kept / "versions" / "vault").mkdir(parents=True)
    (project.kept / "versions" / "v²").mkdir()
    assert add_version(project).name == "v1"


def test_two_registrations_at_once_are_refused(project):
    with project.lock("registry"), pytest.raises(Busy, match="another `registry` runs"):
        add_version(open_project(project.folder))
    assert folders(project) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "classifier.json", "tokenizer.json", "README.md"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_truncated_file_is_refused_by_name(project, name, keep):
    add_version(project)
    path = project.kept / "versions" / "v1" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(Corrupt, match=f"v1/{name} is not what was written"):
        load_classifier(project, "v1")


def test_one_edited_byte_is_refused_by_name(project):
    add_version(project)
    path = project.kept / "versions" / "v1" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"v1/weights\.safetensors is not what was written"):
        load_classifier(project, "v1")


def test_an_added_file_is_refused_by_name(project):
    add_version(project)
    (project.kept / "versions" / "v1" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(Corrupt, match=r"pytorch_model\.bin was added"):
        load_classifier(project, "v1")
