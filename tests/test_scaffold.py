"""What `new` makes of a file or a template, and what it never touches."""

import tomllib
from pathlib import Path

import pytest

from millwright.data.load import read_table
from millwright.data.prepare import prepare
from millwright.data.split import most_even_seed
from millwright.errors import BadInput, CannotStore, NotFound
from millwright.project import open_project
from millwright.scaffold import TEMPLATES, new_project
from millwright.settings import FILENAME, Settings, dump_settings, read_settings
from tests.conftest import contents, csv_of, desk_rows, full_disk

TEMPLATE = "customer-desk"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "data" / "tickets.csv"
    path.parent.mkdir()
    path.write_text(csv_of(desk_rows(60), header=("message", "intent")))
    return path


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob(f"*/{FILENAME}")), ids=lambda path: path.parent.name)
def test_a_template_names_every_key_as_the_settings_explain_it(path):
    assert path.read_text() == dump_settings(read_settings(path))


def test_columns_are_recognised_and_written_with_a_reason_each(tmp_path, file):
    project, reasons = new_project(tmp_path / "desk", data=file)
    assert (project.settings.data.text, project.settings.data.label) == ("message", "intent")
    assert [reason.split(":")[0] for reason in reasons] == ["text = 'message'", "label = 'intent'"]


def test_the_project_reads_its_file_from_wherever_it_is_opened(tmp_path, file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new_project("desk", data="data/tickets.csv")
    assert tomllib.loads((tmp_path / "desk" / FILENAME).read_text())["data"]["files"] == [
        "../data/tickets.csv"
    ]
    monkeypatch.chdir("/")
    assert len(prepare(open_project(tmp_path / "desk")).rows) == 60


def test_a_moved_project_finds_its_file_if_that_moved_with_it(tmp_path, file):
    new_project(tmp_path / "desk", data=file)
    (tmp_path / "elsewhere").mkdir()
    for name in ("desk", "data"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert len(prepare(open_project(tmp_path / "elsewhere" / "desk")).rows) == 60


def test_the_settings_written_are_the_defaults_but_for_what_was_found(tmp_path, file):
    project, _ = new_project(tmp_path / "desk", data=file)
    found, default = project.settings.model_dump(), Settings().model_dump()
    differing = {
        (part, key) for part in found for key in found[part] if found[part][key] != default[part][key]
    }
    assert differing <= {
        ("project", "name"),
        *(("data", key) for key in ("files", "text", "label", "split_seed")),
    }
    assert project.settings.project.name == "desk"


def test_the_file_is_not_copied_and_not_changed(tmp_path, file):
    before = file.read_bytes()
    new_project(tmp_path / "desk", data=file)
    assert file.read_bytes() == before
    assert [path.name for path in (tmp_path / "desk").iterdir()] == [FILENAME]


def test_the_seed_of_the_splits_is_the_most_even_one(tmp_path, file):
    project, _ = new_project(tmp_path / "desk", data=file)
    texts, labels = zip(*desk_rows(60), strict=True)
    data = project.settings.data
    expected = most_even_seed([f"t:{text}" for text in texts], labels, data.validation_share, data.test_share)
    assert data.split_seed == expected


def test_named_columns_are_taken_without_a_reason(tmp_path, file):
    project, reasons = new_project(tmp_path / "desk", data=file, text="message", label="intent")
    assert (project.settings.data.text, reasons) == ("message", ())


def test_group_and_subject_are_written(tmp_path):
    rows = [(text, label, f"c{n % 20}", f"t{n % 30}") for n, (text, label) in enumerate(desk_rows(60))]
    (tmp_path / "a.csv").write_text(csv_of(rows, header=("message", "intent", "who", "what")))
    project, _ = new_project(tmp_path / "desk", data=tmp_path / "a.csv", group="what", subject="who")
    assert (project.settings.data.group, project.settings.data.subject) == ("what", "who")


def test_a_column_without_a_name_can_be_the_text(tmp_path):
    (tmp_path / "a.csv").write_text(csv_of(desk_rows(60), header=("", "label")))
    project, _ = new_project(tmp_path / "desk", data=tmp_path / "a.csv")
    assert len(prepare(project).rows) == 60


def test_a_test_file_takes_the_place_of_a_test_split(tmp_path, file):
    tested = tmp_path / "data" / "test.csv"
    tested.write_text(csv_of([(f"{text} t", label) for text, label in desk_rows(9)], ("message", "intent")))
    project, _ = new_project(tmp_path / "desk", data=file, test_data=tested)
    assert project.settings.data.test_files == ["../data/test.csv"]
    assert {row.source.split(":")[1] for row in prepare(project).split("test")} == {"test.csv"}


def test_a_slice_that_the_test_file_lacks_is_no_slice(tmp_path):
    rows = [(text, label, ("app", "chat")[n % 2]) for n, (text, label) in enumerate(desk_rows(100))]
    (tmp_path / "a.csv").write_text(csv_of(rows, header=("message", "intent", "channel")))
    (tmp_path / "b.csv").write_text(csv_of([("some other words", "pin")], header=("message", "intent")))
    alone, _ = new_project(tmp_path / "alone", data=tmp_path / "a.csv")
    tested, _ = new_project(tmp_path / "tested", data=tmp_path / "a.csv", test_data=tmp_path / "b.csv")
    assert (alone.settings.data.slices, tested.settings.data.slices) == (["channel"], [])
    assert len(prepare(tested).split("test")) == 1


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, NotFound, r"no file .*test\.csv"),
        ("", BadInput, r"test\.csv is empty"),
        ("message,label\na,b\n", NotFound, r"no column in test\.csv named 'intent'"),
    ],
)
def test_a_test_file_that_cannot_be_used_is_refused_and_nothing_is_made(
    tmp_path, file, content, error, message
):
    tested = tmp_path / "test.csv"
    if content is not None:
        tested.write_text(content)
    with pytest.raises(error, match=message):
        new_project(tmp_path / "desk", data=file, test_data=tested)
    assert not (tmp_path / "desk").exists()


def test_a_file_and_a_template_at_once_or_neither_are_refused(tmp_path, file):
    for wrong in ({}, {"data": file, "template": TEMPLATE}):
        with pytest.raises(BadInput, match="pass one of --data and --template"):
            new_project(tmp_path / "desk", **wrong)
    assert not (tmp_path / "desk").exists()


def test_a_project_that_is_there_is_left_alone(tmp_path, file):
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / FILENAME).write_text("# mine\n")
    for source in ({"data": file}, {"template": TEMPLATE}):
        with pytest.raises(BadInput, match=r"millwright\.toml is there already; choose another folder"):
            new_project(tmp_path / "desk", **source)
    assert contents(tmp_path / "desk") == {FILENAME: b"# mine\n"}


def test_a_missing_file_is_not_found_and_nothing_is_made(tmp_path):
    with pytest.raises(NotFound, match=r"no file .*nowhere\.csv"):
        new_project(tmp_path / "desk", data=tmp_path / "nowhere.csv")
    assert not (tmp_path / "desk").exists()


def test_an_unknown_template_is_named_with_the_nearest(tmp_path):
    with pytest.raises(NotFound, match="no template named 'customer-disk'.*'customer-desk'"):
        new_project(tmp_path / "desk", template="customer-disk")


def test_a_template_is_copied_whole(tmp_path):
    project, reasons = new_project(tmp_path / "desk", template=TEMPLATE)
    assert contents(project.folder) == contents(TEMPLATES / TEMPLATE)
    assert reasons == ("copied the template 'customer-desk'",)


def test_every_template_can_be_prepared(tmp_path):
    for folder in TEMPLATES.iterdir():
        project, _ = new_project(tmp_path / folder.name, template=folder.name)
        rows = len(read_table(project.folder / project.settings.data.files[0]).frame)
        assert 0 < len(prepare(project).rows) <= rows


def test_a_template_never_replaces_a_file_of_yours(tmp_path):
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "tickets.csv").write_text("years of work")
    with pytest.raises(BadInput, match=r"tickets\.csv is there already; choose another folder, or move it"):
        new_project(tmp_path / "desk", template=TEMPLATE)
    assert contents(tmp_path / "desk") == {"tickets.csv": b"years of work"}


def test_a_template_keeps_other_files_company(tmp_path):
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "notes.txt").write_text("mine")
    new_project(tmp_path / "desk", template=TEMPLATE)
    assert contents(tmp_path / "desk") == {**contents(TEMPLATES / TEMPLATE), "notes.txt": b"mine"}


@pytest.mark.parametrize("most_bytes", [0, 500, 3_000, 100_000])
def test_a_copy_that_a_full_disk_cut_short_is_no_project_and_can_be_repeated(tmp_path, most_bytes):
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        new_project(tmp_path / "desk", template=TEMPLATE)
    assert not (tmp_path / "desk" / FILENAME).exists()
    new_project(tmp_path / "desk", template=TEMPLATE)
    assert contents(tmp_path / "desk") == contents(TEMPLATES / TEMPLATE)


def test_a_full_disk_leaves_no_settings(tmp_path, file):
    with full_disk(500), pytest.raises(CannotStore, match="free space"):
        new_project(tmp_path / "desk", data=file)
    assert contents(tmp_path / "desk") == {}
    assert new_project(tmp_path / "desk", data=file)[0].settings.data.text == "message"


@pytest.mark.parametrize("source", [{"template": TEMPLATE}, {"data": None}])
@pytest.mark.parametrize("place", ["/proc/desk", "/dev/null/desk", "FILE"])
def test_a_folder_that_cannot_be_made_is_named(file, source, place):
    folder = file if place == "FILE" else Path(place)
    with pytest.raises(CannotStore, match=f"cannot write {folder}"):
        new_project(folder, **({"data": file} if "data" in source else source))
