"""A version serves only where this project signed it: neither another's nor a resealed one gets in."""

import json
import shutil

import pytest

from millwright.errors import Corrupt, NotFound
from millwright.privacy.audit import read_audit
from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.registry.signatures import VERSIONS, sign, verify_version
from millwright.registry.versions import promote
from millwright.serve.loading import Loader
from millwright.store.files import SEAL, sealed_folder, sha256_file
from tests.conftest import csv_of, desk_rows
from tests.desk import add_version
from tests.surfaces.test_cli import run


@pytest.fixture
def project(desk) -> Project:
    return desk


def test_whoever_changes_a_file_and_its_seal_is_found_out(project):
    folder = project.kept / "versions" / "v1"
    (folder / "README.md").write_text("trust me")
    seal = json.loads((folder / SEAL).read_text())
    seal["sha256"]["README.md"] = sha256_file(folder / "README.md")
    (folder / SEAL).write_text(json.dumps(seal))
    uses = (
        lambda: load_classifier(project, "v1"),
        lambda: Loader(project).load("v1"),
        lambda: promote(project, "v1", "a test"),
    )
    for use in uses:
        with pytest.raises(Corrupt, match="v1 is not what this project signed"):
            use()


def test_a_version_of_another_project_is_refused_with_its_signature(project, make_project, tmp_path):
    other = make_project(csv_of(desk_rows(60)), folder=tmp_path / "other")
    add_version(other, seed=3)
    for name in ("versions/v1", "signatures/v1.json"):
        source, target = other.kept / name, project.kept / name
        if source.is_dir():
            shutil.rmtree(target)
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    with pytest.raises(Corrupt, match="or it came from another project"):
        verify_version(project, "v1")


def test_the_signature_of_one_version_is_none_of_another(project):
    shutil.copytree(project.kept / "versions" / "v1", project.kept / "versions" / "v2")
    shutil.copy(project.kept / "signatures" / "v1.json", project.kept / "signatures" / "v2.json")
    with pytest.raises(Corrupt, match="v2 is not what this project signed"):
        verify_version(project, "v2")


def test_an_unsigned_version_serves_once_somebody_signs_it_and_that_is_logged(project, capsys):
    (project.kept / "signatures" / "v1.json").unlink()
    at = ("--project", project.folder)
    assert run("predict", "card", *at) == 1
    said = capsys.readouterr().err
    assert "v1 has no signature" in said
    assert "`millwright versions sign v1`" in said
    assert run("versions", "sign", "v1", *at) == 0
    assert run("predict", "card", *at) == 0
    assert [line.action for line in read_audit(project)][-1] == "signed"
    assert verify_version(project, "v1") == project.kept / "versions" / "v1"


def test_without_the_master_key_nobody_can_tell_whose_signature_it_is(project):
    (project.kept / "master.key").unlink()
    with pytest.raises(NotFound, match=r"master\.key"):
        verify_version(project, "v1")


def test_signing_again_is_fine(project):
    sign(project, VERSIONS, "v1")
    with sealed_folder(project.kept / "versions" / "v9") as folder:
        (folder / "x").write_text("x")
    sign(project, VERSIONS, "v9")
    assert verify_version(project, "v9").name == "v9"
