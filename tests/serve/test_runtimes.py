"""How a version runs: converted bodies answer as PyTorch does, the fastest that agrees is chosen and kept."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from millwright.data.dataset import open_dataset
from millwright.data.prepare import prepare
from millwright.errors import BadInput
from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.registry.signatures import VERSIONS, sign
from millwright.registry.versions import CHAMPION, alias, version_manifest
from millwright.serve import convert, runtimes
from millwright.serve.convert import in_float32
from millwright.serve.engine import Engine, Limits
from millwright.serve.loading import Loader
from millwright.serve.openvino_body import CALL_TOKENS, groups_by_length
from millwright.serve.promotion import is_measured, promote
from millwright.serve.runtime_record import (
    OPENVINO,
    Candidate,
    Machine,
    RuntimeRecord,
    read_runtime,
    this_machine,
    write_runtime,
)
from millwright.serve.torch_body import TorchBody
from millwright.settings import change_settings
from millwright.store.files import read_json, sealed_folder
from millwright.train.ensemble import in_precision
from millwright.train.states import tokenize
from tests.desk import make_desk, puzzling_rows
from tests.serve.trained import add_trained, tiny_project
from tests.train.conftest import CONFIGS

TEXTS = ["card", "pin blocked please help", "transfer " + "money " * 25, "the card is lost", "pin", "where"]


def forced(project: Project, runtime: str) -> Project:
    return Project(project.folder, change_settings(project.settings, "serve", runtime=runtime))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project with two versions of method head over one backbone, and one of method top."""
    made = tiny_project(tmp_path_factory.mktemp("desk"))
    assert [add_trained(made), add_trained(made, "head", seed=1), add_trained(made, "top")] == [
        "v1",
        "v2",
        "v3",
    ]
    return made


@pytest.fixture
def wrong_bfloat16(monkeypatch) -> None:
    """Make bodies in bfloat16 that say the contrary."""
    body = runtimes._body

    class Wrong:
        streams = 1

        def __init__(self, right: object) -> None:
            self.right = right

        def features(self, texts: list[str]) -> np.ndarray:
            return -self.right.features(texts)

    def swapped(project, classifier, dataset, name):
        made = body(project, classifier, dataset, name)
        return Wrong(made) if name == "openvino-bfloat16" else made

    monkeypatch.setattr(runtimes, "_body", swapped)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_converted_body_answers_as_the_trained_model_does(tmp_path, family):
    project = forced(tiny_project(tmp_path, family), "openvino-float32")
    version = add_trained(project, "top")
    promote(project, version, "to test")
    served = Loader(project).load(version)
    assert served.runtime == "openvino-float32"
    trained = load_classifier(project, version)
    exact = in_float32(trained).probabilities(TEXTS)
    assert served.probabilities(served.body.features(TEXTS)) == pytest.approx(exact, abs=1e-4)
    assert served.labels == trained.labels


class Noting:
    """A tokenizer that notes in which threads it is used."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.threads = set[threading.Thread]()

    def __getattr__(self, name: str) -> object:
        self.threads.add(threading.current_thread())
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize("runtime", ["torch", "openvino-float32"])
def test_texts_are_cut_into_tokens_by_workers_and_not_in_the_event_loop(tmp_path, runtime):
    project = forced(tiny_project(tmp_path), runtime)
    version = add_trained(project)
    promote(project, version, "to test")
    served = Loader(project).load(version)
    holder = vars(served.body if runtime != "torch" else served.body.classifier.backbone)
    noting = holder["tokenizer"] = Noting(holder["tokenizer"])

    async def answer() -> np.ndarray:
        engine = Engine(Limits(workers=1))
        await engine.start()
        try:
            return await engine.answer(served, TEXTS)
        finally:
            await engine.stop()

    assert asyncio.run(answer()).shape == (len(TEXTS), 3)
    assert [thread.name for thread in noting.threads] == ["model"]


def test_what_was_measured_is_kept_with_the_choice(project):
    chosen = runtimes.choose_runtime(project, "v1")
    record = read_runtime(project, "v1")
    assert (record.version, record.runtime) == ("v1", chosen)
    assert [one.name for one in record.candidates] == ["torch", *OPENVINO]
    by_name = {one.name: one for one in record.candidates}
    assert by_name[chosen].agreement >= 0.995
    assert by_name[chosen].refused is None
    for one in record.candidates:  # whoever is faster was refused, whoever is slower was not judged
        assert one.texts_per_second > 0
        assert (one.refused is not None) == (one.texts_per_second > by_name[chosen].texts_per_second)
        assert one.name == chosen or one.refused is not None or one.agreement is None


def test_a_second_promotion_on_this_machine_measures_nothing_again(project):
    runtimes.choose_runtime(project, "v1")
    record = read_runtime(project, "v1")
    promote(project, "v1", "again")
    assert read_runtime(project, "v1") == record


def test_another_machine_measures_anew(project):
    promote(project, "v1", "here")
    moved = replace(read_runtime(project, "v1"), machine=Machine("another"), candidates=())
    write_runtime(project, moved)
    promote(project, "v1", "there")
    assert len(read_runtime(project, "v1").candidates) == 4


@pytest.fixture(scope="module")
def record_of_v1(project) -> RuntimeRecord:
    """The record of v1, with speeds that no machine would measure."""
    runtimes.choose_runtime(project, "v1")
    record = read_runtime(project, "v1")
    speeds = enumerate(record.candidates, start=1)
    return replace(
        record, candidates=tuple(replace(one, texts_per_second=float(speed)) for speed, one in speeds)
    )


@pytest.fixture
def measured(project, record_of_v1) -> RuntimeRecord:
    """The same, kept, and v1 the champion."""
    write_runtime(project, record_of_v1)
    if alias(project, CHAMPION) != "v1":
        promote(project, "v1", "to test")
    return record_of_v1


def test_another_head_takes_the_champions_speeds_and_is_judged_itself(project, measured):
    chosen = runtimes.choose_runtime(project, "v2")
    record = read_runtime(project, "v2")
    assert record.speeds_of == "v1"
    assert {one.name: one.texts_per_second for one in record.candidates} == {
        "torch": 1.0, "openvino-float32": 2.0, "openvino-bfloat16": 3.0, "openvino-int8": 4.0,
    }  # fmt: skip
    (serving,) = (one for one in record.candidates if one.name == chosen)
    v2 = load_classifier(project, "v2")
    dataset = open_dataset(project, version_manifest(project, "v2")["dataset"]["id"])
    exact, served = in_float32(v2), Loader(project).load("v2")
    held = dataset.split("validation")
    judging = [row.text for row in (*held, *dataset.split("test"))]
    said = served.probabilities(served.body.features([row.text for row in held])).argmax(1)
    agreed = served.probabilities(served.body.features(judging)).argmax(1) == exact.probabilities(
        judging
    ).argmax(1)
    right = [v2.labels[best] == row.label for best, row in zip(said, held, strict=True)]
    assert serving.agreement == pytest.approx(agreed.mean())
    assert serving.accuracy == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    "change",
    [
        {"text_length": 200.0},
        {"machine": replace(this_machine(), processor="another")},
        {"machine": replace(this_machine(), cores=64)},
        {"machine": replace(this_machine(), gpu="NVIDIA H200")},
        {"network": "0" * 16},
        {"network": None},
    ],
)
def test_speeds_of_other_texts_machines_and_networks_are_not_taken(project, measured, change):
    write_runtime(project, replace(measured, **change))
    runtimes.choose_runtime(forced(project, "openvino-float32"), "v2")
    (one,) = read_runtime(project, "v2").candidates
    assert read_runtime(project, "v2").speeds_of is None
    assert one.texts_per_second > 4


def test_what_could_not_be_made_for_the_champion_is_tried_again(project, measured):
    tried = [replace(one, texts_per_second=0.0, refused="no") for one in measured.candidates]
    write_runtime(project, replace(measured, candidates=tuple(tried)))
    runtimes.choose_runtime(forced(project, "openvino-float32"), "v2")
    assert read_runtime(project, "v2").speeds_of is None


def test_a_head_that_disagrees_is_refused_though_the_champions_speeds_are_taken(
    project, measured, wrong_bfloat16
):
    with pytest.raises(BadInput, match=r"serve.runtime is 'openvino-bfloat16', .* agrees with float32 on"):
        runtimes.choose_runtime(forced(project, "openvino-bfloat16"), "v2")


def test_who_disagrees_on_validation_rows_alone_is_refused(project):
    classifier = load_classifier(project, "v1")
    dataset = open_dataset(project, version_manifest(project, "v1")["dataset"]["id"])
    held = {row.text for row in dataset.split("validation")}

    class WrongOnHeld:
        streams = 1

        def features(self, texts: list[str]) -> np.ndarray:
            sign = np.array([-1 if text in held else 1 for text in texts])
            return sign[:, None] * TorchBody(in_float32(classifier)).features(texts)

    judge = runtimes._judge(project, classifier, dataset, runtimes.MOST_TEST)
    assert len(judge.texts) == len(dataset.split("validation", "test"))
    refused = runtimes._judged(Candidate("wrong", 1.0), WrongOnHeld(), classifier, judge).refused
    assert refused.startswith("agrees with float32 on ")


def test_where_pytorch_is_named_nothing_is_measured_until_another_is_wanted(project):
    only = forced(project, "torch")
    assert runtimes.choose_runtime(only, "v1") == "torch"
    assert read_runtime(project, "v1").candidates == (Candidate("torch"),)
    assert is_measured(only, "v1")
    assert not is_measured(project, "v1")
    assert not is_measured(forced(project, "openvino-float32"), "v1")


def test_versions_that_differ_in_their_heads_alone_share_a_body(project):
    loader = Loader(project)
    for version in ("v1", "v2", "v3"):
        runtimes.choose_runtime(forced(project, "openvino-float32"), version)
    one, two, three = (loader.load(version) for version in ("v1", "v2", "v3"))
    assert one.body is two.body
    assert one.body is not three.body


def test_versions_without_a_runtime_are_served_by_pytorch_and_share_too(tmp_path):
    project = tiny_project(tmp_path)
    versions = [add_trained(project), add_trained(project, "head", seed=1)]
    loader = Loader(project)
    one, two = (loader.load(version) for version in versions)
    assert (one.runtime, one.body) == ("torch", two.body)
    exact = load_classifier(project, versions[0]).probabilities(TEXTS)
    assert one.probabilities(one.body.features(TEXTS)) == pytest.approx(exact, abs=1e-5)


def test_versions_that_cut_texts_into_other_tokens_share_no_body(tmp_path):
    project = tiny_project(tmp_path)
    one, two = add_trained(project), add_trained(project, "head", seed=1)
    folder = project.kept / "versions" / two
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "seal.json"}
    tokenizer = json.loads(kept["tokenizer.json"])
    tokenizer["truncation"]["max_length"] = 3
    kept["tokenizer.json"] = json.dumps(tokenizer).encode()
    shutil.rmtree(folder)
    with sealed_folder(folder) as made:
        for name, content in kept.items():
            (made / name).write_bytes(content)
    sign(project, VERSIONS, two)
    loader = Loader(project)
    texts = ["card pin card pin card", "card pin transfer transfer transfer"]
    whole, cut = (loader.load(version).body.features(texts) for version in (one, two))
    assert not np.allclose(*whole)
    assert cut[0] == pytest.approx(cut[1], abs=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_version_in_another_precision_is_the_same_otherwise(project, precision):
    trained = load_classifier(project, "v3")
    other = in_precision(trained, precision)
    assert {tensor.dtype for tensor in other.network.encoder.parameters()} == {precision}
    assert {tensor.dtype for tensor in other.network.head.parameters()} == {torch.float32}
    assert other.probabilities(TEXTS) == pytest.approx(in_float32(trained).probabilities(TEXTS), abs=0.05)


def test_what_was_chosen_on_a_gpu_runs_in_the_precision_of_training_where_there_is_none(project, measured):
    write_runtime(project, replace(measured, runtime="torch-bfloat16", body=None))
    served = Loader(project).load("v1")
    assert served.runtime == "torch"
    assert served.body.classifier.precision == load_classifier(project, "v1").precision


def test_a_converted_version_is_loaded_and_run_without_pytorch(project):
    runtimes.choose_runtime(forced(project, "openvino-bfloat16"), "v1")
    code = (
        "import sys\nfrom millwright.project import open_project\n"
        "from millwright.serve.loading import Loader\n"
        f"served = Loader(open_project({str(project.folder)!r})).load('v1')\n"
        "served.probabilities(served.body.features(['card', 'pin']))\n"
        "assert served.runtime == 'openvino-bfloat16', served.runtime\n"
        "heavy = {'torch', 'transformers', 'sklearn'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_neither_converter_can_send_anything_to_its_maker():
    code = (
        "from millwright.serve.openvino_body import import_openvino\nimport_openvino()\n"
        "from openvino.tools.ovc import telemetry_utils\nassert 'stub' in telemetry_utils.tm.__name__\n"
        "from nncf.telemetry.wrapper import telemetry\nassert 'Mock' in repr(telemetry), telemetry\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_runtime_that_disagrees_may_not_serve(project, wrong_bfloat16):
    with pytest.raises(BadInput, match=r"serve.runtime is 'openvino-bfloat16', .* agrees with float32 on"):
        runtimes.choose_runtime(forced(project, "openvino-bfloat16"), "v3")


@pytest.mark.parametrize("method", ["private-head", pytest.param("private-lora", marks=pytest.mark.slow)])
def test_int8_is_refused_to_a_private_version_since_rows_would_set_its_scales(tmp_path, method):
    """Also where a version that promises nothing has the same body, calibrated by rows."""
    made = tiny_project(tmp_path / "desk")
    add_trained(made)
    promote(forced(made, "openvino-int8"), "v1", "by hand")
    bodies = sorted((made.kept / "bodies").glob("*-int8"))
    private = Project(made.folder, change_settings(made.settings, "train", epsilon=80.0))
    assert (add_trained(private, method), len(bodies)) == ("v2", 1)
    with pytest.raises(BadInput, match="which cannot serve v2: its scales would be taken from rows, which d"):
        runtimes.choose_runtime(forced(private, "openvino-int8"), "v2")
    assert runtimes.choose_runtime(private, "v2") != "openvino-int8"
    refused = {one.name: one.refused for one in read_runtime(private, "v2").candidates}
    assert "which differential privacy does not allow" in refused["openvino-int8"]
    assert sorted((made.kept / "bodies").glob("*-int8")) == bodies


def test_a_converter_that_fails_leaves_the_version_to_pytorch(project, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(runtimes, "convert_body", broken)
    monkeypatch.setattr(runtimes, "quantise_body", broken)
    add_trained(project, "top", seed=5)
    assert runtimes.choose_runtime(project, "v4") == "torch"
    refused = {one.name: one.refused for one in read_runtime(project, "v4").candidates}
    assert refused["openvino-int8"] == "could not be made: RuntimeError: no such operation"


def test_promotion_points_the_alias_and_keeps_the_runtime(project):
    promote(project, "v2", "to test")
    assert alias(project, CHAMPION) == "v2"
    assert read_runtime(project, "v2") is not None


def test_a_server_heeds_a_setting_that_was_made_after_the_promotion(project, caplog):
    promote(project, "v2", "to test")
    record = read_runtime(project, "v2")
    assert record.runtime.startswith("openvino")
    for name, runs in (("torch", "torch"), ("openvino-float32", record.runtime)):
        changed = replace(project, settings=change_settings(project.settings, "serve", runtime=name))
        assert Loader(changed).load("v2").runtime == runs
    assert ("serve.runtime is 'openvino-float32'" in caplog.text) == (record.runtime != "openvino-float32")


def test_int8_names_the_rows_that_calibrated_it(project):
    dataset = prepare(project)
    promote(project, "v2", "to test")
    (about,) = {path for path in project.kept.glob("bodies/*-int8/body.json")}
    assert set(read_json(about)["rows"]) == {row.id for row in dataset.split("train")}


def test_int8_is_calibrated_by_no_more_tokens_than_the_limit(project, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "CALIBRATION_TOKENS", 30)
    classifier, rows = load_classifier(project, "v1"), prepare(project).split("train")
    convert.quantise_body(classifier, rows, tmp_path / "int8")
    taken = len(read_json(tmp_path / "int8" / "body.json")["rows"])
    texts = [row.text for row in sorted(rows, key=lambda row: row.id)]
    tokens = [len(ids) for ids in tokenize(classifier.backbone, texts)]
    assert sum(tokens[:taken]) <= 30 < sum(tokens[: taken + 1])


def test_texts_are_cut_into_groups_where_padding_costs_more_than_a_call():
    assert groups_by_length([5, 5, 5]) == [[0, 1, 2]]
    assert groups_by_length([5, 5 + CALL_TOKENS + 1, 5]) == [[1], [0, 2]]
    assert groups_by_length([9, 3, 7]) == [[0, 2, 1]]
    assert groups_by_length([]) == []


def test_the_first_texts_may_come_from_many_threads_at_once(project):
    runtimes.choose_runtime(forced(project, "openvino-float32"), "v1")
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from millwright.project import open_project\nfrom millwright.serve.loading import Loader\n"
        f"body = Loader(open_project({str(project.folder)!r})).load('v1').body\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    found = list(threads.map(lambda n: body.features(['card']).tobytes(), range(64)))\n"
        "assert len(set(found)) == 1"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_pytorch_may_always_serve_since_it_is_what_was_measured(tmp_path, encoder):
    unsure = make_desk(tmp_path / "desk", encoder, puzzling_rows(150))  # ties fall otherwise in bfloat16
    version = add_trained(unsure)
    assert runtimes.choose_runtime(unsure, version) == "torch"
