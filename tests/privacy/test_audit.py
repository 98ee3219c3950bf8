"""The audit log: every way to tamper with it is found, the chain is the documented formula."""

import hashlib
import json
import subprocess
import sys

import pytest

from millwright.errors import BadInput, Corrupt
from millwright.privacy.audit import audit_file, check_anchor, make_anchor, read_audit, record, verify_chain
from millwright.privacy.signing import is_signed, public_text, signed
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import Settings


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path, Settings())


@pytest.fixture
def logged(project) -> Project:
    for number in range(1, 6):
        record(project, "promoted", subject="ab" * 16, details={"version": f"v{number}", "größe": number})
    return project


def test_each_hash_is_sha256_of_the_one_before_and_the_canonical_line(logged):
    before = bytes(32)
    for line in audit_file(logged).read_bytes().splitlines():
        tree = json.loads(line)
        said = {key: tree[key] for key in sorted(tree) if key != "hash"}
        content = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert tree["hash"] == hashlib.sha256(before + content).hexdigest()
        before = bytes.fromhex(tree["hash"])
    assert [line.details["version"] for line in read_audit(logged)] == ["v1", "v2", "v3", "v4", "v5"]


def test_any_flipped_bit_is_found_at_its_line(logged):
    path = audit_file(logged)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        line = whole[:place].count(b"\n") + 1
        with pytest.raises(Corrupt, match=rf"breaks at line ({line}|{line + 1}):"):
            verify_chain(path)


@pytest.mark.parametrize("removed", [0, 1, 2, 3])
def test_a_removed_line_is_found(logged, removed):
    path = audit_file(logged)
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[removed]
    path.write_bytes(b"".join(lines))
    with pytest.raises(Corrupt, match=f"breaks at line {removed + 1}"):
        verify_chain(path)


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 1, 1, 2, 3, 4)])
def test_lines_that_were_swapped_or_repeated_are_found(logged, order):
    path = audit_file(logged)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[place] for place in order))
    with pytest.raises(Corrupt, match="breaks at line"):
        verify_chain(path)


@pytest.mark.parametrize("left", [0, 1, 4])
def test_a_cut_tail_passes_the_chain_and_is_found_by_an_anchor(logged, left):
    keys, path = open_vault(logged).keys, audit_file(logged)
    anchor = make_anchor(logged, keys.project_id, keys.signing_key)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:left]))
    assert verify_chain(path).lines == left
    with pytest.raises(Corrupt, match=f"has {left} lines and had 5 at .*: its tail was cut"):
        check_anchor(path, anchor, None)


def test_a_log_that_was_written_anew_is_found_by_an_anchor(logged):
    keys = open_vault(logged).keys
    anchor = make_anchor(logged, keys.project_id, keys.signing_key)
    audit_file(logged).unlink()
    for _ in range(6):
        record(logged, "promoted")
    assert verify_chain(audit_file(logged)).lines == 6
    with pytest.raises(Corrupt, match="was written anew: line 5"):
        check_anchor(audit_file(logged), anchor, None)


def test_a_log_that_grew_since_still_fits_its_anchor(logged):
    keys = open_vault(logged).keys
    anchor = json.loads(json.dumps(make_anchor(logged, keys.project_id, keys.signing_key)))
    record(logged, "promoted")
    assert check_anchor(audit_file(logged), anchor, public_text(keys.signing_key)).lines == 6


def test_an_anchor_that_was_changed_or_signed_by_another_is_refused(logged, tmp_path):
    keys = open_vault(logged).keys
    anchor = make_anchor(logged, keys.project_id, keys.signing_key)
    other = open_vault(Project(tmp_path / "other", Settings())).keys.signing_key
    forged = signed({name: anchor[name] for name in anchor if name not in ("public_key", "signature")}, other)
    for bad, key in (({**anchor, "lines": 1}, None), (forged, public_text(keys.signing_key))):
        with pytest.raises(BadInput, match="signature is not that of the key"):
            check_anchor(audit_file(logged), bad, key)
    with pytest.raises(BadInput, match="no audit anchor"):
        check_anchor(audit_file(logged), {"kind": "receipt"}, None)
    with pytest.raises(BadInput, match="no audit anchor"):
        check_anchor(audit_file(logged), [], None)
    with pytest.raises(BadInput, match="not a public key"):
        is_signed(anchor, "key")


def test_an_unfinished_last_line_is_told_and_the_next_append_goes_on_after_the_last_whole_one(logged):
    path = audit_file(logged)
    path.write_bytes(path.read_bytes() + b'{"action":"prom')
    with pytest.raises(Corrupt, match="breaks at line 6: its end is missing"):
        verify_chain(path)
    assert record(logged, "promoted").number == 6
    assert verify_chain(path).lines == 6


def test_processes_that_write_at_once_make_one_chain(project):
    code = (
        "import sys\nfrom millwright.privacy.audit import record\nfrom millwright.project import Project\n"
        "from millwright.settings import Settings\nfrom pathlib import Path\n"
        "for _ in range(10): record(Project(Path(sys.argv[1]), Settings()), 'promoted')"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, project.folder]) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    assert verify_chain(audit_file(project)).lines == 20
