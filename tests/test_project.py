import subprocess
import sys

import pytest

from millwright.errors import BadSetting, Busy, CannotStore, NotFound
from millwright.project import Project, open_project
from millwright.settings import FILENAME, Settings

HOLD = """
import sys
from millwright.project import open_project
with open_project(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_opens_the_folder_that_has_the_settings(tmp_path):
    (tmp_path / FILENAME).write_text("[train]\nseed = 5\n")
    project = open_project(tmp_path)
    assert project.folder == tmp_path.resolve()
    assert project.settings.train.seed == 5


def test_opens_the_nearest_project_above(tmp_path):
    (tmp_path / FILENAME).write_text("[train]\nseed = 1\n")
    inner = tmp_path / "inner"
    (inner / "a" / "b").mkdir(parents=True)
    (inner / FILENAME).write_text("[train]\nseed = 2\n")
    assert open_project(inner / "a" / "b").settings.train.seed == 2


def test_where_no_project_is_the_error_names_the_folder_that_was_asked_for(tmp_path):
    with pytest.raises(NotFound, match="millwright new") as raised:
        open_project(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / FILENAME) in str(raised.value)


def test_a_misspelt_key_is_refused_when_the_project_is_opened(tmp_path):
    (tmp_path / FILENAME).write_text("[data]\ntexts = 'x'\n")
    with pytest.raises(BadSetting, match=r"Did you mean 'text'\?"):
        open_project(tmp_path)


def test_opening_a_project_writes_nothing(tmp_path):
    (tmp_path / FILENAME).write_text("")
    open_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILENAME]


def test_the_database_is_opened_once(tmp_path):
    project = Project(tmp_path, Settings())
    assert project.database is project.database
    assert (tmp_path / ".millwright" / "store.db").is_file()


def test_a_lock_that_another_process_holds_is_busy_and_another_action_is_not(tmp_path):
    (tmp_path / FILENAME).write_text("")
    project = open_project(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path), "train"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="another `train`"), project.lock("train"):
            pass
        with project.lock("turn"):
            pass
        other.communicate("\n")
    with project.lock("train"):
        pass


def test_a_lock_is_free_again_after_its_holder_was_killed(tmp_path):
    (tmp_path / FILENAME).write_text("")
    command = [sys.executable, "-c", HOLD, str(tmp_path), "train"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
    with open_project(tmp_path).lock("train"):
        pass


def test_a_lock_is_free_again_after_an_error(tmp_path):
    project = Project(tmp_path, Settings())
    with pytest.raises(ZeroDivisionError), project.lock("train"):
        _ = 1 / 0
    with project.lock("train"):
        pass


def test_an_error_of_the_system_inside_the_lock_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), Project(tmp_path, Settings()).lock("train"):
        raise PermissionError("elsewhere")


def test_a_file_where_the_kept_folder_must_be_cannot_store(tmp_path):
    (tmp_path / ".millwright").write_text("in the way")
    project = Project(tmp_path, Settings())
    with pytest.raises(CannotStore, match=r"\.millwright"), project.lock("train"):
        pass
    with pytest.raises(CannotStore, match=r"\.millwright"):
        _ = project.database
    assert (tmp_path / ".millwright").read_text() == "in the way"
