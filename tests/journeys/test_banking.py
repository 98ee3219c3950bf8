"""Real messages, real labels: the default method on the official split of Banking77."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED

BANKING = SHARED / "banking77"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not BANKING.exists(), reason="needs ../shared/data/banking77")
def test_the_default_method_is_right_on_93_of_100_messages(tmp_path: Path):
    def verb(*arguments: str) -> dict:
        command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    desk = str(tmp_path / "desk")
    train, test = str(BANKING / "train.csv"), str(BANKING / "test.csv")
    verb("new", desk, "--data", train, "--test-data", test, "--text", "text", "--label", "category")
    verb("train", "--project", desk)
    assert verb("evaluate", "--project", desk)["accuracy"]["value"] >= 0.93
