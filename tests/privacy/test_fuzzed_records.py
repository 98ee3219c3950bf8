"""Receipts, anchors and audit logs that could be anything: read, or refused with an error of ours."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.errors import BadInput, Corrupt
from millwright.privacy.audit import ANCHOR_FORMAT, audit_file, check_anchor, record, verify_chain
from millwright.privacy.exported import EXPORTED, exports_of, note_export
from millwright.privacy.receipts import RECEIPT, RECEIPT_FORMAT, check_receipt, make_tombstone, write_receipt
from millwright.privacy.signing import public_text
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import Settings

many = settings(max_examples=150, derandomize=True, deadline=None, database=None)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PARTS = (
    "format",
    "kind",
    "project",
    "subject",
    "public_key",
    "signature",
    "tombstone",
    "lines",
    "hash",
    "at",
)
TREES = st.dictionaries(st.sampled_from(PARTS), VALUES, max_size=8)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    made = Project(tmp_path_factory.mktemp("fuzzed") / "desk", Settings())
    for number in range(5):
        record(made, "promoted", subject="ab" * 16, details={"version": f"v{number}"})
    return made


@pytest.fixture(scope="module")
def receipt(project) -> Path:
    keys = open_vault(project).keys
    stone = make_tombstone(keys, "ab" * 16, "2026-01-01T00:00:00.000+00:00")
    return write_receipt(project, keys, {"id": "r1", "subject": "ab" * 16, "tombstone": stone})


@many
@given(TREES)
def test_a_receipt_of_any_content_is_refused(project, tree):
    path = project.folder / "any.json"
    path.write_text(json.dumps({"kind": RECEIPT, "format": RECEIPT_FORMAT, **tree}))
    for key in (None, public_text(open_vault(project).keys.signing_key)):
        with pytest.raises((BadInput, Corrupt)):
            check_receipt(path, key)


@many
@given(st.data())
def test_a_receipt_with_any_byte_changed_is_refused(project, receipt, data):
    whole, path = receipt.read_bytes(), project.folder / "changed.json"
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    try:
        same = json.loads(path.read_bytes()) == json.loads(whole)  # white space between parts says nothing
    except ValueError:
        same = False
    if not same:
        with pytest.raises((BadInput, Corrupt)):
            check_receipt(path)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("log") / "audit.jsonl"


@many
@given(st.binary(max_size=80))
def test_a_log_of_any_bytes_is_whole_or_refused(log, content):
    log.write_bytes(content)
    if content:
        with pytest.raises(Corrupt):
            verify_chain(log)


@many
@given(TREES)
def test_an_anchor_of_any_content_is_refused(project, tree):
    anchor = {"kind": "audit anchor", "format": ANCHOR_FORMAT, **tree}
    with pytest.raises((BadInput, Corrupt)):
        check_anchor(audit_file(project), anchor, None)


@pytest.fixture(scope="module")
def exporting(tmp_path_factory) -> Project:
    made = Project(tmp_path_factory.mktemp("exports") / "desk", Settings())
    note_export(made, ["ab" * 16, "cd" * 16, None], {"rows": 3})
    return made


@many
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_an_export_is_found_whatever_stands_around_its_line(exporting, before, after):
    path = audit_file(exporting)
    (line,) = [one for one in path.read_bytes().split(b"\n") if b'"rows":3' in one]
    marked = [b'["' + EXPORTED.encode() + b'"]', b'{"action":"exported"}']
    path.write_bytes(b"\n".join([before, *marked, line, after]))
    found = exports_of(exporting, ["ab" * 16, "ef" * 16])
    assert {person: list(told.values()) for person, told in found.items()} == {"ab" * 16: ["rows 3"]}
