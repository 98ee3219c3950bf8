"""Receipts: every change is found, and who signed is known where the key is named."""

import base64
import json
import string

import pytest

from millwright.errors import BadInput, Corrupt
from millwright.privacy.receipts import check_receipt, make_tombstone, write_receipt
from millwright.privacy.signing import public_text, signed
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import Settings

DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"  # of base64


@pytest.fixture
def keys(tmp_path):
    return open_vault(Project(tmp_path / "desk", Settings())).keys


@pytest.fixture
def receipt(tmp_path, keys):
    stone = make_tombstone(keys, "ab" * 16, "2026-01-01")
    content = {"id": "r1", "subject": "ab" * 16, "tombstone": stone, "found": {"rows": {"predictions": 3}}}
    return write_receipt(Project(tmp_path / "desk", Settings()), keys, content)


def test_a_receipt_is_whole_with_and_without_naming_the_key(receipt, keys):
    assert check_receipt(receipt)["found"] == {"rows": {"predictions": 3}}
    assert check_receipt(receipt, public_text(keys.signing_key)) == check_receipt(receipt)


def spelled_otherwise(text: str) -> str:
    """Other base64 of the same 64 bytes: of the last character before "==" four bits say nothing."""
    other = text[:85] + DIGITS[DIGITS.index(text[85]) ^ 1] + text[86:]
    assert base64.b64decode(other, validate=True) == base64.b64decode(text)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["found"]["rows"].update(predictions=2),
        lambda tree: tree.update(more=1),
        lambda tree: tree.pop("found"),
        lambda tree: tree["tombstone"].update(subject="cd" * 16),
        lambda tree: tree.update(signature="AAAA"),
        lambda tree: tree.pop("signature"),
        lambda tree: tree.update(signature=spelled_otherwise(tree["signature"])),
        lambda tree: tree.update(public_key="AAAA"),
    ],
)
def test_any_change_is_found(receipt, change):
    tree = json.loads(receipt.read_text())
    change(tree)
    receipt.write_text(json.dumps(tree))
    with pytest.raises(Corrupt, match="is not what its signer signed"):
        check_receipt(receipt)


def test_a_receipt_that_somebody_else_signed_passes_only_where_the_key_is_not_named(receipt, keys, tmp_path):
    other = open_vault(Project(tmp_path / "other", Settings())).keys
    tree = json.loads(receipt.read_text())
    bare = {name: tree[name] for name in tree if name not in ("public_key", "signature")}
    bare["tombstone"] = signed(
        {name: bare["tombstone"][name] for name in ("format", "kind", "project", "subject", "erased_at")},
        other.signing_key,
    )
    receipt.write_text(json.dumps(signed(bare, other.signing_key)))
    assert check_receipt(receipt)
    with pytest.raises(Corrupt, match="is not what the key [0-9a-f]{32} signed"):
        check_receipt(receipt, public_text(keys.signing_key))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"kind": "audit anchor"}', '{"kind": "erasure receipt", "format": 9}']
)
def test_what_is_no_receipt_is_refused(tmp_path, content):
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(BadInput, match=r"receipt\.json"):
        check_receipt(tmp_path / "receipt.json")
