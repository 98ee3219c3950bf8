import json

import pytest
from sqlalchemy import select

from millwright.data.dataset import read_dataset
from millwright.data.prepare import dataset_folder, feedback_rows, group_name, prepare
from millwright.errors import BadInput, CannotStore, NotFound
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.settings import DataSection
from millwright.store.database import now
from millwright.store.tables import datasets
from tests.conftest import SHARED, csv_of, desk_rows, keep


def excluded(project, dataset):
    lines = (dataset_folder(project) / dataset.id / "excluded.jsonl").read_text().split("\n")
    return [tuple(json.loads(line).values()) for line in lines if line]


def accept(project, number, text, label, *, subject=None, split="train"):
    """Store a correction that was accepted into the training rows."""
    name = f"p{number}"
    keep(
        project,
        Prediction(name, "v1", text, "?", 0.5, None, False, now()),
        Opinion(name, name, label, None, None, now()),
        ProposedRow(name, name, text, label, subject, split, 1),
    )


def split_by_source(dataset):
    return {row.source: row.split for row in dataset.rows}


def test_every_usable_row_is_in_the_dataset_with_its_source(make_project):
    rows = desk_rows(60)
    dataset = prepare(make_project(csv_of(rows)))
    found = {row.source: (row.text, row.label) for row in dataset.rows}
    assert found == {f"file:rows.csv:{number}": row for number, row in enumerate(rows, start=1)}


def test_the_dataset_is_on_disk_and_in_the_database(make_project):
    project = make_project(csv_of(desk_rows(30)))
    dataset = prepare(project)
    assert read_dataset(dataset_folder(project), dataset.id) == dataset
    prepare(project)
    with project.database.connect() as connection:
        assert connection.execute(select(datasets.c.id, datasets.c.rows)).all() == [(dataset.id, 30)]


def test_rows_stay_in_their_split_and_keep_their_id_when_rows_are_added(make_project):
    before = prepare(make_project(csv_of(desk_rows(90))))
    after = prepare(make_project(csv_of(desk_rows(200))))
    kept = {row.source: row for row in after.rows}
    assert all(kept[row.source] == row for row in before.rows)


def test_rows_of_one_group_share_a_split(make_project):
    rows = [(*row, f"person {n % 40}") for n, row in enumerate(desk_rows(200))]
    dataset = prepare(make_project(csv_of(rows, ["text", "label", "who"]), group="who", test_share=0.3))
    splits = {}
    for row in dataset.rows:
        splits.setdefault(row.group, set()).add(row.split)
    assert len(splits) == 40
    assert all(len(found) == 1 for found in splits.values())
    assert dataset.report["groups_in_more_than_one_split"] == 0


def test_rows_without_a_group_are_grouped_by_text(make_project):
    rows = [
        ("same words", "a", ""),
        ("Same words!", "b", ""),
        *[(*row, f"g{row[0]}") for row in desk_rows(30)],
    ]
    dataset = prepare(make_project(csv_of(rows, ["text", "label", "who"]), group="who"))
    assert len({row.split for row in dataset.rows if row.text.lower().startswith("same")}) == 1


def test_slices_and_subjects_travel_with_the_row(make_project):
    rows = [(*row, f"u{n}", ["web", "phone"][n % 2]) for n, row in enumerate(desk_rows(20))]
    header = ["text", "label", "user", "channel"]
    dataset = prepare(make_project(csv_of(rows, header), subject="user", slices=["channel"]))
    row = next(row for row in dataset.rows if row.source == "file:rows.csv:2")
    assert (row.subject, row.slices) == ("u1", (("channel", "phone"),))


def test_unusable_rows_are_listed_with_file_row_and_reason(make_project):
    rows = [*desk_rows(12), ("", "card"), ("no label", ""), ("x" * 101, "pin"), ("\x00\x01", "pin")]
    project = make_project(csv_of(rows), max_characters=100)
    dataset = prepare(project)
    assert excluded(project, dataset) == [
        ("rows.csv", 13, "empty text"),
        ("rows.csv", 14, "empty label"),
        ("rows.csv", 15, "longer than 100 characters"),
        ("rows.csv", 16, "empty text"),
    ]
    assert dataset.report["excluded"] == {
        "empty text": 2,
        "empty label": 1,
        "longer than 100 characters": 1,
    }


@pytest.mark.parametrize("name", ["rows.csv", "odd:name 1.csv", "a: b: c.csv"])
def test_exact_duplicates_are_listed_with_their_own_row_and_the_first(make_project, name):
    rows = [*desk_rows(12), ("Hello, world", "card"), ("hello WORLD!", "card"), ("hello world", "pin")]
    project = make_project(csv_of(rows), name=name)
    dataset = prepare(project)
    assert excluded(project, dataset) == [(name, 14, f"exact duplicate of file:{name}:13")]
    assert dataset.report["conflicting_labels"] == {
        "count": 1,
        "listed": [[f"file:{name}:13", f"file:{name}:15"]],
    }


def test_files_of_one_name_in_two_folders_are_told_apart(make_project):
    project = make_project(csv_of(desk_rows(20)), name="train/rows.csv", test_files=["test/rows.csv"])
    (project.folder / "test").mkdir()
    (project.folder / "test" / "rows.csv").write_text(csv_of([("new words here", "card"), ("", "pin")]))
    dataset = prepare(project)
    assert split_by_source(dataset)["file:test/rows.csv:1"] == "test"
    assert excluded(project, dataset) == [("test/rows.csv", 2, "empty text")]


def test_unreadable_lines_are_listed(make_project):
    lines = [json.dumps({"text": text, "label": label}) for text, label in desk_rows(12)]
    project = make_project("\n".join([*lines, "{broken"]), name="rows.jsonl")
    assert excluded(project, prepare(project)) == [("rows.jsonl", 13, "is not a JSON object")]


def test_near_duplicates_are_reported_and_kept(make_project):
    long = [f"word{n}" for n in range(40)]
    rows = [*desk_rows(12), (" ".join(long), "card"), (" ".join([*long, "more"]), "card")]
    dataset = prepare(make_project(csv_of(rows)))
    assert len(dataset.rows) == 14
    # 40 words and 39 pairs are shared; "more" adds a word and a pair to the union.
    assert dataset.report["near_duplicates"]["listed"] == [
        ["file:rows.csv:13", "file:rows.csv:14", pytest.approx(79 / 81, abs=1e-3)]
    ] or dataset.report["near_duplicates"]["listed"] == [
        ["file:rows.csv:14", "file:rows.csv:13", pytest.approx(79 / 81, abs=1e-3)]
    ]


def test_test_files_are_only_tested_on_and_leave_no_hashed_test_split(make_project):
    project = make_project(csv_of(desk_rows(200)), test_files=["exam.csv"])
    (project.folder / "exam.csv").write_text(
        csv_of([("exam words only", "card"), ("other exam words", "pin")])
    )
    found = split_by_source(prepare(project))
    assert {source for source, split in found.items() if split == "test"} == {
        "file:exam.csv:1",
        "file:exam.csv:2",
    }


def test_a_text_in_training_and_test_file_is_reported_as_leak(make_project):
    project = make_project(csv_of(desk_rows(30)), test_files=["exam.csv"])
    (project.folder / "exam.csv").write_text(csv_of([desk_rows(1)[0], ("exam words", "pin")]))
    report = prepare(project).report
    assert report["texts_in_more_than_one_split"]["count"] == 1
    assert set(report["texts_in_more_than_one_split"]["listed"][0]) == {"file:rows.csv:1", "file:exam.csv:1"}


def test_every_label_of_the_files_is_trained(make_project):
    rows = desk_rows(60, [f"label {n}" for n in range(20)])
    dataset = prepare(make_project(csv_of(rows), test_share=0.5, validation_share=0.4))
    assert {row.label for row in dataset.split("train")} == {f"label {n}" for n in range(20)}
    assert any("moved" in note for note in dataset.report["notes"])


def test_a_label_of_test_files_only_is_noted_and_its_rows_stay_in_the_test(make_project):
    project = make_project(csv_of(desk_rows(30)), test_files=["exam.csv"])
    (project.folder / "exam.csv").write_text(csv_of([("never seen before", "novel")]))
    dataset = prepare(project)
    assert split_by_source(dataset)["file:exam.csv:1"] == "test"
    assert "label 'novel' has only test rows, so no version can learn it" in dataset.report["notes"]


def test_corrections_join_the_rows_in_the_split_of_their_turn(make_project):
    project = make_project(csv_of(desk_rows(30)))
    accept(project, 1, "a corrected text", "card", split="train")
    accept(project, 2, "a held out text", "pin", subject="anna", split="test")
    found = {row.source: row for row in prepare(project).rows}
    assert (found["feedback:p1"].split, found["feedback:p2"].split) == ("train", "test")
    assert found["feedback:p2"].subject == "anna"


def test_corrections_without_a_subject_are_grouped_by_their_text(make_project):
    project = make_project(csv_of(desk_rows(10)))
    accept(project, 1, "First text!", "card")
    accept(project, 2, "second text", "card")
    rows = feedback_rows(project)
    assert [row.group for row in rows] == ["t:first text", "t:second text"]


def test_corrections_of_a_subject_are_grouped_as_the_files_rows_of_that_subject(make_project):
    rows = [(*row, "anna") for row in desk_rows(10)]
    header = ["text", "label", "user"]
    project = make_project(csv_of(rows, header), group="user", subject="user")
    accept(project, 1, "text", "card", subject="anna")
    (correction,) = feedback_rows(project)
    assert {row.group for row in prepare(project).rows} == {correction.group}


@pytest.mark.parametrize(
    ("group", "subject", "expected"),
    [(None, None, "t:hello"), ("g1", None, "g:g1"), (None, "anna", "t:hello"), ("", "", "t:hello")],
)
def test_group_names(group, subject, expected):
    assert group_name(DataSection(group="thread"), "Hello!", group, subject) == expected


def test_the_subject_is_the_group_where_both_are_one_column():
    assert group_name(DataSection(group="user", subject="user"), "Hello!", None, "anna") == "g:anna"


def test_the_encoding_is_noted_where_it_is_unusual(make_project):
    rows = "text,label\n" + "".join(f"é{n} wörter,{'ab'[n % 2]}\n" for n in range(12))
    assert prepare(make_project(rows)).report["notes"] == []
    mixed = rows.encode() + "größe,a\n".encode("cp1252")
    assert prepare(make_project(mixed)).report["notes"] == [
        "rows.csv was read as utf-8 with 1 lines of cp1252"
    ]


def test_where_one_label_is_left_the_error_says_what_was_left_out(make_project):
    project = make_project("text,label\nhello,a\nwell, then,b\nno, thanks,b\n")
    with pytest.raises(BadInput, match=r"every row that is left \(2 .*\) has the label 'a'"):
        prepare(project)


def test_texts_that_decoding_broke_are_reported(make_project):
    dataset = prepare(make_project(csv_of([*desk_rows(12), ("caf\ufffd", "card")])))
    assert dataset.report["broken_texts"] == {"count": 1, "listed": [["file:rows.csv:13"]]}


def test_reports_name_rows_and_never_hold_their_text(make_project):
    secret = "my secret account 4711"
    rows = [*desk_rows(12), (secret, "card"), (secret, "pin"), (secret + "!", "card")]
    project = make_project(csv_of(rows))
    dataset = prepare(project)
    assert "secret" not in json.dumps(dataset.report)
    assert "secret" not in json.dumps(excluded(project, dataset))


def test_counts_agree_with_the_rows(make_project):
    dataset = prepare(
        make_project(csv_of([*desk_rows(90), ("one more text", "rare"), ("two more text", "rare")]))
    )
    report = dataset.report
    assert report["rows"] == len(dataset.rows) == sum(report["splits"].values())
    assert {label: sum(counts.values()) for label, counts in report["labels"].items()} == {
        "card": 30,
        "pin": 30,
        "transfer": 30,
        "rare": 2,
    }
    assert report["largest_over_smallest_label"] == 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("text,label\n", "no rows"),
        (csv_of([(f"text {n}", "same") for n in range(20)]), "every row has the label 'same'"),
        (csv_of([(f"text {n}", f"label {n}") for n in range(20)]), "each of the 20 labels has one row"),
        (
            csv_of([(f"text {n % 9}x", f"label {n}") for n in range(10_000)]),
            "there are 10,000 labels, the limit",
        ),
        (csv_of([(str(n), "ab"[n % 2]) for n in range(20)]), "holds numbers, not text"),
        (csv_of([("", "a"), (" ", "b")]), r"no row is left to learn from \(2 empty text\); mend or add rows"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_and_nothing_is_written(make_project, content, message):
    project = make_project(content)
    with pytest.raises(BadInput, match=message):
        prepare(project)
    assert not dataset_folder(project).exists()


def test_one_label_in_training_is_refused_though_the_test_file_has_two(make_project):
    project = make_project(csv_of([(f"text {n}", "same") for n in range(20)]), test_files=["exam.csv"])
    (project.folder / "exam.csv").write_text(csv_of([("one text", "same"), ("other text", "other")]))
    with pytest.raises(BadInput, match="every row has the label 'same'"):
        prepare(project)


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", "labl"), ("text", "tex"), ("group", "who"), ("subject", "who"), ("slices", ["where"])],
)
def test_a_column_that_is_missing_is_refused_with_its_setting(make_project, key, value):
    project = make_project(csv_of(desk_rows(10)), **{key: value})
    with pytest.raises(NotFound, match=rf"column in rows\.csv \(data\.{key}\) named"):
        prepare(project)


def test_a_missing_file_is_not_found(make_project):
    project = make_project(csv_of(desk_rows(10)), test_files=["nowhere.csv"])
    with pytest.raises(NotFound, match=r"nowhere\.csv"):
        prepare(project)


def test_no_files_is_refused_with_the_key_to_set(make_project):
    with pytest.raises(BadInput, match="data.files in millwright.toml is empty") as raised:
        prepare(make_project("", files=[]))
    assert raised.value.field == "data.files"


def test_a_message_of_a_megabyte_is_excluded_and_null_bytes_are_dropped(make_project):
    content = csv_of([*desk_rows(12), ("word " * 200_000, "card")]) + "nul\0l byte,pin\n"
    project = make_project(content)
    dataset = prepare(project)
    assert excluded(project, dataset) == [("rows.csv", 13, "longer than 20000 characters")]
    assert "null byte" in {row.text for row in dataset.rows}


def test_a_file_where_datasets_must_stand_cannot_store(make_project):
    project = make_project(csv_of(desk_rows(12)))
    project.kept.mkdir()
    dataset_folder(project).write_text("mine")
    with pytest.raises(CannotStore):
        prepare(project)
    assert dataset_folder(project).read_text() == "mine"


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the datasets (benchmarks/README.md)")
def test_banking77_is_prepared_with_its_own_test_file(make_project):
    banking = SHARED / "banking77"
    project = make_project(
        csv_of(desk_rows(3)),
        files=[str(banking / "train.csv")],
        test_files=[str(banking / "test.csv")],
        label="category",
    )
    dataset = prepare(project)
    splits = dataset.report["splits"]
    assert len(dataset.labels) == 77
    assert {row.label for row in dataset.split("train")} == set(dataset.labels)
    # 10,003 and 3,080 rows; few are exact duplicates once case and punctuation do not count.
    assert 9_900 < splits["train"] + splits["validation"] <= 10_003
    assert 3_060 < splits["test"] <= 3_080
    assert len(dataset.rows) + len(excluded(project, dataset)) == 13_083
    share = splits["validation"] / (splits["train"] + splits["validation"])
    assert share == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / 10_003) ** 0.5)
    assert all(row.source.startswith("file:test.csv:") for row in dataset.split("test"))
