"""A version is run only by what this project converted and measured: neither edited, resealed nor foreign."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from millwright.erase.erased_data import remove_signed
from millwright.errors import Corrupt
from millwright.project import Project, open_project
from millwright.registry.signatures import sign
from millwright.registry.versions import CHAMPION, alias
from millwright.serve import runtimes
from millwright.serve.loading import Loader
from millwright.serve.promotion import is_measured, promote
from millwright.serve.runtime_record import read_runtime
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.store.files import SEAL, read_json, sealed_folder, sha256_file, write_json
from tests.serve.trained import add_trained, tiny_project

FILES = ["runtimes/v1/runtime.json", "bodies/*/model.xml", "bodies/*/model.bin", "bodies/*/body.json"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    """The folder of a project whose champion v1 runs by OpenVINO; v2 differs from it in its head alone."""
    made = tiny_project(tmp_path_factory.mktemp("desk"))
    project = Project(made.folder, change_settings(made.settings, "serve", runtime="openvino-float32"))
    (made.folder / FILENAME).write_text(dump_settings(project.settings), encoding="utf-8")
    promote(project, add_trained(project), "to test")
    add_trained(project, seed=1)
    return made.folder


@pytest.fixture
def project(converted, tmp_path) -> Project:
    return open_project(shutil.copytree(converted, tmp_path / "desk"))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def reseal(path: Path) -> None:
    """Write into the folder's seal what the file is now."""
    seal = json.loads((path.parent / SEAL).read_text())
    seal["sha256"][path.name] = sha256_file(path)
    (path.parent / SEAL).write_text(json.dumps(seal))


def edited(project: Project, name: str, and_then: Callable[[Path], None] = lambda _: None) -> Path:
    """The file of that pattern, with a bit flipped."""
    (path,) = project.kept.glob(name)
    flip(path)
    and_then(path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_a_runtime_is_refused_by_the_files_name(project, name):
    path = edited(project, name)
    with pytest.raises(Corrupt, match=f"{path.name} is not what was written"):
        Loader(project).load("v1")


@pytest.mark.parametrize("name", FILES)
def test_whoever_changes_a_runtime_and_its_seal_is_found_out(project, name):
    edited(project, name, reseal)
    with pytest.raises(Corrupt, match=rf"{name.partition('/')[0]}/.* is not what this project signed"):
        Loader(project).load("v1")


def test_the_body_of_another_version_is_refused_in_its_place(project):
    """Signed by this project, sealed, and still not the network that v1 was measured with."""
    promote(project, add_trained(project, "top"), "another body")
    one, other = (project.kept / "bodies" / str(read_runtime(project, name).body) for name in ("v1", "v3"))
    for first, second in ((one, other), (signature_of(one), signature_of(other))):
        shutil.rmtree(first) if first.is_dir() else first.unlink()
        shutil.copytree(second, first) if second.is_dir() else shutil.copy(second, first)
    with pytest.raises(Corrupt, match=f"bodies/{one.name} is not what this project signed"):
        Loader(project).load("v1")


def signature_of(body: Path) -> Path:
    return body.parents[1] / "signatures" / "bodies" / f"{body.name}.json"


def test_the_record_of_one_version_is_none_of_another(project):
    shutil.copytree(project.kept / "runtimes" / "v1", project.kept / "runtimes" / "v2")
    shutil.copy(project.kept / "signatures/runtimes/v1.json", project.kept / "signatures/runtimes/v2.json")
    with pytest.raises(Corrupt, match="runtimes/v2 is not what this project signed"):
        Loader(project).load("v2")


def test_a_body_without_a_signature_is_refused(project):
    (body,) = (project.kept / "bodies").iterdir()
    signature_of(body).unlink()
    with pytest.raises(Corrupt, match=f"bodies/{body.name} has no signature: .* promote the version again"):
        Loader(project).load("v1")


def test_a_record_of_a_release_that_signed_none_leaves_the_version_to_pytorch_and_says_so(project, caplog):
    shutil.rmtree(project.kept / "signatures" / "runtimes")
    assert Loader(project).load("v1").runtime == "torch"
    assert "v1 is served by PyTorch: how it runs here was not signed; promote it again, which" in caplog.text


def served_by_pytorch(project: Project, caplog: pytest.LogCaptureFixture, why: str) -> None:
    """The version v1 is, says why, answers like before, and runs converted after the next promotion."""
    served = Loader(project).load("v1")
    assert served.runtime == "torch"
    assert re.search(f"v1 is served by PyTorch: {why}; promote it again, which measures it anew", caplog.text)
    assert not is_measured(project, "v1")
    promote(project, "v1", "again")
    again, texts = Loader(project).load("v1"), ["card lost", "pin money"]
    assert again.runtime == "openvino-float32"
    both = [one.probabilities(one.body.features(texts)) for one in (served, again)]
    assert both[0] == pytest.approx(both[1], abs=0.05)


def test_a_backup_without_converted_networks_is_served_by_pytorch_and_says_so(project, caplog):
    (body,) = (project.kept / "bodies").iterdir()
    shutil.rmtree(project.kept / "bodies")
    served_by_pytorch(project, caplog, f"its converted network bodies/{body.name} is missing")


def test_after_an_erasure_deleted_what_was_converted_pytorch_serves_and_says_so(project, caplog):
    remove_signed(project, "runtimes", "v1")
    remove_signed(project, "bodies", str(next((project.kept / "bodies").iterdir()).name))
    served_by_pytorch(project, caplog, "how it runs here was not measured, or an erasure deleted its .*")


def test_a_version_that_nobody_promoted_is_run_by_pytorch_without_a_word(project, caplog):
    assert Loader(project).load("v2").runtime == "torch"
    assert [one for one in caplog.records if one.name.startswith("millwright")] == []


def test_what_openvino_cannot_run_on_this_processor_is_served_by_pytorch_and_says_so(project, caplog):
    """A network of no known operation, sealed and signed by the project: it is what was written."""
    (body,) = (project.kept / "bodies").iterdir()
    about = read_json(body / "body.json")
    shutil.rmtree(body)
    with sealed_folder(body) as folder:
        write_json(folder / "body.json", about)
        (folder / "model.xml").write_text('<net name="x" version="99"></net>')
    sign(project, "bodies", body.name)
    assert Loader(project).load("v1").runtime == "torch"
    assert f"v1 is served by PyTorch: OpenVINO cannot run {body.name} on this processor (" in caplog.text


@pytest.mark.parametrize(
    "name", ["runtimes/v1/runtime.json", "bodies/*/model.bin", "signatures/bodies/*.json"]
)
def test_promoting_again_makes_anew_what_was_changed(project, name):
    texts = ["card lost", "pin money"]
    before = Loader(project).load("v1")
    edited(project, name)
    assert not is_measured(project, "v1")
    promote(project, "v1", "again")
    after = Loader(project).load("v1")
    assert after.runtime == "openvino-float32"
    same = [served.probabilities(served.body.features(texts)) for served in (before, after)]
    assert same[0] == pytest.approx(same[1], abs=1e-6)


def test_a_promotion_of_another_version_does_not_trust_a_changed_body_that_they_share(project):
    (body,) = (project.kept / "bodies").iterdir()
    edited(project, "bodies/*/model.bin", reseal)
    promote(project, "v2", "to test")
    assert alias(project, CHAMPION) == "v2"
    assert [path.name for path in (project.kept / "bodies").iterdir()] == [body.name]
    for version in ("v1", "v2"):
        assert Loader(project).load(version).runtime == "openvino-float32"


def test_a_conversion_that_was_killed_before_its_signature_is_made_again(project, monkeypatch):
    (body,) = (project.kept / "bodies").iterdir()
    shutil.rmtree(body)
    signature_of(body).unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "sign", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(project, "v1", "killed")
    assert body.exists()
    promote(project, "v1", "again")
    feature_ND = Loader(project).load("v1").body.features(["card"])
    assert np.isfinite(feature_ND).all()
