"""What stands in a text after masking."""

import hashlib
import hmac
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings

from millwright.errors import BadSetting
from millwright.privacy.detect import PLACEHOLDER
from millwright.privacy.entities import ENTITIES
from millwright.privacy.mask import MOST_ROUNDS, PURPOSE, UNMASKED, Masker, masker
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.settings import FILENAME, check_settings, dump_settings
from tests.privacy.test_detect import TEXTS

ALL_MASKED = Masker(dict.fromkeys(ENTITIES, "mask"))
few = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def project_with(folder: Path, **privacy: object) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / FILENAME).write_text(dump_settings(check_settings({"privacy": privacy}, "test")))
    return open_project(folder)


def by(folder: Path, policy: str, *entities: str) -> Masker:
    return masker(project_with(folder, policies=dict.fromkeys(entities, policy)))


def test_replaces_each_by_its_kind_and_counts_them(tmp_path):
    counts = Counter[str]()
    project = project_with(tmp_path)
    (text,) = masker(project).mask_all(
        ["My name is John Smith, mail js@example.com or jo@example.com"], counts
    )
    assert text == "My name is <PERSON>, mail <EMAIL_ADDRESS> or <EMAIL_ADDRESS>"
    assert counts == {"PERSON": 1, "EMAIL_ADDRESS": 2}
    assert not project.kept.exists()  # no key was needed, so none was made


def test_masks_chinese(tmp_path):
    text = masker(project_with(tmp_path)).mask("我叫王小明，身份证11010519491231002X，电话13800138000")
    assert text == "我叫<PERSON>，身份证<CN_RESIDENT_ID>，电话<PHONE_NUMBER>"


def test_keeps_by_default_what_says_little_of_one_person(tmp_path):
    text = "I am Norwegian and 47 years old, on 2024-02-29"
    assert masker(project_with(tmp_path)).mask(text) == text
    assert by(tmp_path, "mask", "AGE").mask(text) == "I am Norwegian and <AGE> years old, on 2024-02-29"


def test_an_entity_may_be_kept(tmp_path):
    assert by(tmp_path, "keep", "URL").mask("see https://example.com/a") == "see https://example.com/a"


def test_nothing_is_changed_when_it_is_turned_off(tmp_path):
    assert masker(project_with(tmp_path, mask=False)) is UNMASKED
    assert UNMASKED.mask("js@example.com") == "js@example.com"


def test_names_may_be_left_to_stand(tmp_path):
    assert masker(project_with(tmp_path, names=False)).mask("My name is John Smith, js@example.com") == (
        "My name is John Smith, <EMAIL_ADDRESS>"
    )


@few
@given(TEXTS)
def test_masking_twice_changes_nothing_more(text):
    once = ALL_MASKED.mask(text)
    assert ALL_MASKED.mask(once) == once


@few
@given(TEXTS)
def test_what_is_no_personal_data_stays_character_by_character(text):
    once = ALL_MASKED.mask(text)
    place = 0
    for part in PLACEHOLDER.split(once):
        place = text.find(part, place)
        assert place >= 0
        place += len(part)


def test_a_text_of_many_layers_is_masked_through_within_the_rounds():
    text = " ".join(f"a{number}@example.com 13800138{number:03}" for number in range(60))
    once = ALL_MASKED.mask(text)
    assert "@" not in once
    assert "138001" not in once
    assert MOST_ROUNDS > 2


def test_a_pseudonym_is_the_hmac_of_kind_and_value_under_a_key_of_the_key_store(tmp_path):
    text = by(tmp_path, "pseudonymise", "EMAIL_ADDRESS").mask("Mail JS@example.com")
    key = open_vault(open_project(tmp_path)).keys.derived_key(PURPOSE)
    expected = hmac.new(key, b"EMAIL_ADDRESS\0js@example.com", hashlib.sha256).hexdigest()[:16]
    assert text == f"Mail <EMAIL_ADDRESS:{expected}>"
    assert by(tmp_path, "pseudonymise", "EMAIL_ADDRESS").mask(text) == text


def test_the_key_differs_between_projects_and_is_not_shown(tmp_path):
    keys = {by(tmp_path / name, "pseudonymise", "PERSON").key for name in ("a", "b")}
    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}
    assert not any(key.hex() in repr(by(tmp_path / "a", "pseudonymise", "PERSON")) for key in keys)


@pytest.mark.parametrize(
    ("entity", "text", "shape"),
    [
        ("EMAIL_ADDRESS", "write to js@example.org today", r"write to user-[0-9a-f]{12}@example\.com today"),
        ("PHONE_NUMBER", "电话13800138000。", r"电话\+999 \d{4} \d{4}。"),
        ("PERSON", "My name is John Smith", r"My name is [A-Z][a-z]+ [A-Z][a-z]+"),
        ("PERSON", "我叫王小明，你好", r"我叫[甲乙丙丁戊己庚辛]某[一-龥]，你好"),
        ("US_SSN", "SSN 219-09-9999", r"SSN <US_SSN:[0-9a-f]{16}>"),
    ],
)
def test_a_surrogate_looks_alike_is_consistent_and_stays(tmp_path, entity, text, shape):
    one = by(tmp_path, "surrogate", entity)
    put = one.mask(text)
    assert put != text
    assert re.fullmatch(shape, put)
    assert by(tmp_path, "surrogate", entity).mask(text) == put
    assert one.mask(put) == put


def test_a_stand_in_of_which_a_part_is_found_stays(tmp_path):
    text = "我叫丁某侓，你好"  # of which the tagger finds two thirds
    assert by(tmp_path, "surrogate", "PERSON").mask(text) == text
    assert by(tmp_path, "mask", "PERSON").mask(text) != text


def test_two_people_get_two_surrogates(tmp_path):
    one = by(tmp_path, "surrogate", "EMAIL_ADDRESS")
    assert len({one.mask(f"user{number}@example.org") for number in range(50)}) == 50


def test_the_settings_refuse_an_unknown_entity_and_an_unknown_policy():
    with pytest.raises(BadSetting, match="privacy.policies"):
        check_settings({"privacy": {"policies": {"EMAIL": "mask"}}}, "here")
    with pytest.raises(BadSetting, match="privacy.policies"):
        check_settings({"privacy": {"policies": {"PERSON": "hide"}}}, "here")


def test_policies_survive_being_written_and_read():
    given = check_settings({"privacy": {"policies": {"PERSON": "surrogate", "URL": "keep"}}}, "here")
    assert check_settings(tomllib.loads(dump_settings(given)), "there") == given
