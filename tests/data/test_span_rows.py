"""Rows of spans: recognised, cleaned, masked and prepared, each span still on its own words."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.data.prepare import prepare
from millwright.errors import BadInput
from millwright.modalities.places import Edit, clean_with_edits, follow, go_back
from millwright.modalities.spans import read_spans, write_spans
from millwright.modalities.text import clean
from millwright.scaffold import new_project

NAMES = ("Zorgon", "Quibble", "Fizzwick", "Blatter")


def spans_of(text: str, *words: str) -> list[dict[str, object]]:
    return [
        {"start": text.index(word), "end": text.index(word) + len(word), "label": "GADGET"} for word in words
    ]


def lines(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def marked_words(project) -> dict[str, list[str]]:
    rows = prepare(project).rows
    return {row.text: [row.text[s.start : s.end] for s in read_spans(row.label)] for row in rows}


def many(make) -> list[dict[str, object]]:
    return [make(f"my {name} broke after {day} days", name) for name in NAMES for day in range(2, 9)]


def test_spans_and_tags_are_recognised_and_make_the_same_dataset(tmp_path):
    made = []
    for form in ("spans", "tags"):
        folder = tmp_path / form
        folder.mkdir()
        if form == "spans":
            rows = many(lambda text, name: {"text": text, "spans": spans_of(text, name)})
        else:
            rows = many(
                lambda text, name: {
                    "tokens": text.split(),
                    "tags": ["B-GADGET" if word == name else "O" for word in text.split()],
                }
            )
        project, reasons = new_project(folder / "desk", data=lines(folder, rows))
        assert project.settings.project.task == "token-classification"
        assert reasons[0].startswith("task = 'token-classification'")
        made.append(prepare(project))
    # Sources name the columns' file alone, so what is prepared is the same to the byte.
    assert made[0].id == made[1].id
    report = made[0].report
    assert report["spans"] == {"count": 28, "rows_without": 0}
    assert sum(report["labels"]["GADGET"].values()) == 28


def test_spans_stay_on_their_words_when_the_text_around_them_is_cleaned_and_masked(tmp_path):
    rows = many(
        lambda text, name: {
            "text": f"\ufeff  Cafe\u0301\r\nmail jo@example.com: {text}\x07 ",
            "spans": spans_of(f"\ufeff  Cafe\u0301\r\nmail jo@example.com: {text}\x07 ", name, "Cafe\u0301"),
        }
    )
    project, _ = new_project(tmp_path / "desk", data=lines(tmp_path, rows))
    found = marked_words(project)
    assert len(found) == 28
    for text, words in found.items():
        assert text.startswith("Café\nmail <EMAIL_ADDRESS>: my ")
        assert words == ["Café", text.split()[4]]


def test_what_spans_mark_is_kept_and_what_they_do_not_is_masked(tmp_path):
    people = ["John Smith", "Mary Jones", "Peter Brown", "Susan Clark"]
    rows = []
    for person in people:
        for day in range(2, 8):
            text = f"My name is {person}, mail me at a{day}@example.com"
            rows.append({"text": text, "spans": spans_of(text, person)})
    project, reasons = new_project(tmp_path / "desk", data=lines(tmp_path, rows))
    assert project.settings.privacy.policies == {"PERSON": "keep"}
    assert "PERSON is kept, as spans mark it" in reasons[1]
    assert {word for words in marked_words(project).values() for word in words} == set(people)
    assert all("<EMAIL_ADDRESS>" in text for text in marked_words(project))


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([{"start": 0, "end": 99, "label": "A"}], "a span is empty or lies outside the text"),
        ([{"start": 2, "end": 2, "label": "A"}], "a span is empty or lies outside the text"),
        ([{"start": 0, "end": 4, "label": "A"}, {"start": 2, "end": 6, "label": "A"}], "spans overlap"),
        ([{"start": 0, "end": 3}], "spans are not a JSON list, each with start, end and label"),
        ("no JSON", "spans are not a JSON list, each with start, end and label"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(tmp_path, spans, reason):
    rows = many(lambda text, name: {"text": text, "spans": spans_of(text, name)})
    path = lines(tmp_path, [*rows, *[{"text": "one more row", "spans": spans}] * 1])
    project, _ = new_project(tmp_path / "desk", data=path)
    assert prepare(project).report["excluded"] == {reason: 1}


def test_rows_without_spans_cannot_be_a_task_of_spans(tmp_path):
    path = lines(tmp_path, [{"text": "a b", "label": "x"}])
    with pytest.raises(BadInput, match=r"no two columns of rows\.jsonl hold texts and spans \(text, label\)"):
        new_project(tmp_path / "desk", data=path, task="token-classification")


few = settings(max_examples=150, derandomize=True, deadline=None, database=None)


@given(st.text(st.sampled_from("ab é\u0301\u0323\r\n\x00\ufeff\u1100\u1161\u11a8क़\u3000😀")))
@few
def test_edits_of_cleaning_lead_every_character_to_itself(text):
    done, rounds = clean_with_edits(text)
    assert done == clean(text)
    for place, sign in enumerate(text):
        start, end = follow(rounds, place, place + 1)
        assert 0 <= start <= end <= len(done)
        if sign in "ab😀":
            assert sign in unicodedata.normalize("NFD", done[start:end])
        if sign == "😀" and done[start:end] == sign:
            assert sign in text[slice(*go_back(rounds, start, end))]  # with what was removed beside it
    assert unicodedata.is_normalized("NFC", done)


def test_a_span_follows_edits_and_comes_back():
    # "call 12345 now ok" -> "call <N> now ok" -> "<X>! <N> now ok"
    rounds = [(Edit(5, 10, 3),), (Edit(0, 4, 4),)]
    assert follow(rounds, 11, 14) == (9, 12)
    assert go_back(rounds, 9, 12) == (11, 14)
    assert follow(rounds, 7, 14) == (5, 12)  # begins inside what was replaced
    assert follow(rounds, 0, 7) == (0, 8)
    assert go_back(rounds, 5, 8) == (5, 10)


@pytest.mark.parametrize(
    "text", ["I met Bob  \n", "\n  I met Bob", " I met Bob\r\n\r\n", "\x00I met Bob \u3000"]
)
def test_white_space_at_the_ends_of_a_text_comes_back_in_no_span(text):
    done, rounds = clean_with_edits(text)
    assert done == "I met Bob"
    assert text[slice(*go_back(rounds, 6, 9))] == "Bob"
    assert text[slice(*go_back(rounds, 0, 9))].strip("\x00") == "I met Bob"


def test_written_spans_are_read_back_in_order():
    written = '[{"start": 4, "end": 5, "label": "B  C"}, {"start": 0, "end": 2, "label": "A"}]'
    assert [(s.start, s.end, s.label) for s in read_spans(written)] == [(0, 2, "A"), (4, 5, "B C")]
    assert read_spans(write_spans(read_spans(written))) == read_spans(written)
