"""Real messages, real labels: the default method and `top` on the official split of Banking77."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED

BANKING = SHARED / "banking77"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not BANKING.exists(), reason="needs the datasets (benchmarks/README.md)")
@pytest.mark.parametrize(("method", "least"), [("auto", 0.93), ("top", 0.94)])
def test_so_many_messages_of_100_are_answered_right(method: str, least: float, tmp_path: Path):
    def verb(*arguments: str) -> dict:
        command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    desk = str(tmp_path / "desk")
    train, test = str(BANKING / "train.csv"), str(BANKING / "test.csv")
    verb("new", desk, "--data", train, "--test-data", test, "--text", "text", "--label", "category")
    verb("train", "--project", desk, "--method", method)
    assert verb("evaluate", "--project", desk)["accuracy"]["value"] >= least
