"""The model card says what the manifest says, and the Hub can read it."""

import re

import pytest
from huggingface_hub import ModelCard

from millwright.registry.card import METRICS, model_card

MANIFEST = {
    "name": "v7",
    "project": "desk",
    "created_at": "2026-03-04T05:06:07.089+00:00",
    "dataset": {"id": "d-0123456789ab", "splits": {"train": 1234, "validation": 151, "test": 267}},
    "backbone": {"name": "minilm", "sha256": "53aa51" * 10},
    "method": "top",
    "why": "120 rows a label can teach the last layers more",
    "labels": ["card lost", "pin", "transfer"],
    "metrics": {
        "rows": 267,
        **{
            name: {"value": 0.81 + place / 100, "low": 0.71 + place / 100, "high": 0.91 + place / 100}
            for place, name in enumerate(METRICS)
        },
    },
    "facts": {
        "stages": {
            "features": {"seconds": 12.345, "rows_per_second": 99.9},
            "head": {"seconds": 0.678, "rows_per_second": 1820.5},
        },
        "peak_memory_bytes": 987_654_321,
    },
    "libraries": {"torch": "2.13.0", "peft": "0.18.1"},
}


def changed(**parts: object) -> dict:
    return {**MANIFEST, **parts}


def loaded(manifest: dict, folder) -> ModelCard:
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    return ModelCard.load(folder / "README.md")


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its two first lines left out."""
    part = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_front_matter_is_what_the_hub_reads(tmp_path):
    data = loaded(MANIFEST, tmp_path).data
    assert data.library_name == "millwright"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "minilm"
    assert data.tags == ["text-classification", "millwright"]


@pytest.mark.parametrize(
    "name", ["/home/me/my: encoder #2", 'quo"ted', "- dash", "{brace}", "über/größe", "no", "1e3", "a\\b"]
)
def test_any_name_of_a_backbone_is_valid_yaml(tmp_path, name):
    manifest = changed(backbone={"name": name, "sha256": "0" * 64})
    assert loaded(manifest, tmp_path).data.base_model == name


def test_every_measured_figure_stands_in_the_table_as_in_the_manifest(tmp_path):
    rows = table(loaded(MANIFEST, tmp_path).text, "What was measured")
    assert [row[0] for row in rows] == list(METRICS)
    for name, *figures in rows:
        expected = [MANIFEST["metrics"][name][part] for part in ("value", "low", "high")]
        assert [float(figure) for figure in figures] == pytest.approx(expected, abs=5e-5)


def test_every_cost_stands_in_the_table_as_in_the_manifest(tmp_path):
    card = loaded(MANIFEST, tmp_path)
    assert table(card.text, "What it costs") == [
        ["features", "12.345", "99.9"],
        ["head", "0.678", "1820.5"],
    ]
    assert "Peak memory: 988 MB." in card.text


@pytest.mark.parametrize(
    "fact",
    [
        *("desk v7", "2026-03-04T05:06:07.089+00:00", "3 labels", "d-0123456789ab"),
        *("1234 training", "151 validation", "267 test rows", "On 267 test rows"),
        *("`top`; 120 rows a label can teach the last layers more", "53aa51" * 10),
        *("torch 2.13.0", "peft 0.18.1"),
    ],
)
def test_each_fact_of_the_manifest_is_told(fact):
    assert fact in model_card(MANIFEST)


def test_no_figure_stands_in_the_card_that_the_manifest_does_not_have():
    body = model_card(MANIFEST).split("---\n", 2)[2]
    figures = {figure for row in table(body, "What was measured") for figure in row[1:]}
    for figure in figures:
        body = body.replace(figure, "")
    told = {"95", "988"}  # the level of the intervals, and the peak memory in megabytes
    known = set(re.findall(r"\d+(?:\.\d+)?", repr(MANIFEST))) | told | {str(len(MANIFEST["labels"]))}
    assert set(re.findall(r"\d+(?:\.\d+)?", body)) <= known


def test_without_test_rows_the_card_says_that_nothing_was_measured(tmp_path):
    card = loaded(changed(metrics=None), tmp_path)
    assert "Nothing: the dataset has no test rows." in card.text
    assert "| metric |" not in card.text


def test_every_label_is_listed_on_a_line_of_its_own(tmp_path):
    labels = ["plain", "with *stars* and _lines_", "two\nlines", "<b>bold</b>", "- dash"]
    listed = loaded(changed(labels=labels), tmp_path).text.split("## Labels\n", 1)[1].strip().split("\n")
    assert listed == [f"- `{' '.join(label.split())}`" for label in labels]
