"""Runs the verbs on real datasets and writes docs/results.md. `make bench`, or with --only NAME.

The datasets are read from the folder that README.md beside this names.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from record import DATA, ROOT

RESULTS = ROOT / "docs" / "results.json"


@dataclass(frozen=True)
class Run:
    """One dataset and method, with the settings that differ from the defaults."""

    name: str
    train: str
    test: str
    label: str
    method: str


RUNS = (
    Run("banking77-auto", "banking77/train.csv", "banking77/test.csv", "category", "auto"),
    Run("banking77-top", "banking77/train.csv", "banking77/test.csv", "category", "top"),
    Run("imdb-auto", "imdb/train.jsonl.gz", "imdb/test.jsonl.gz", "label", "auto"),
)


def measure(run: Run) -> dict[str, object]:
    """New, train and evaluate in a fresh folder, through the command line."""
    with tempfile.TemporaryDirectory() as folder:
        project = str(Path(folder) / "project")
        train, test = DATA / run.train, DATA / run.test
        named = ["--text", "text", "--label", run.label]
        millwright("new", project, "--data", str(train), "--test-data", str(test), *named)
        made = millwright("train", "--project", project, "--method", run.method)
        millwright("evaluate", "--project", project, "--data", str(test))
        (report,) = Path(project).glob("reports/evaluation-v1-*.json")
        found = json.loads(report.read_text())
    return {
        "name": run.name,
        "method": made["version"]["method"],
        "rows": found["rows"],
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "calibration_error": found["calibration_error"],
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def millwright(*arguments: str) -> dict[str, dict[str, object]]:
    """Run a verb with --json and return what it printed."""
    command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def page(results: dict[str, dict[str, object]]) -> str:
    """The table as Markdown."""
    lines = [
        "# Results",
        "",
        "Figures on the datasets' own test files, which training never sees; 95 % bootstrap intervals.",
        "One run each. What a stage costs stands in each version's record: `millwright versions show`.",
        "",
        "| run | method taken | test rows | accuracy | macro F1 | calibration error | made by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        figures = [interval(found[key]) for key in ("accuracy", "macro_f1", "calibration_error")]
        made_by = f"`python benchmarks/results.py --only {name}`"
        cells = [name, found["method"], found["rows"], *figures, made_by]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def interval(figure: object) -> str:
    """A figure with its interval, in per cent."""
    assert isinstance(figure, dict)
    return f"{100 * figure['value']:.2f} % [{100 * figure['low']:.2f}, {100 * figure['high']:.2f}]"


def main() -> None:
    """Measure what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[run.name for run in RUNS])
    only = parser.parse_args().only
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for run in RUNS:
        if only in (None, run.name):
            results[run.name] = measure(run)
            print(json.dumps(results[run.name]))
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            (ROOT / "docs" / "results.md").write_text(page(results))


if __name__ == "__main__":
    main()
