"""What counts as measured here: on this machine, all that could be made, and signed."""

from dataclasses import asdict, replace

import pytest

from millwright.project import Project
from millwright.registry.signatures import sign
from millwright.serve.promotion import is_measured
from millwright.serve.runtime_record import (
    INT8,
    OPENVINO,
    TORCH,
    TORCH_BFLOAT16,
    Candidate,
    Machine,
    RuntimeRecord,
    candidates_on,
    read_runtime,
    this_machine,
    write_runtime,
)
from millwright.settings import change_settings
from millwright.store.files import sealed_folder, write_json
from tests.conftest import csv_of, desk_rows


@pytest.fixture
def project(make_project) -> Project:
    return make_project(csv_of(desk_rows(12)))


def record(*candidates: Candidate, machine: Machine | None = None) -> RuntimeRecord:
    return RuntimeRecord("v1", candidates[0].name, None, candidates, machine or this_machine(), 1.0)


def timed(*names: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(name, 9.0) for name in names)


@pytest.mark.parametrize(
    "change",
    [{"processor": "another"}, {"cores": 640}, {"gpu": "another"}, {"openvino": "2020.1"}, {"nncf": None}],
    ids=lambda change: next(iter(change)),
)
def test_another_processor_gpu_package_or_number_of_cores_is_another_machine(project, change):
    every = timed(*candidates_on(this_machine().gpu, "auto"))
    write_runtime(project, record(*every))
    assert is_measured(project, "v1")
    write_runtime(project, record(*every, machine=replace(this_machine(), **change)))
    assert not is_measured(project, "v1")


def test_a_runtime_that_was_never_tried_is_measured(project):
    write_runtime(project, record(*timed(TORCH)))
    assert not is_measured(project, "v1")


def test_what_could_not_be_made_here_is_not_tried_at_each_promotion(project):
    first, *rest = candidates_on(this_machine().gpu, "auto")
    refused = (Candidate(name, refused="could not be made") for name in rest)
    write_runtime(project, record(*timed(first), *refused))
    assert is_measured(project, "v1")


def test_a_runtime_that_is_named_need_be_the_only_one_that_was_timed(project):
    write_runtime(project, record(*timed("openvino-float32")))
    named = replace(project, settings=change_settings(project.settings, "serve", runtime="openvino-float32"))
    assert is_measured(named, "v1")


def test_a_record_of_a_release_that_knew_the_processor_alone_is_read_and_was_not_measured_here(project):
    tree = asdict(record(*timed(TORCH, *OPENVINO)))
    tree["processor"] = tree.pop("machine")["processor"]
    with sealed_folder(project.kept / "runtimes" / "v1") as folder:
        write_json(folder / "runtime.json", {"format": 1, **tree})
    sign(project, "runtimes", "v1")
    assert read_runtime(project, "v1").machine == Machine(this_machine().processor)
    assert not is_measured(project, "v1")


def test_with_a_gpu_pytorch_is_measured_in_both_precisions_and_openvino_only_by_name():
    assert candidates_on("NVIDIA H200", "auto") == (TORCH, TORCH_BFLOAT16)
    assert candidates_on(None, "auto") == (TORCH, *OPENVINO)
    for gpu in (None, "NVIDIA H200"):
        assert candidates_on(gpu, INT8) == (INT8,)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine("Chip 9"), "Chip 9"),
        (Machine("Chip 9", 1), "Chip 9, 1 core"),
        (
            Machine("Chip 9", 16, "GPU 7", "2026.4.1", "3.4.0"),
            "Chip 9, 16 cores, GPU 7, OpenVINO 2026.4.1, NNCF 3.4.0",
        ),
    ],
)
def test_a_machine_is_named_by_what_is_known_of_it(machine, said):
    assert str(machine) == said
