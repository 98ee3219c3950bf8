"""What stands in a text after masking."""

import hashlib
import hmac
import re
import stat
import tomllib
from collections import Counter

import pytest
from hypothesis import given, settings

from millwright.errors import BadSetting, Corrupt
from millwright.privacy.detect import PLACEHOLDER
from millwright.privacy.entities import ENTITIES
from millwright.privacy.mask import MOST_ROUNDS, UNMASKED, Masker, masker
from millwright.settings import PrivacySection, check_settings, dump_settings
from tests.privacy.test_detect import TEXTS

ALL_MASKED = Masker(dict.fromkeys(ENTITIES, "mask"))
few = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def by(tmp_path, policy: str, *entities: str) -> Masker:
    return masker(PrivacySection(policies=dict.fromkeys(entities, policy)), tmp_path)


def test_replaces_each_by_its_kind_and_counts_them(tmp_path):
    counts = Counter[str]()
    (text,) = masker(PrivacySection(), tmp_path).mask_all(
        ["My name is John Smith, mail js@example.com or jo@example.com"], counts
    )
    assert text == "My name is <PERSON>, mail <EMAIL_ADDRESS> or <EMAIL_ADDRESS>"
    assert counts == {"PERSON": 1, "EMAIL_ADDRESS": 2}
    assert not (tmp_path / "pepper").exists()


def test_masks_chinese(tmp_path):
    text = masker(PrivacySection(), tmp_path).mask("我叫王小明，身份证11010519491231002X，电话13800138000")
    assert text == "我叫<PERSON>，身份证<CN_RESIDENT_ID>，电话<PHONE_NUMBER>"


def test_keeps_by_default_what_says_little_of_one_person(tmp_path):
    text = "I am Norwegian and 47 years old, on 2024-02-29"
    assert masker(PrivacySection(), tmp_path).mask(text) == text
    assert by(tmp_path, "mask", "AGE").mask(text) == "I am Norwegian and <AGE> years old, on 2024-02-29"


def test_an_entity_may_be_kept(tmp_path):
    assert by(tmp_path, "keep", "URL").mask("see https://example.com/a") == "see https://example.com/a"


def test_nothing_is_changed_when_it_is_turned_off(tmp_path):
    assert masker(PrivacySection(mask=False), tmp_path) is UNMASKED
    assert UNMASKED.mask("js@example.com") == "js@example.com"


def test_names_may_be_left_to_stand(tmp_path):
    privacy = PrivacySection(names=False)
    assert masker(privacy, tmp_path).mask("My name is John Smith, js@example.com") == (
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


def test_a_pseudonym_is_the_hmac_of_kind_and_value_under_the_pepper(tmp_path):
    text = by(tmp_path, "pseudonymise", "EMAIL_ADDRESS").mask("Mail JS@example.com")
    pepper = bytes.fromhex((tmp_path / "pepper").read_text())
    expected = hmac.new(pepper, b"EMAIL_ADDRESS\0js@example.com", hashlib.sha256).hexdigest()[:16]
    assert text == f"Mail <EMAIL_ADDRESS:{expected}>"
    assert by(tmp_path, "pseudonymise", "EMAIL_ADDRESS").mask(text) == text


def test_the_pepper_is_its_owners_alone_and_differs_between_projects(tmp_path):
    peppers = []
    for name in ("a", "b"):
        by(tmp_path / name, "pseudonymise", "PERSON")
        path = tmp_path / name / "pepper"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        peppers.append(path.read_text())
        assert [item.name for item in path.parent.iterdir()] == ["pepper"]
    assert peppers[0] != peppers[1]
    assert len(bytes.fromhex(peppers[0])) == 32


def test_a_damaged_pepper_is_refused(tmp_path):
    (tmp_path / "pepper").write_text("not hexadecimal")
    with pytest.raises(Corrupt, match="pepper must hold 32 bytes"):
        by(tmp_path, "surrogate", "PERSON")


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
