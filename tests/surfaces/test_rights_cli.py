"""The verbs for people's rights, one after another as an officer would type them."""

import json

import pytest

from millwright.project import Project
from tests.erase.people import served
from tests.surfaces.test_cli import run, wrong


@pytest.fixture(scope="module")
def desk(tmp_path_factory, encoder) -> Project:
    project = served(tmp_path_factory.mktemp("rights") / "desk", encoder)
    project.database.dispose()
    return project


@pytest.fixture
def say(desk, capsys):
    """A function that runs a verb on the desk and returns what it wrote; JSON is parsed."""

    def call(*arguments: object, as_json: bool = True):
        flags = ["--json"] if as_json else []
        assert run(*map(str, arguments), "--project", desk.folder, *flags) == 0
        said = capsys.readouterr().out
        return json.loads(said) if as_json else said

    return call


def test_from_consent_to_a_receipt_that_is_checked_without_the_project(say, desk, tmp_path, capsys):
    (tmp_path / "terms.txt").write_text("we learn from what you say")
    given = say("subject", "consent", "alma", "--text", tmp_path / "terms.txt", "--separate")["consent"]
    assert (given["purpose"], given["is_separate"], len(given["text_sha256"])) == ("training", True, 64)
    assert say("subject", "withdraw", "alma") == {"withdrawn": 1, "purpose": "training"}
    assert say("subject", "restrict", "alma")["changed"]
    assert say("subject", "object", "alma")["kind"] == "objected"
    assert say("subject", "hold", "alma")["changed"]
    assert "legal hold" in wrong(capsys, "subject", "erase", "alma", "--project", desk.folder)
    assert "held no more" in say("subject", "hold", "alma", "--lift", as_json=False)
    assert say("subject", "expire", "--dry-run")["expired"]["predictions"] == 0
    assert "would delete 0 predictions" in say("subject", "expire", "--dry-run", as_json=False)

    manifest = say("subject", "export", "alma", "--to", tmp_path / "export")
    assert manifest["files"]["predictions.csv"]["rows"] == 3
    shown = say("subject", "erase", "alma", "--dry-run", as_json=False)
    assert "file rows.csv: 18 rows" in shown
    assert "version v1 (head): " in shown

    public = say("receipt", "key", as_json=False).strip()
    assert say("receipt", "key")["public_key"] == public
    erased = say("subject", "erase", "alma")
    said = say("subject", "erase", "alma", as_json=False)  # nothing is left: the receipt of before
    assert "3 opinions, 3 predictions" in said
    assert "in its place v2, trained anew" in said
    (tmp_path / "receipt.json").write_text(json.dumps(erased["receipt"]))
    assert run("receipt", "verify", tmp_path / "receipt.json", "--key", public, "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["is_trusted"], checked["receipt"]) == (True, erased["receipt"])
    assert run("receipt", "verify", tmp_path / "receipt.json") == 0
    assert "pass --key to know whose that is" in capsys.readouterr().out
    (tmp_path / "receipt.json").write_text(json.dumps({**erased["receipt"], "left_to_you": {"x": "y"}}))
    assert run("receipt", "verify", tmp_path / "receipt.json") == 1
    assert "is not what its signer signed" in capsys.readouterr().err
    assert say("subject", "replay") == {"erased": {}}
    assert "nothing in this project belongs" in wrong(
        capsys, "subject", "erase", "nobody", "--project", desk.folder
    )


def test_the_audit_log_and_the_keys(say, desk, tmp_path, capsys):
    made = say("keys", "create", "website", "--scope", "predict", "--days", "3", "--rate", "60")
    assert made["token"].startswith(f"mw_{made['key']['id']}_")
    assert say("keys", "create", "app", as_json=False).startswith("mw_")
    assert say("keys", "revoke", made["key"]["id"]) == {"revoked": made["key"]["id"]}
    assert [key["name"] for key in say("keys", "list")["keys"]] == ["website", "app"]
    assert "revoked 20" in say("keys", "list", as_json=False)
    assert say("keys", "backup", tmp_path / "monday.db")["file"] == str(tmp_path / "monday.db")
    assert "data keys, wrapped:" in say("keys", "backup", tmp_path / "tuesday.db", as_json=False)
    assert say("keys", "rotate")["master_key"] == "file:.millwright/master.key"

    say("audit", "anchor", "--to", tmp_path / "anchor.json", as_json=False)
    assert say("audit", "verify", "--anchor", tmp_path / "anchor.json")["anchored"]
    assert "only an anchor can tell" in say("audit", "verify", as_json=False)
    lines = say("audit", "show", "--last", "1")["lines"]
    assert [line["action"] for line in lines] == ["master key rotated"]
    assert "master key rotated" in say("audit", "show", as_json=False)
    log = desk.kept / "audit.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:1]))
    assert run("audit", "verify", "--anchor", tmp_path / "anchor.json", "--project", desk.folder) == 1
    assert "its tail was cut" in capsys.readouterr().err
    log.write_bytes(whole)


def test_several_people_are_erased_in_one_call_and_who_was_not_is_named(tmp_path_factory, encoder, capsys):
    project = served(tmp_path_factory.mktemp("several") / "desk", encoder)
    names = project.folder / "people.txt"
    names.write_text("\ufeffbob\n\n  nobody-17 \r\n", encoding="utf-8")
    verb = ("subject", "erase", "alma", "--file", names, "--project", project.folder)
    assert run(*verb, "--dry-run", "--json") == 0
    plans = json.loads(capsys.readouterr().out)["found"]
    assert {name: plan["files"].get("rows.csv", {}).get("rows") for name, plan in plans.items()} == {
        "alma": 18,
        "bob": 18,
        "nobody-17": None,
    }
    assert run(*verb, "--dry-run") == 0
    assert "bob:\n" in capsys.readouterr().out
    assert run(*verb, "--json") == 2
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [one["subject"] for one in told["erased"]] == ["alma", "bob"]
    assert [one["receipt"]["versions"]["v1"]["successor"] for one in told["erased"]] == ["v2", "v2"]
    assert told["not_erased"][0]["subject"] == "nobody-17"
    assert "nothing in this project belongs" in told["not_erased"][0]["why"]
    assert "1 of 3 people were not erased" in said.err
    for one in told["erased"]:
        assert run("receipt", "verify", one["path"], "--json") == 0
        assert json.loads(capsys.readouterr().out)["receipt"] == one["receipt"]
    assert run("subject", "erase", "bob", "alma", "--project", project.folder) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == ["bob", "alma"]
    assert said[2].startswith("version v1: in its place v2, trained anew")
    assert "name at least one person" in wrong(capsys, "subject", "erase", "--project", project.folder)
    missing = project.folder / "missing.txt"
    assert "no file" in wrong(capsys, "subject", "erase", "--file", missing, "--project", project.folder)
    names.write_bytes(b"bob\xff")
    assert "in UTF-8" in wrong(capsys, "subject", "erase", "--file", names, "--project", project.folder)
