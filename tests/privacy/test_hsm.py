"""A master key in SoftHSM, a software module that speaks PKCS#11 as hardware does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millwright.errors import BadInput, Corrupt, MissingExtra, NotFound, Unavailable
from millwright.privacy.hsm import HsmKey
from millwright.privacy.master import read_master_key
from millwright.privacy.vault import Place, open_keys, open_vault, rotate_master_key
from tests.privacy.test_keys import project_with

PLACES = (
    "/usr/lib/softhsm",
    "/usr/lib/x86_64-linux-gnu/softhsm",
    "/usr/lib64/softhsm",
    "/opt/homebrew/lib/softhsm",
)
LIBRARY = next((path for one in PLACES if (path := Path(one) / "libsofthsm2.so").exists()), None)
PLACE = Place("predictions", "p", None)
PIN = "471100"
MAKE_KEY = """
import sys
import pkcs11
token = pkcs11.lib(sys.argv[1]).get_token(token_label="desk")
with token.open(rw=True, user_pin=sys.argv[2]) as session:
    for label in sys.argv[3:]:
        session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True)
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The setting of a key "first" on a token of its own; there is a key "second" too."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: pip install python-pkcs11")
    if LIBRARY is None:
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    patch.setenv("PKCS11_PIN", PIN)
    made = ["softhsm2-util", "--init-token", "--free", "--label", "desk", "--so-pin", "0000", "--pin", PIN]
    subprocess.run(made, check=True, capture_output=True)
    keys = [sys.executable, "-c", MAKE_KEY, str(LIBRARY), PIN, "first", "second"]
    subprocess.run(keys, check=True, capture_output=True)
    yield f"pkcs11:{LIBRARY}?token=desk&key="
    patch.undo()


def test_a_key_in_the_module_wraps_what_it_alone_unwraps(module, tmp_path):
    key = read_master_key(f"{module}first", tmp_path)
    wrapped = key.wrap(b"k" * 32, b"about")
    assert wrapped != key.wrap(b"k" * 32, b"about")
    assert key.unwrap(wrapped, b"about") == b"k" * 32
    changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    for content, about in ((wrapped, b"other"), (changed, b"about"), (b"", b"about")):
        with pytest.raises(Corrupt, match="refuses to unwrap"):
            key.unwrap(content, about)
    with pytest.raises(Corrupt):
        read_master_key(f"{module}second", tmp_path).unwrap(wrapped, b"about")


def test_a_project_lives_on_it_and_moves_to_another_key(module, tmp_path):
    project = project_with(tmp_path / "desk", master_key=f"{module}first")
    sealed = open_vault(project).seal(PLACE, {"text": "hi"})
    assert open_vault(project).unseal(PLACE, sealed) == {"text": "hi"}
    assert not (project.kept / "master.key").exists()
    assert rotate_master_key(project, f"{module}second")[1] == f"{module}second"
    moved = project_with(tmp_path / "desk", master_key=f"{module}second")
    assert open_vault(moved).unseal(PLACE, sealed) == {"text": "hi"}
    with pytest.raises(Corrupt, match="pkcs11:desk/second.*names pkcs11:desk/first"):
        open_keys(project)


def test_what_the_module_refuses_is_told_with_a_remedy(module, tmp_path, monkeypatch):
    with pytest.raises(NotFound, match="one secret key labelled 'third'"):
        read_master_key(f"{module}third", tmp_path).wrap(b"k" * 32, b"")
    with pytest.raises(Unavailable, match="the token 'shop'"):
        read_master_key(f"{module}first".replace("desk", "shop"), tmp_path).wrap(b"k" * 32, b"")
    with pytest.raises(Unavailable, match="check the library"):
        HsmKey("/nowhere.so", "desk", "first", PIN).wrap(b"k" * 32, b"")
    monkeypatch.setenv("PKCS11_PIN", "000000")
    with pytest.raises(Unavailable, match="PKCS11_PIN") as refused:
        read_master_key(f"{module}first", tmp_path).wrap(b"k" * 32, b"")
    assert "000000" not in str(refused.value)
    monkeypatch.setenv("PKCS11_PIN", PIN)
    assert read_master_key(f"{module}first", tmp_path).wrap(b"k" * 32, b"")  # nobody is locked out


@pytest.mark.parametrize(
    "rest", ["", "lib.so", "lib.so?token=desk", "?token=desk&key=k", "lib.so?token=&key=k"]
)
def test_a_setting_that_names_no_key_says_the_form(tmp_path, rest):
    with pytest.raises(BadInput, match="pkcs11:LIBRARY"):
        read_master_key(f"pkcs11:{rest}", tmp_path)


def test_without_a_pin_or_the_package_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("PKCS11_PIN", raising=False)
    with pytest.raises(NotFound, match="set it to the PIN"):
        read_master_key("pkcs11:lib.so?token=desk&key=k", tmp_path)
    monkeypatch.setenv("PKCS11_PIN", PIN)
    monkeypatch.setitem(sys.modules, "pkcs11", None)  # as an import of what is not installed ends
    key = read_master_key("pkcs11:lib.so?token=desk&key=k", tmp_path)
    with pytest.raises(MissingExtra, match=r"pip install python-pkcs11"):
        key.wrap(b"k" * 32, b"")
    assert os.environ["PKCS11_PIN"] not in repr(key)
