"""A runner that is to audit each challenger says at the start that too few rows are held out for that."""

import pytest

from millwright.errors import BadInput
from millwright.project import Project
from millwright.runner.auditable import check_auditable
from millwright.settings import change_settings
from millwright.steps import train
from tests.desk import make_desk, telling_rows
from tests.surfaces.test_cli import wrong


def test_a_runner_whose_every_turn_would_fail_is_refused_at_the_start(desk, capsys):
    told = wrong(capsys, "run", "--max-membership", "0.1", "--port", "0", "--project", desk.folder)
    assert "100 test rows of people of whom no row taught, there are 22; raise data.test_share" in told


def test_rows_count_that_the_settings_hold_out_now(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(260))
    train(project)
    with pytest.raises(BadInput, match="an audit needs 100 test rows"):
        check_auditable(project)
    check_auditable(Project(project.folder, change_settings(project.settings, "data", test_share=0.5)))
