"""The load is real, what it wrote is forgotten, and the figures add up."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import func, select

from millwright.bench.generator import percentile
from millwright.bench.measure import LoadFigures, _copy, bench
from millwright.errors import BadInput, NotFound
from millwright.machine import cores
from millwright.project import Project, open_project
from millwright.settings import change_settings
from millwright.store.tables import predictions
from tests.conftest import csv_of, desk_rows
from tests.desk import copy_desk


@pytest.fixture(scope="module")
def project(tmp_path_factory, trained_folder) -> Project:
    return copy_desk(trained_folder, tmp_path_factory.mktemp("bench") / "desk")


@pytest.fixture(scope="module")
def measured(project) -> tuple[list[LoadFigures], list[tuple[str, float]]]:
    """What was found at two concurrencies, and the progress that was told."""
    stages = []
    found = bench(
        project,
        concurrencies=(1, 4),
        seconds=0.5,
        price_per_core_hour=0.05,
        progress=lambda *done: stages.append(done),
    )
    return found, stages


def test_every_concurrency_is_measured_and_priced_for_the_whole_machine(measured):
    found, stages = measured
    assert [one.concurrency for one in found] == [1, 4]
    for one in found:
        assert one.errors == 0
        assert one.requests_per_s > 0
        assert 0 < one.p50_ms <= one.p95_ms <= one.p99_ms
        million_hours = 1_000_000 / one.requests_per_s / 3600
        assert one.cost_per_million == pytest.approx(million_hours * 0.05 * cores())
    assert stages[-1] == ("load", 1.0)


def test_what_is_measured_is_the_network_and_not_the_cache(project):
    caching = replace(project, settings=change_settings(project.settings, "serve", cache_answers=99))
    with _copy(caching) as folder:
        copied = open_project(folder)
        assert copied.settings.serve.cache_answers == 0
        assert copied.settings.serve.runtime == project.settings.serve.runtime
        assert folder.parent == project.kept / "spill"  # where an erasure removes it, if this run is killed


def test_a_model_of_names_in_the_project_is_found_from_the_copy(project):
    (project.folder / "models" / "names").mkdir(parents=True)
    named = replace(project, settings=change_settings(project.settings, "privacy", names="models/names"))
    with _copy(named) as folder:
        assert open_project(folder).settings.privacy.names == str(project.folder / "models" / "names")


@pytest.mark.parametrize("per_cent", [50, 95, 99])
@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 1000])
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(per_cent, count):
    values = list(np.random.default_rng(0).random(count))
    expected = np.percentile(values, per_cent, method="inverted_cdf")
    assert percentile(sorted(values), per_cent) == expected


def test_what_the_load_wrote_is_forgotten(project, measured):
    with project.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(predictions)) == 0
    assert list((project.kept / "spill").iterdir()) == []
    assert (project.kept / "versions" / "v1" / "seal.json").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"concurrencies": (0,)}, "concurrency must be over 0, got 0"),
        ({"concurrencies": ()}, "concurrency must be over 0"),
        ({"seconds": 0.0}, "seconds must be over 0, got 0.0"),
        ({"price_per_core_hour": -1.0}, "price must be over 0, got -1.0"),
    ],
)
def test_impossible_requests_are_refused_before_a_server_starts(project, wrong, says):
    with pytest.raises(BadInput, match=says):
        bench(project, **wrong)


def test_a_project_without_a_version_says_so(make_project):
    with pytest.raises(NotFound, match="no version yet"):
        bench(make_project(csv_of(desk_rows(30))), concurrencies=(1,), seconds=0.1)
