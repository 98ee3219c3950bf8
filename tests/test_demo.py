"""What the demo does to folders and how its simulated users behave; `make demo` runs the whole of it."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from millwright.demo import (
    ASKED_ANSWER,
    CONFIRM,
    CORRECT_A_MISTAKE,
    MARKER,
    Heard,
    _clear,
    _closing,
    _opinion,
    run_demo,
    turns_table,
)
from millwright.errors import BadInput
from millwright.records import Interval, TurnRecord


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


def record(number: int, before: float | None, after: float, p_value: float | None) -> TurnRecord:
    return TurnRecord(
        number=number,
        dataset="d-1",
        rows=10_000,
        new_rows=367,
        champion=None if before is None else f"v{number - 1}",
        challenger=f"v{number}",
        before=None if before is None else Interval(before, before - 0.05, before + 0.05),
        after=Interval(after, after - 0.05, after + 0.05),
        held_out=12_345,
        p_value=p_value,
        promoted=p_value is None or p_value < 0.05,
        reason="measured",
        created_at="2026-01-01T00:00:00.000+00:00",
    )


TURNS = [record(1, None, 0.612, None), record(10, 0.6, 0.947, 1.2e-308), record(11, 0.65, 0.66, 0.42)]


def lines_at_80_columns(thing) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(thing)
    return console.file.getvalue().splitlines()


def test_the_table_of_turns_fits_80_columns_with_every_word_whole():
    lines = lines_at_80_columns(turns_table(TURNS, [None, Heard(627, 1367, 76), Heard(269, 153, 31)]))
    assert len(lines) == 4  # a header and a line a turn
    assert not any("…" in line for line in lines)
    assert lines[1].split() == ["1", "12,345", "v1", "61.2%", "[56.2%,", "66.2%]", "first"]
    assert [line.split()[-1] for line in lines[2:]] == ["promoted", "stays"]
    assert "1.2e-308" in lines[2]


def test_the_closing_names_the_chart_and_commands_on_lines_of_their_own():
    pages = {name: f"demo/reports/{name}.html" for name in ("data", "evaluation")}
    summary = {"seconds": 61.4, "chart": "demo/reports/turns.svg", **pages}
    lines = lines_at_80_columns(_closing(Path("demo"), TURNS[1:], summary))
    assert max(map(len, lines)) <= 80
    look = [line.split()[0] for line in lines[lines.index("Look at") + 1 : lines.index("Type next")]]
    assert look[:2] == ["demo/reports/turns.svg", "demo/reports/turns.html"]
    assert {pages["data"], pages["evaluation"]} <= set(look)
    assert any(line.rstrip() == "  millwright serve --project demo" for line in lines)
    said = " ".join(" ".join(lines).split())
    assert "Turn 10 is better: v10 is right on 94.7% of 12,345 held-out messages, v9 on 60.0%" in said
    assert "Turn 11 is not shown to be better, so v10 stays" in said
    assert "Users were simulated" in said
