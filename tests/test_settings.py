import tomllib

import pytest

from millwright.errors import BadSetting, NotFound
from millwright.settings import (
    FILENAME,
    Settings,
    change_settings,
    check_settings,
    dump_settings,
    read_settings,
)


def write(tmp_path, content):
    path = tmp_path / FILENAME
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_an_empty_file_means_the_defaults(tmp_path):
    assert read_settings(write(tmp_path, "")) == Settings()


def test_reads_what_is_written_and_keeps_the_other_defaults(tmp_path):
    settings = read_settings(write(tmp_path, '[data]\nfiles = ["a.csv"]\ntest_share = 0.2\n'))
    assert settings.data.files == ["a.csv"]
    assert settings.data.test_share == 0.2
    assert settings.data.label == "label"


def test_a_byte_order_mark_of_a_windows_editor_is_no_error(tmp_path):
    assert read_settings(write(tmp_path, b"\xef\xbb\xbf[serve]\nport = 9\n")).serve.port == 9


def test_a_missing_file_says_how_to_make_a_project(tmp_path):
    with pytest.raises(NotFound, match="millwright new"):
        read_settings(tmp_path / FILENAME)


@pytest.mark.parametrize("content", ["[data\n", "a = = 1", b"\xff\xfe[\x00", b"x = '\xe9'"])
def test_what_is_no_toml_is_refused_with_the_path(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(BadSetting, match="not valid TOML") as raised:
        read_settings(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "asked", "meant"),
    [
        ("[data]\nlable = 'intent'", "data.lable", "label"),
        ("[trian]\nseed = 1", "trian", "train"),
        ("[train]\nepoch = 3", "train.epoch", "epochs"),
        ("port = 80", "port", None),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_is_named(tmp_path, content, asked, meant):
    with pytest.raises(BadSetting) as raised:
        read_settings(write(tmp_path, content))
    assert raised.value.field == asked
    assert repr(asked.split(".")[-1]) in str(raised.value)
    assert (f"Did you mean {meant!r}?" in str(raised.value)) == (meant is not None)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "test_share", 0.9),
        ("data", "test_share", -0.1),
        ("data", "validation_share", 0),
        ("data", "files", "rows.csv"),
        ("data", "near_duplicate_similarity", 1.5),
        ("train", "method", "magic"),
        ("train", "batch_size", 0),
        ("train", "epochs", "many"),
        ("train", "learning_rate", float("nan")),
        ("serve", "port", 70_000),
        ("turn", "alpha", 0.5),
    ],
)
def test_a_wrong_value_is_refused_with_key_and_value(section, key, value):
    with pytest.raises(BadSetting) as raised:
        check_settings({section: {key: value}}, "here")
    assert raised.value.field == f"{section}.{key}"
    assert str(raised.value).startswith("here: ")
    assert repr(value) in str(raised.value)


def test_the_largest_batch_that_files_of_earlier_releases_name_is_read_over_and_another_is_refused():
    assert check_settings({"serve": {"max_batch": 64}}, "here") == Settings()
    with pytest.raises(BadSetting, match="no setting named 'max_batch'"):
        check_settings({"serve": {"max_batch": 8}}, "here")


def test_there_are_two_tasks_and_others_are_refused():
    assert check_settings({"project": {"task": "text-classification"}}, "here") == Settings()
    with pytest.raises(BadSetting, match=r"project\.task = 'tts' cannot be used: .*'token-classification'"):
        check_settings({"project": {"task": "tts"}}, "here")


def test_a_section_that_is_no_table_is_refused():
    with pytest.raises(BadSetting, match="data = 3"):
        check_settings({"data": 3}, "here")


def test_dumped_settings_read_back_equal(tmp_path):
    settings = check_settings(
        {
            "project": {"name": 'a "quoted" \\ name\n\t\x7f 汉字 ☃'},
            "data": {"files": ["a b.csv", "c'd.tsv"], "group": "who", "slices": ["x", "y"], "split_seed": 7},
            "train": {"learning_rate": 1e-05, "method": "lora"},
        },
        "test",
    )
    assert read_settings(write(tmp_path, dump_settings(settings))) == settings


def test_a_dump_holds_every_key_with_its_description_above_it():
    lines = dump_settings(Settings()).splitlines()
    for name in Settings.model_fields:
        section = getattr(Settings(), name)
        assert f"[{name}]" in lines
        for key, field in type(section).model_fields.items():
            place = lines.index(f"# {field.description}")
            assert lines[place + 1].removeprefix("# ").startswith(f"{key} =")


def test_a_key_that_is_unset_stands_as_a_comment():
    dumped = dump_settings(Settings())
    assert "# group =" in dumped
    assert "group" not in tomllib.loads(dumped)["data"]


def test_no_two_keys_of_a_section_share_a_description():
    for name in Settings.model_fields:
        described = [field.description for field in type(getattr(Settings(), name)).model_fields.values()]
        assert all(described)
        assert len(set(described)) == len(described)


def test_change_applies_what_is_given_and_leaves_none_alone():
    before = check_settings({"train": {"seed": 4}}, "test")
    after = change_settings(before, "train", epochs=2, seed=None)
    assert (after.train.epochs, after.train.seed) == (2, 4)
    assert before.train.epochs == Settings().train.epochs


def test_change_is_checked_like_the_file():
    with pytest.raises(BadSetting, match=r"command line: train.epochs = 0"):
        change_settings(Settings(), "train", epochs=0)
