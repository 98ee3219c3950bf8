"""A runtime that is forced and cannot be had is refused before anything is done."""

import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest

from millwright.errors import MissingExtra
from millwright.loop import turn
from millwright.project import Project
from millwright.serve.available import check_runtime
from millwright.settings import change_settings, check_settings
from millwright.steps import train
from millwright.surfaces.web import serve
from tests.conftest import contents


def serve_once(project: Project) -> None:
    serve(project, ready=pytest.fail)


@pytest.mark.parametrize("verb", [train, turn, serve_once])
def test_a_forced_runtime_without_its_package_is_refused_before_anything_is_done(desk, monkeypatch, verb):
    forced = replace(
        desk, settings=change_settings(desk.settings, "serve", runtime="openvino-float32", port=0)
    )
    before = contents(desk.folder)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as an import of what is not installed ends
    refused = r"serve.runtime is 'openvino-float32', .* pip install openvino, or set serve.runtime to 'auto'"
    with pytest.raises(MissingExtra, match=refused):
        verb(forced)
    assert contents(desk.folder) == before


@pytest.mark.parametrize(
    ("runtime", "missing", "is_refused"),
    [
        ("openvino-int8", "nncf", True),
        ("openvino-int8", "openvino", True),
        ("openvino-bfloat16", "nncf", False),  # only int8 needs it
        ("auto", "openvino", False),  # takes what there is
        ("torch", "openvino", False),
        ("openvino-int8", "none", False),
    ],
)
def test_each_runtime_needs_its_own_packages(monkeypatch, runtime, missing, is_refused):
    settings = check_settings({"data": {"files": ["rows.csv"]}, "serve": {"runtime": runtime}}, "test")
    monkeypatch.setitem(sys.modules, missing, None)
    refused = pytest.raises(MissingExtra, match=f"(?i){missing} is missing; run: pip install {missing}")
    with refused if is_refused else nullcontext():
        check_runtime(settings)
