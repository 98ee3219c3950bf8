"""What the demo does to folders and how its simulated users behave; `make demo` runs the whole of it."""

import random

import pytest

from millwright.demo import (
    ASKED_ANSWER,
    CONFIRM,
    CORRECT_A_MISTAKE,
    MARKER,
    _clear,
    _opinion,
    run_demo,
)
from millwright.errors import BadInput


@pytest.mark.parametrize(
    ("ask", "is_right", "share"),
    [
        (True, True, ASKED_ANSWER),
        (True, False, ASKED_ANSWER),
        (False, True, CONFIRM),
        (False, False, CORRECT_A_MISTAKE),
    ],
)
def test_simulated_users_give_labels_as_often_as_documented(ask, is_right, share):
    chance = random.Random(0)
    said = [_opinion({"ask": ask}, "card", is_right, chance) for _ in range(4000)]
    given = sum("label" in opinion for opinion in said) / len(said)
    assert given == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_a_given_label_is_the_right_one_and_a_thumb_tells_the_truth():
    chance = random.Random(0)
    said = [_opinion({"ask": False}, "card", False, chance) for _ in range(500)]
    assert {opinion["label"] for opinion in said if "label" in opinion} == {"card"}
    assert {opinion["rating"] for opinion in said if "rating" in opinion} == {1}


def test_only_a_folder_that_a_demo_made_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(BadInput, match="not made by a demo; name another folder"):
        run_demo(tmp_path / "mine", lambda line: None)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / MARKER).write_text("")
    (tmp_path / "old" / "reports").mkdir()
    _clear(tmp_path / "old")
    assert not (tmp_path / "old").exists()
