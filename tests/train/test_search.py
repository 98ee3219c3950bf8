"""The search: judged by rows that taught nothing, never worse than its start, resumed when cut short."""

import json

import optuna
import pytest

from millwright.data.prepare import prepare
from millwright.errors import BadInput
from millwright.project import Project
from millwright.records import JsonObject
from millwright.settings import Settings, TrainSection, change_settings
from millwright.train.fit import fit
from millwright.train.methods import METHODS
from millwright.train.search import SEARCHED, _start, search
from millwright.train.tuned import _plan
from tests.desk import make_desk, telling_rows
from tests.train.conftest import mostly_quick

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    return make_desk(
        tmp_path / "desk", encoder, telling_rows(90), data={"validation_share": 0.2},
        train={"method": "top", "top_layers": 1, "epochs": 1, "label_smoothing": 0.1, "learning_rate": 1e-3},
    )  # fmt: skip


def quiet(_stage: str, _done: float) -> None:
    pass


def searched(project: Project, trials: int, progress=quiet, **train: object) -> tuple[Settings, JsonObject]:
    settings = change_settings(project.settings, "train", **train)
    return search(prepare(project), settings, trials=trials, kept=project.kept, progress=progress)


def test_the_first_trial_is_where_the_search_starts(project):
    _, found = searched(project, 1)
    (trial,) = found["trials"]
    assert (trial["learning_rate"], trial["label_smoothing"]) == (1e-3, 0.1)
    assert not list((project.kept / "runs").rglob("checkpoint.safetensors"))


@pytest.mark.parametrize(("rows", "grown"), [(4_999, 1), (5_000, 2)])
def test_it_starts_at_the_rate_that_training_would_take(rows, grown):
    train = TrainSection(method="top")
    rate = METHODS["top"].learning_rate * grown
    assert _start(train, rows)["learning_rate"] == _plan("top", train, rows, 0).learning_rate == rate


@pytest.mark.parametrize("method", mostly_quick(SEARCHED))
def test_every_method_but_the_head_can_be_searched(project, method):
    start = {"method": method, "rank": 4, "adapter_size": 16, "batch_size": 4}
    best, found = searched(project, 2, **start)
    assert best.train.method == method
    own = {"lora": {"rank"}, "adalora": {"rank"}, "adapter": {"adapter_size"}}.get(method, set())
    assert found["best"].keys() == {"learning_rate", "label_smoothing"} | own
    assert len(found["trials"]) == 2


def test_a_rate_that_is_not_set_starts_at_that_of_the_method(tmp_path, encoder):
    project = make_desk(tmp_path / "b", encoder, telling_rows(90), data={"validation_share": 0.2})
    _, found = searched(project, 1, method="lora", rank=5, epochs=1)
    assert found["trials"][0]["learning_rate"] == METHODS["lora"].learning_rate / 2  # batches of 16, not 32
    assert found["trials"][0]["rank"] == 5


def test_the_best_is_the_trial_with_the_least_loss_and_never_worse_than_the_start(project):
    best, found = searched(project, 4)
    losses = [trial["log_loss"] for trial in found["trials"]]
    least = min(found["trials"], key=lambda trial: trial["log_loss"])
    assert {name: least[name] for name in found["best"]} == found["best"]
    assert min(losses) <= losses[0]
    assert (best.train.learning_rate, best.train.label_smoothing) == tuple(found["best"].values())


def test_only_what_was_searched_is_changed(project):
    best, _ = searched(project, 2)
    before, after = project.settings.model_dump(), best.model_dump()
    for section in before:
        for key in before[section]:
            if (section, key) not in (("train", "learning_rate"), ("train", "label_smoothing")):
                assert before[section][key] == after[section][key], key


def test_a_trial_is_judged_by_the_loss_before_validation_rows_taught(project):
    _, found = searched(project, 1)
    alone = fit(prepare(project), project.settings, kept=project.kept, progress=quiet)
    assert found["trials"][0]["log_loss"] == alone.facts["validation_log_loss"]


def test_trials_stay_within_a_factor_of_five_of_the_start(project):
    _, found = searched(project, 5)
    for trial in found["trials"]:
        assert 1e-3 / 5 <= trial["learning_rate"] <= 1e-3 * 5
        assert 0 <= trial["label_smoothing"] <= 0.2
    assert len({trial["learning_rate"] for trial in found["trials"]}) == 5


def test_the_same_seed_tries_the_same_settings(project, tmp_path, encoder):
    twin = make_desk(tmp_path / "twin", encoder, telling_rows(90))
    (twin.folder / "millwright.toml").write_text((project.folder / "millwright.toml").read_text())
    first, second = (searched(one, 3)[1] for one in (project, Project(twin.folder, project.settings)))
    assert first == second
    third = searched(project, 3, seed=5)[1]
    assert third["trials"][1]["learning_rate"] != first["trials"][1]["learning_rate"]


def test_a_search_that_was_cut_short_goes_on_and_ends_the_same(project, tmp_path, encoder):
    def stop_in_the_third(stage: str, _done: float) -> None:
        if stage.startswith("trial 3 of 4: tune"):
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        searched(project, 4, stop_in_the_third)
    resumed = searched(project, 4, lambda stage, done: told.append(stage.split(":")[0]))
    twin = make_desk(tmp_path / "twin", encoder, telling_rows(90))
    whole = searched(Project(twin.folder, project.settings), 4)
    assert resumed == whole
    assert set(told) == {"trial 3 of 4", "trial 4 of 4"}


def test_more_trials_later_build_on_those_there_are(project):
    _, few = searched(project, 2)
    told: list[str] = []
    _, more = searched(project, 3, lambda stage, done: told.append(stage.split(":")[0]))
    assert more["trials"][:2] == few["trials"]
    assert set(told) == {"trial 3 of 3"}


def test_each_trial_tells_its_number_and_stage(project):
    told: list[str] = []
    searched(project, 2, lambda stage, done: told.append(stage))
    assert [f"trial {number} of 2: tune" in told for number in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("method", ["head", "auto"])
def test_a_method_without_anything_to_search_is_refused_with_those_that_have(project, method):
    with pytest.raises(
        BadInput, match=f"method '{method}' has nothing to search; pass --method top, full, lora"
    ):
        searched(project, 2, method=method)
    assert not (project.kept / "runs").exists()


def test_too_few_rows_to_judge_by_are_refused_with_their_number(tmp_path, encoder):
    project = make_desk(tmp_path / "small", encoder, telling_rows(40), train={"method": "top"})
    held = len(prepare(project).split("validation"))
    assert held < 10
    with pytest.raises(BadInput, match=f"a search needs 10 validation rows, there are {held}; raise data"):
        searched(project, 2)


def test_what_was_found_can_be_written_as_json(project):
    _, found = searched(project, 2)
    assert json.loads(json.dumps(found)) == found
