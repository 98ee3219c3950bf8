"""Ctrl-C in long verbs, in processes of their own: run again, they end as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millwright.project import Project
from millwright.steps import train
from millwright.surfaces import cli
from tests.conftest import contents
from tests.desk import copy_desk, make_desk, opine, telling_rows

COMMAND = (sys.executable, "-m", "millwright.surfaces.cli")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: with others, sums come in another order
LONG = {"method": "top", "top_layers": 1, "epochs": 20, "patience": 20}


@pytest.fixture
def desk(tmp_path, encoder) -> Project:
    """A project with a champion, and labels by users for the next turn."""
    made = make_desk(tmp_path / "desk", encoder, telling_rows(60), data={"test_share": 0.3}, train=LONG)
    train(made)
    opine(made, telling_rows(30, seed=5))
    return made


def interrupted(project: Project, verb: str, checkpoints: int) -> subprocess.CompletedProcess[str]:
    """Run a verb and press Ctrl-C once there are more checkpoints than there were."""
    command = [*COMMAND, verb, "--project", str(project.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_THREAD
    ) as process:
        while len(checkpoints_of(project)) == checkpoints and not ended_within(process, 0.05):
            pass
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def ended_within(process: subprocess.Popen[str], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def checkpoints_of(project: Project) -> list[Path]:
    return list(project.kept.glob("runs/*/checkpoint.safetensors"))


def finished(project: Project, verb: str) -> dict[str, object]:
    command = [*COMMAND, verb, "--json", "--project", str(project.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD)
    return json.loads(done.stdout)


@pytest.mark.parametrize("verb", [pytest.param("train", marks=pytest.mark.slow), "turn"])
def test_the_same_command_ends_as_one_that_was_not_interrupted(desk, tmp_path, capsys, verb):
    if verb == "train":  # other settings, so that it does not stand finished already
        text = (desk.folder / "millwright.toml").read_text().replace("seed = 0", "seed = 7", 1)
        (desk.folder / "millwright.toml").write_text(text)
    twin = copy_desk(desk.folder, tmp_path / "twin")
    before = contents(desk.kept / "versions")

    stopped = interrupted(desk, verb, len(checkpoints_of(desk)))
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert "run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert contents(desk.kept / "versions") == before

    resumed = finished(desk, verb)
    with pytest.raises(SystemExit):
        cli.main([verb, "--json", "--project", str(twin.folder)])
    whole = json.loads(capsys.readouterr().out)
    weights = [
        (project.kept / "versions" / "v2" / "weights.safetensors").read_bytes() for project in (desk, twin)
    ]
    assert weights[0] == weights[1]
    for timed in (resumed, whole):
        timed.pop("created_at", None)
    if verb == "turn":
        assert resumed == whole
