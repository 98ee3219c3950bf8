"""Master keys and the key store: who may read, what is refused, what rotation leaves alone."""

import base64
import gc
import json
import os
import resource
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from millwright.errors import BadInput, CannotStore, Corrupt, NotFound, Unavailable
from millwright.privacy.audit import audit_file
from millwright.privacy.keys import KeyStore, make_key_store, open_key_store
from millwright.privacy.master import LocalKey, read_master_key
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.vault import Place, key_file, open_keys, open_vault, rotate_master_key
from millwright.project import Project
from millwright.settings import Settings, change_settings
from tests.conftest import full_disk

HEX = "0f" * 32
PLACE = Place("predictions", "p", None)


def project_with(folder, **privacy) -> Project:
    folder.mkdir(exist_ok=True)
    return Project(folder, change_settings(Settings(), "privacy", **privacy))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_file_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path, mode):
    path = tmp_path / "master.key"
    path.write_text(HEX)
    path.chmod(mode)
    with pytest.raises(BadInput, match=rf"mode 0{mode:o}.*chmod 600 {path}"):
        read_master_key(f"file:{path}", tmp_path)
    path.chmod(0o600)
    assert read_master_key("file:master.key", tmp_path) == LocalKey(bytes.fromhex(HEX))


@pytest.mark.parametrize("content", ["", "0f", "zz" * 32, "0f" * 33, "päss"])
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path, content, monkeypatch):
    monkeypatch.setenv("OUR_KEY", content)
    with pytest.raises(BadInput, match="64 hex digits") as refused:
        read_master_key("env:OUR_KEY", tmp_path)
    assert not content or content not in str(refused.value)


def test_a_device_without_end_is_not_read_as_a_key(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, hard))
    try:
        with pytest.raises(BadInput, match="/dev/zero"):
            read_master_key("file:/dev/zero", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("spec", ["master.key", "file:", "kms:x", "transit:vault/desk", "transit:https://v/"])
def test_a_setting_that_names_no_key_says_which_forms_there_are(tmp_path, spec):
    with pytest.raises(BadInput, match='"file:PATH", "env:NAME" or "transit:'):
        read_master_key(spec, tmp_path)


def test_the_transit_engine_is_not_spoken_to_in_the_clear(tmp_path):
    with pytest.raises(BadInput, match="in the clear; use https"):
        read_master_key("transit:http://vault.example:8200/desk", tmp_path)


def test_a_first_use_makes_a_key_that_only_its_owner_may_read(tmp_path):
    project = project_with(tmp_path / "desk")
    open_keys(project)
    path = project.kept / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(project.kept.stat().st_mode) == 0o700
    assert len(bytes.fromhex(path.read_text().strip())) == 32


def test_a_master_key_that_is_gone_is_never_made_anew(tmp_path):
    project = project_with(tmp_path / "desk")
    open_keys(project).close()
    (project.kept / "master.key").unlink()
    with pytest.raises(NotFound, match="no master key at .*; put it back"):
        open_keys(project)


def test_another_master_key_is_refused(tmp_path):
    make_key_store(tmp_path / "keys.db", LocalKey(bytes(32)))
    with pytest.raises(Corrupt, match="wrapped with the master key local:.* names local:"):
        open_key_store(tmp_path / "keys.db", LocalKey(bytes.fromhex(HEX)))


def test_no_key_stands_in_the_store_in_the_clear(tmp_path):
    make_key_store(tmp_path / "keys.db", LocalKey(bytes(32)))
    store = open_key_store(tmp_path / "keys.db", LocalKey(bytes(32)))
    secrets = [store.signing_key.private_bytes_raw(), store._pepper, store._wrapping_secret]
    gc.collect()  # a database that is closed while files are read would take its log away
    written = b"".join(path.read_bytes() for path in tmp_path.glob("keys.db*"))
    assert [secret for secret in secrets if secret in written] == []


def test_a_pseudonym_is_an_hmac_that_needs_the_pepper(tmp_path):
    one, other = (open_keys(project_with(tmp_path / name)) for name in ("one", "other"))
    assert (
        one.pseudonym("ada")
        == one.pseudonym(" ada ")
        == open_keys(project_with(tmp_path / "one")).pseudonym("ada")
    )
    assert one.pseudonym("Ada") != one.pseudonym("ada")
    assert one.pseudonym("ada") != other.pseudonym("ada")
    assert one.pseudonym("caf\u00e9") == one.pseudonym("cafe\u0301")


def test_a_destroyed_key_opens_nothing_and_leaves_no_byte(tmp_path):
    project = project_with(tmp_path / "desk")
    vault = open_vault(project)
    ada, bob = vault.keys.pseudonym("ada"), vault.keys.pseudonym("bob")
    sealed = {name: vault.seal(Place("predictions", "p", name), {"text": "hi"}) for name in (ada, bob)}
    with vault.keys._engine.connect() as connection:
        wrapped = connection.exec_driver_sql("SELECT wrapped FROM keys WHERE owner = ?", (ada,)).scalar()
    gc.collect()  # a database that is closed while files are read would take its log away
    assert any(wrapped in path.read_bytes() for path in project.kept.glob("keys.db*"))
    other = open_vault(project)
    assert other.unseal(Place("predictions", "p", ada), sealed[ada]) == {"text": "hi"}
    assert vault.keys.destroy(make_tombstone(vault.keys, ada, "now"))
    assert not any(wrapped in path.read_bytes() for path in project.kept.glob("keys.db*"))
    other.refresh()  # as the server does before it writes
    for opened in (vault, other, open_vault(project)):
        with pytest.raises(NotFound, match="it was destroyed"):
            opened.unseal(Place("predictions", "p", ada), sealed[ada])
        assert opened.unseal(Place("predictions", "p", bob), sealed[bob]) == {"text": "hi"}
    assert vault.keys.tombstones() == {ada: "now"}


def test_a_tombstone_that_the_project_did_not_sign_is_refused(tmp_path):
    keys = open_keys(project_with(tmp_path / "desk"))
    stranger = open_keys(project_with(tmp_path / "other"))
    keys.destroy(make_tombstone(stranger, "ab" * 16, "now"))
    with pytest.raises(Corrupt, match="that this project did not sign"):
        keys.tombstones()


def test_a_backup_of_the_store_is_whole_while_it_is_used_and_opens_what_was_sealed(tmp_path):
    project = project_with(tmp_path / "desk")
    keys = open_vault(project).keys
    keys.data_key("ab" * 16)
    assert (key_file(project).with_name("keys.db-wal")).stat().st_size > 0  # the file alone lacks this key
    copy = tmp_path / "elsewhere" / "monday.db"
    assert keys.back_up(copy) == 1
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with pytest.raises(BadInput, match=r"monday\.db is there already; name a new file"):
        keys.back_up(copy)
    sealed = open_vault(project).seal(Place("predictions", "p", "ab" * 16), {"text": "hi"})
    moved = project_with(tmp_path / "desk", key_store=str(copy))
    assert open_vault(moved).unseal(Place("predictions", "p", "ab" * 16), sealed) == {"text": "hi"}
    assert open_vault(moved).keys.pseudonym("ada") == keys.pseudonym("ada")


def test_a_backup_that_the_disk_has_no_room_for_leaves_no_file_and_names_its_own(tmp_path):
    keys = open_vault(project_with(tmp_path / "desk")).keys
    copy = tmp_path / "monday.db"
    with full_disk(1_000), pytest.raises(CannotStore, match=r"^cannot write .*/monday\.db: .*; free space"):
        keys.back_up(copy)
    assert not list(tmp_path.glob("monday*"))
    assert keys.back_up(copy) == 0
    assert copy.stat().st_size > 1_000


def test_rotation_changes_no_byte_of_data_and_the_old_key_opens_no_more(tmp_path):
    project = project_with(tmp_path / "desk")
    vault = open_vault(project)
    sealed = vault.seal(PLACE, {"text": "hi"})
    old = (project.kept / "master.key").read_text()
    count, spec = rotate_master_key(project)
    assert (count, spec) == (3, "file:.millwright/master.key")
    assert (project.kept / "master.key").read_text() != old
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    vault.refresh()
    assert vault.unseal(PLACE, sealed) == {"text": "hi"}  # a server that ran meanwhile goes on
    with pytest.raises(Corrupt, match="wrapped with the master key"):
        open_key_store(key_file(project), LocalKey(bytes.fromhex(old)))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_rotation_that_was_killed_opens_with_whichever_key_wraps(tmp_path, wrapped):
    project = project_with(tmp_path / "desk")
    sealed = open_vault(project).seal(PLACE, {"text": "hi"})
    fresh = LocalKey(os.urandom(32))
    if wrapped:
        open_keys(project).rotate(fresh)
    following = project.kept / "master.key.next"
    following.write_text(fresh.secret.hex())
    following.chmod(0o600)
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    assert not following.exists()


def test_who_opens_the_keys_during_a_rotation_waits_for_its_end(tmp_path, monkeypatch):
    project = project_with(tmp_path / "desk")
    sealed = open_vault(project).seal(PLACE, {"text": "hi"})
    other, rotate = threading.Thread(target=open_keys, args=(project,)), KeyStore.rotate

    def beside_another(store, master):
        other.start()
        other.join(0.2)  # without the lock it takes the new file for what a kill left, and deletes it
        return rotate(store, master)

    monkeypatch.setattr(KeyStore, "rotate", beside_another)
    assert rotate_master_key(project)[0] == 3
    other.join(30)
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}


def test_moves_from_a_file_to_the_environment(tmp_path, monkeypatch):
    project = project_with(tmp_path / "desk")
    sealed = open_vault(project).seal(PLACE, {"text": "hi"})
    monkeypatch.setenv("OUR_KEY", HEX)
    assert rotate_master_key(project, "env:OUR_KEY") == (3, "env:OUR_KEY")
    moved = project_with(tmp_path / "desk", master_key="env:OUR_KEY")
    assert open_vault(moved).unseal(PLACE, sealed) == {"text": "hi"}
    for spec in (None, "env:OUR_KEY"):
        with pytest.raises(BadInput, match="no new key .* in place of 'env:OUR_KEY'.*--to"):
            rotate_master_key(moved, spec)
    assert not audit_file(project).exists() or HEX not in audit_file(project).read_text()


def test_keys_lie_apart_from_the_data_where_the_setting_says(tmp_path):
    project = project_with(tmp_path / "desk", key_store=str(tmp_path / "elsewhere" / "keys.db"))
    open_keys(project)
    assert (tmp_path / "elsewhere" / "keys.db").exists()
    assert not list(project.kept.glob("keys*"))


class Transit(BaseHTTPRequestHandler):
    """HashiCorp Vault's transit engine, the two calls that we make: one key of 256 bits and many versions."""

    keys: list[bytes] = [os.urandom(32)]
    token = "s.token"

    def do_POST(self):
        _, _, _, action, name = self.path.split("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        about = base64.b64decode(body["associated_data"])
        if self.headers["X-Vault-Token"] != self.token:
            return self.answer(403, {"errors": ["permission denied"]})
        if name != "desk":
            return self.answer(404, {"errors": []})
        if action == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + AESGCM(self.keys[-1]).encrypt(nonce, base64.b64decode(body["plaintext"]), about)
            text = f"vault:v{len(self.keys)}:{base64.b64encode(sealed).decode()}"
            return self.answer(200, {"data": {"ciphertext": text, "key_version": len(self.keys)}})
        _, version, content = body["ciphertext"].split(":")
        sealed = base64.b64decode(content)
        try:
            plain = AESGCM(self.keys[int(version[1:]) - 1]).decrypt(sealed[:12], sealed[12:], about)
        except Exception:
            return self.answer(400, {"errors": ["cipher: message authentication failed"]})
        return self.answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})

    def answer(self, status, tree):
        content = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def transit(monkeypatch):
    monkeypatch.setattr(Transit, "keys", [os.urandom(32)])
    monkeypatch.setenv("VAULT_TOKEN", Transit.token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"transit:http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_in_the_transit_engine_wraps_and_rotates(tmp_path, transit):
    project = project_with(tmp_path / "desk", master_key=f"{transit}/desk")
    sealed = open_vault(project).seal(PLACE, {"text": "hi"})
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    Transit.keys.append(os.urandom(32))  # as `vault write -f transit/keys/desk/rotate` does
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    rotate_master_key(project)
    Transit.keys[0] = os.urandom(32)  # the old version is gone
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    assert not (project.kept / "master.key").exists()


def test_what_the_transit_engine_refuses_is_told_with_a_remedy(tmp_path, transit, monkeypatch):
    project = project_with(tmp_path / "desk", master_key=f"{transit}/desk")
    open_keys(project)
    Transit.keys[0] = os.urandom(32)
    with pytest.raises(Corrupt, match="refuses to unwrap the key"):
        open_keys(project)
    with pytest.raises(Unavailable, match="answered 404; check the key's name"):
        open_keys(project_with(tmp_path / "other", master_key=f"{transit}/desks"))
    monkeypatch.setenv("VAULT_TOKEN", "wrong")
    with pytest.raises(Unavailable, match="answered 403"):
        open_keys(project)
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(NotFound, match="VAULT_TOKEN"):
        open_keys(project)
