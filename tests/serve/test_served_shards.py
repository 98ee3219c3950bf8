"""Versions of shards in service: they answer as they were trained, by PyTorch and converted."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import resolve
from millwright.serve.convert import in_float32
from millwright.serve.engine import Engine, Limits
from millwright.serve.loading import Loader
from millwright.serve.promotion import promote
from millwright.serve.runtime_record import OPENVINO, read_runtime
from millwright.serve.runtimes import choose_runtime
from millwright.serve.torch_body import body_key
from millwright.settings import change_settings
from millwright.store.files import read_json
from tests.serve.trained import add_trained, tiny_project

TEXTS = ["card", "pin blocked please help", "transfer " + "money " * 25, "the card is lost", "pin", "where"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project with a version of two shards whose last layers were tuned, and one of low-rank updates."""
    made = tiny_project(tmp_path_factory.mktemp("desk"))
    made = Project(made.folder, change_settings(made.settings, "train", shards=2, batch_size=16))
    assert [add_trained(made, "top"), add_trained(made, "lora")] == ["v1", "v2"]
    return made


def forced(project: Project, runtime: str) -> Project:
    return Project(project.folder, change_settings(project.settings, "serve", runtime=runtime))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_by_pytorch_a_version_of_shards_answers_as_it_was_trained(project, version):
    served = Loader(project).load(version)
    trained = load_classifier(project, version)
    assert served.runtime == "torch"
    assert served.labels == trained.labels == ("card", "pin", "transfer")
    assert np.array_equal(served.probabilities(served.body.features(TEXTS)), trained.probabilities(TEXTS))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_converted_it_answers_as_in_float32(project, version):
    wanted = forced(project, "openvino-float32")
    promote(wanted, version, "to test")
    served = Loader(wanted).load(version)
    assert served.runtime == "openvino-float32"
    exact = in_float32(load_classifier(project, version)).probabilities(TEXTS)
    assert served.probabilities(served.body.features(TEXTS)) == pytest.approx(exact, abs=1e-4)


def test_quantised_it_is_measured_like_any_other_and_names_the_rows_that_calibrated_it(project):
    choose_runtime(forced(project, "auto"), "v1")
    record = read_runtime(project, "v1")
    assert [one.name for one in record.candidates if one.texts_per_second] == ["torch", *OPENVINO]
    key = body_key(load_classifier(project, "v1"))
    assert read_json(project.kept / "bodies" / f"{key}-int8" / "body.json")["rows"]


def test_bodies_of_other_shards_are_not_shared(project):
    keys = {body_key(load_classifier(project, version)) for version in ("v1", "v2")}
    assert len(keys) == 2
    loader = Loader(project)
    assert loader.load("v1").body is loader.load("v1").body


def test_what_every_shard_shares_runs_once(project):
    """Of four layers two are tuned: one copy of the lower two, and two of the upper."""
    network = load_classifier(project, "v1").network
    layers = [
        name for name, _ in network.named_modules() if name.rpartition(".")[0].endswith("encoder.layer")
    ]
    assert len(layers) == 2 + 2 * 2


def test_the_folder_holds_a_file_a_shard_and_no_other_weights(project):
    folder: Path = project.kept / "versions" / resolve(project, "v1")
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "shard-0.safetensors",
        "shard-1.safetensors",
    ]


def test_the_engine_serves_two_versions_of_shards_side_by_side(project):
    loader, engine = Loader(project), Engine(Limits(max_batch=4, workers=2))
    served = {name: loader.load(name) for name in ("v1", "v2")}

    async def ask() -> list[np.ndarray]:
        engine.swap(served, {"champion": "v1"})
        await engine.start()
        try:
            asked = (engine.answer(engine.model(name)[1], TEXTS) for name in ("champion", "v2"))
            return list(await asyncio.gather(*asked))
        finally:
            await engine.stop()

    for name, said in zip(served, asyncio.run(asyncio.wait_for(ask(), 60)), strict=True):
        exact = in_float32(load_classifier(project, name)).probabilities(TEXTS)
        assert said == pytest.approx(exact, abs=0.02), name  # other batches, perhaps in bfloat16
