import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from millwright.errors import CannotStore, Corrupt
from millwright.store.files import (
    make_folder,
    new_file,
    read_json,
    read_secret,
    sealed_folder,
    sha256_file,
    verify,
    write_bytes,
    write_json,
    write_secret,
    write_text,
)

# A limit on file size refuses writes as a full disk does (EFBIG instead of ENOSPC), also to root.
WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from millwright.errors import CannotStore
from millwright.store.files import sealed_folder, write_bytes, write_secret
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
try:
    if sys.argv[2] == "file":
        write_bytes(path, b"x" * 100_000)
    elif sys.argv[2] == "secret":
        write_secret(path, "x" * 100_000)
    else:
        with sealed_folder(path) as folder:
            (folder / "rows.jsonl").write_bytes(b"x" * 100_000)
except CannotStore as error:
    print(error)
"""


def run_on_full_disk(path, what):
    command = [sys.executable, "-c", WRITE_TOO_MUCH, str(path), what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_no_part_of_a_secret(tmp_path):
    assert "cannot write" in run_on_full_disk(tmp_path / "master.key", "secret")
    assert names(tmp_path) == []


def test_a_secret_is_its_owners_alone_and_never_replaced(tmp_path):
    path = tmp_path / "master.key"
    write_secret(path, "first")
    with pytest.raises(CannotStore, match="exists"):
        write_secret(path, "second")
    content, mode = read_secret(path)
    assert (content, mode & 0o777) == (b"first\n", 0o600)
    assert names(tmp_path) == ["master.key"]


@pytest.fixture
def no_links(monkeypatch):
    """File systems without hard links, as the system calls answer there."""

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


def test_where_files_cannot_be_linked_a_secret_is_its_owners_alone_and_never_replaced(tmp_path, no_links):
    test_a_secret_is_its_owners_alone_and_never_replaced(tmp_path)


def test_a_new_file_that_could_not_be_filled_is_gone_and_another_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "half"):
        (tmp_path / "gone").read_text()
    with pytest.raises(FileExistsError), new_file(tmp_path / "mine"):
        pytest.fail("it is there already")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "mine")]


def sealed(folder):
    with sealed_folder(folder) as target:
        write_text(target / "a.txt", "one")
        write_json(target / "deep" / "b.json", {"two": 2})
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_written_file_holds_the_bytes_and_leaves_nothing_beside_it(tmp_path):
    write_bytes(tmp_path / "new" / "deep" / "a", b"\0\xff")
    assert (tmp_path / "new" / "deep" / "a").read_bytes() == b"\0\xff"
    assert names(tmp_path / "new" / "deep") == ["a"]


def test_writing_again_replaces(tmp_path):
    write_text(tmp_path / "a", "long old content")
    write_text(tmp_path / "a", "é")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9"


def test_json_is_readable_and_comes_back(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, None, "x"]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None, "x"]}
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"\0"])
def test_damaged_json_is_corrupt(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Corrupt, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_corrupt(tmp_path):
    with pytest.raises(Corrupt, match=r"a\.json is missing"):
        read_json(tmp_path / "a.json")


def test_a_file_where_a_folder_must_be_cannot_store(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(CannotStore, match="choose a folder you may write to"):
        write_text(tmp_path / "a" / "b", "x")
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path):
    write_text(tmp_path / "a", "old")
    assert "cannot write" in run_on_full_disk(tmp_path / "a", "file")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_full_disk_leaves_no_sealed_folder(tmp_path):
    assert "cannot write" in run_on_full_disk(tmp_path / "v1", "folder")
    assert names(tmp_path) == []


def test_a_sealed_folder_verifies_and_its_seal_has_every_hash(tmp_path):
    folder = sealed(tmp_path / "v1")
    verify(folder)
    assert json.loads((folder / "seal.json").read_text())["sha256"] == {
        "a.txt": hashlib.sha256(b"one").hexdigest(),
        "deep/b.json": sha256_file(folder / "deep" / "b.json"),
    }


def fail_while_filling(folder):
    with sealed_folder(folder) as target:
        write_text(target / "a.txt", "one")
        raise ZeroDivisionError


def test_an_error_while_filling_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail_while_filling(tmp_path / "v1")
    assert names(tmp_path) == []


def test_nobody_sees_the_folder_before_it_is_whole(tmp_path):
    with sealed_folder(tmp_path / "v1") as target:
        write_text(target / "a.txt", "one")
        assert not (tmp_path / "v1").exists()
    assert (tmp_path / "v1").exists()


def test_a_folder_that_stands_is_never_changed(tmp_path):
    folder = sealed(tmp_path / "v1")
    with sealed_folder(folder) as target:
        write_text(target / "a.txt", "other")
    assert (folder / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["v1"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "a.txt").write_text("on"), r"a\.txt is not what was written"),
        (lambda folder: (folder / "a.txt").write_text("onE"), r"a\.txt is not what was written"),
        (lambda folder: (folder / "a.txt").unlink(), r"a\.txt is missing"),
        (lambda folder: shutil.rmtree(folder / "deep"), r"b\.json is missing"),
        (lambda folder: (folder / "c.pkl").write_text(""), r"c\.pkl was added"),
        (lambda folder: (folder / "seal.json").unlink(), r"seal\.json is missing"),
        (lambda folder: (folder / "seal.json").write_text("{}"), "has format None"),
        (lambda folder: (folder / "seal.json").write_text("[]"), r"has format \[\]"),
        (lambda folder: (folder / "seal.json").write_text('{"format": 2}'), "has format 2"),
        (lambda folder: (folder / "seal.json").write_text('{"format": 1}'), "lists no hashes"),
        (lambda folder: (folder / "seal.json").write_text("{"), r"seal\.json is damaged"),
    ],
)
def test_harm_to_a_sealed_folder_is_found_and_named(tmp_path, harm, message):
    folder = sealed(tmp_path / "v1")
    harm(folder)
    with pytest.raises(Corrupt, match=message):
        verify(folder)


def test_a_damaged_folder_is_replaced_when_it_is_made_again(tmp_path):
    folder = sealed(tmp_path / "d-1")
    (folder / "a.txt").write_text("on")
    sealed(folder)
    verify(folder)
    assert (folder / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["d-1"]


@pytest.mark.parametrize("place", ["/proc/desk", "/dev/null/desk"])
def test_where_no_folder_can_be_the_error_names_it(place):
    for make in (lambda: make_folder(Path(place)), lambda: write_text(Path(place) / "a.txt", "one")):
        with pytest.raises(CannotStore, match=f"cannot write {place}"):
            make()
    with pytest.raises(CannotStore, match="cannot write /"), sealed_folder(Path(place) / "v1"):
        pass


def test_a_missing_file_within_a_sealed_folder_is_no_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), sealed_folder(tmp_path / "v1"):
        (tmp_path / "nowhere").read_bytes()


def test_a_folder_that_is_there_is_no_error(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
