"""No file that came from elsewhere is run or unpickled, and nothing in the package could do it unseen."""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
import torch

import millwright
from millwright.errors import Corrupt, MillwrightError
from millwright.privacy.names_model import open_names_model
from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.registry.signatures import VERSIONS, sign
from millwright.serve.loading import Loader
from millwright.store.files import SEAL, sha256_file
from millwright.train.backbones import load_backbone

PACKAGE = Path(millwright.__file__).parent
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "tarfile", "zipfile", "yaml"}
CALLS = {
    "eval", "exec", "torch.load", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load", "joblib.load",
    "shutil.unpack_archive", "pd.read_pickle", "os.system", "os.popen",
}  # fmt: skip
PLANTED = "from pathlib import Path\nPath({mark!r}).touch()\nraise SystemExit\n"


def offences(tree: ast.AST) -> Iterator[str]:
    """What in a module could run or unpickle what a file holds."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.partition(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            told = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in CALLS or told.keys() & {"shell", "allow_pickle"}:
                yield ast.unparse(node)
            if name.endswith(".from_pretrained") and (
                told.get("trust_remote_code") != "False"
                or ("Tokenizer" not in name and told.get("use_safetensors") != "True")
            ):
                yield ast.unparse(node)


def test_nothing_in_the_package_unpickles_unpacks_or_evaluates():
    found = {
        str(path.relative_to(PACKAGE)): list(offences(ast.parse(path.read_text(encoding="utf-8"))))
        for path in PACKAGE.rglob("*.py")
    }
    assert len(found) > 200
    assert {path: offence for path, offence in found.items() if offence} == {}


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from zipfile import ZipFile", "torch.load(path)", "np.load(path, allow_pickle=True)",
     "AutoModel.from_pretrained(name, use_safetensors=True)", "subprocess.run(line, shell=True)"],
)  # fmt: skip
def test_it_would_be_seen(line):
    assert list(offences(ast.parse(line)))


@pytest.fixture
def planted(tmp_path, encoder) -> tuple[Path, Path]:
    """A copy of the encoder whose configuration names code beside it, and what that code would make."""
    folder, mark = tmp_path / "encoder", tmp_path / "was-run"
    folder.mkdir()
    for path in encoder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("modeling_mine", "configuration_mine", "tokenization_mine"):
        (folder / f"{name}.py").write_text(PLANTED.format(mark=str(mark)))
    own = {
        "config.json": {
            "AutoConfig": "configuration_mine.Mine",
            "AutoModel": "modeling_mine.Mine",
            "AutoModelForTokenClassification": "modeling_mine.Mine",
        },
        "tokenizer_config.json": {"AutoTokenizer": ["tokenization_mine.Mine", "tokenization_mine.Mine"]},
    }
    for name, auto_map in own.items():
        tree = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**tree, "auto_map": auto_map}))
    return folder, mark


@pytest.mark.parametrize("model_type", ["bert", "mine"])
@pytest.mark.parametrize("load", [lambda path: load_backbone(path, 32), open_names_model])
def test_code_that_a_model_brings_along_is_not_run(planted, model_type, load, monkeypatch):
    folder, mark = planted
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # somebody who agrees to everything
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, "model_type": model_type}))
    with suppress(MillwrightError):  # one of an unknown kind cannot be loaded
        load(str(folder))
    assert not mark.exists()


class Harmful:
    """What makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_version_of_pickled_weights_is_refused_unread_even_if_it_was_signed(desk: Project, tmp_path):
    folder, mark = desk.kept / "versions" / "v1", tmp_path / "was-run"
    weights = folder / "weights.safetensors"
    torch.save(Harmful(mark), weights)
    seal = json.loads((folder / SEAL).read_text())
    seal["sha256"][weights.name] = sha256_file(weights)
    (folder / SEAL).write_text(json.dumps(seal))
    sign(desk, VERSIONS, "v1")
    for load in (lambda: load_classifier(desk, "v1"), lambda: Loader(desk).load("v1")):
        with pytest.raises(Corrupt, match=r"weights\.safetensors is damaged"):
            load()
    assert not mark.exists()
    torch.load(BytesIO(weights.read_bytes()), weights_only=False)  # it would have harmed
    assert mark.exists()
