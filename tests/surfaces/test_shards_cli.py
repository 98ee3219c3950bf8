"""Shards on the command line: trained, shown, planned, erased, and refused where they cannot be."""

import json

from tests.desk import make_desk
from tests.erase.people import DATA, HEADER
from tests.erase.test_erased_shards import rows_of_ten
from tests.surfaces.test_cli import run, wrong


def test_train_show_plan_and_erase(tmp_path, encoder, capsys):
    folder = make_desk(tmp_path / "desk", encoder, rows_of_ten(), header=HEADER, data=DATA).folder
    at = ("--project", folder)
    assert run("train", "--method", "top", "--shards", "2", "--epochs", "1", *at) == 0
    assert "2 that learnt apart" in capsys.readouterr().out
    assert run("versions", "show", "--json", *at) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert len(facts["shards"]) == 2
    assert run("subject", "erase", "person 3", "--dry-run", *at) == 0
    assert "rows taught it, in 1 of 2 shards" in capsys.readouterr().out
    assert run("subject", "erase", "person 3", *at) == 0
    assert "1 of 2 shards trained anew from the pretrained network" in capsys.readouterr().out
    assert run("evaluate", *at) == 0
    assert "2 shards learnt apart: train the same dataset with --shards 1" in capsys.readouterr().out


def test_more_shards_than_the_rows_bear_are_refused_before_anything_is_trained(tmp_path, encoder, capsys):
    project = make_desk(tmp_path / "desk", encoder, rows_of_ten(30), header=HEADER, data=DATA)
    at = ("--project", project.folder)
    said = wrong(capsys, "train", "--method", "top", "--shards", "40", *at)
    assert "train.shards is 40 and the training rows of shard" in said
    assert "lower train.shards or add rows" in said
    assert not (project.kept / "versions").exists()
    assert "train.shards = 0" in wrong(capsys, "train", "--shards", "0", *at)
