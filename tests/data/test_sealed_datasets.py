"""Datasets whose rows are sealed: the same name and the same rows, and nothing to read without the key."""

import pytest

from millwright.data.dataset import dataset_folder, open_dataset, read_dataset
from millwright.data.prepare import prepare
from millwright.errors import Corrupt
from millwright.privacy.sealed_lines import LinesKey
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import change_settings
from tests.conftest import csv_of, desk_rows


@pytest.fixture
def plain(make_project) -> Project:
    return make_project(csv_of(desk_rows(60)))


@pytest.fixture
def sealing(plain) -> Project:
    return Project(plain.folder, change_settings(plain.settings, "privacy", seal_datasets=True))


def test_sealing_changes_neither_name_nor_rows_and_no_text_is_on_disk(sealing, plain):
    sealed = prepare(sealing)
    content = (sealed.folder / "rows.jsonl").read_bytes()
    assert not any(text.encode() in content for text, _ in desk_rows(60))
    again = open_dataset(plain, sealed.id)  # the setting is about writing
    assert {(row.text, row.label) for row in again.rows} == set(desk_rows(60))
    assert again.rows == sealed.rows
    clear = prepare(plain)
    assert (clear.id, clear.rows) == (sealed.id, sealed.rows)


def test_rows_that_stand_in_the_clear_are_sealed_once_the_setting_says_so(sealing, plain):
    clear = prepare(plain)
    text = clear.rows[0].text.encode()
    assert text in (clear.folder / "rows.jsonl").read_bytes()
    sealed = prepare(sealing)
    assert (sealed.id, sealed.rows) == (clear.id, clear.rows)
    assert text not in (sealed.folder / "rows.jsonl").read_bytes()


def test_rows_in_the_clear_are_read_as_before(plain):
    assert open_dataset(plain, prepare(plain).id).rows == prepare(plain).rows


def test_a_sealed_file_needs_its_projects_key(sealing, tmp_path):
    sealed = prepare(sealing)
    with pytest.raises(Corrupt):
        _ = read_dataset(dataset_folder(sealing), sealed.id).rows
    (tmp_path / "other").mkdir()
    other = LinesKey(open_vault(Project(tmp_path / "other", sealing.settings)))
    with pytest.raises(Corrupt, match="sealed with another key"):
        _ = read_dataset(dataset_folder(sealing), sealed.id, other).rows


def test_a_cut_or_changed_or_reordered_file_is_refused(sealing):
    key = LinesKey(open_vault(sealing))
    sealed = prepare(sealing)
    path = sealed.folder / "rows.jsonl"
    content = path.read_bytes()
    assert key.unseal(content)
    for bad in (content[:-1], content[:-20], content[:30] + bytes([content[30] ^ 1]) + content[31:]):
        with pytest.raises(Corrupt):
            key.unseal(bad)
    again = type(sealed)(sealed.id, sealed.folder, sealed.report, key)
    path.write_bytes(content + key.seal(b"{}\n"))  # sealed rightly, but not what was written
    with pytest.raises(Corrupt, match="is not what was written"):
        _ = again.rows
