"""What an erasure costs beside a training: one person and many, of a head. `python benchmarks/erasure.py`

Invented messages of customers with four rows each. A project is trained with nothing cached and again with
features cached; then one person is erased, then more, one after the other, each with a successor that serves
and a signed receipt. Times are processor seconds, which others who use the machine don't change.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from messages import write_messages
from record import BENCH, Row, print_table, read_rows, write_record
from transformers.utils.logging import disable_progress_bar

from millwright.data.prepare import prepare
from millwright.erase.erasure import erase
from millwright.project import Project, open_project
from millwright.registry.versions import CHAMPION, alias
from millwright.settings import FILENAME, check_settings, dump_settings
from millwright.steps import train
from millwright.store.files import write_text

SIZES, PEOPLE = (10_000, 100_000), 100
FOLDER = BENCH / "erasure"
COLUMNS = ("rows", "what", "people", "seconds", "seconds_a_person", "times_cheaper")


def timed(work: Callable[[], object]) -> float:
    """Processor seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def make(folder: Path, rows: int) -> Project:
    """A project of invented messages whose customers are the people."""
    folder.mkdir(parents=True)
    write_messages(folder / "rows.csv", rows)
    data = {"files": ["rows.csv"], "text": "message", "label": "intent"}
    data |= {"subject": "customer", "group": "customer"}
    made = {"data": data, "train": {"method": "head"}, "serve": {"runtime": "torch"}}
    write_text(folder / FILENAME, dump_settings(check_settings(made, "benchmark")))
    return open_project(folder)


def measure(rows: int, people: int) -> list[Row]:
    """Trainings and erasures of a project of so many rows."""
    project = make(FOLDER / str(rows), rows)
    cold = timed(lambda: train(project))
    warm = timed(lambda: train(project))
    dataset = prepare(project)
    names = list(dict.fromkeys(row.subject for row in dataset.split("train") if row.subject))[: people + 1]
    one = timed(lambda: erase(project, names[0]))
    many = timed(lambda: [erase(project, name) for name in names[1:]])
    assert alias(project, CHAMPION) is not None
    left = {row.subject for row in prepare(project).rows}
    assert not left & set(names)
    again = timed(lambda: train(project))
    costs = (
        ("train, nothing cached", 0, cold),
        ("train, features cached", 0, warm),
        ("erase one person", 1, one),
        *([(f"erase {people} people, one after the other", people, many)] if people else []),
        ("train without them, features cached", 0, again),
    )
    return [
        {
            "rows": rows,
            "what": what,
            "people": count or None,
            "seconds": round(seconds, 1),
            "seconds_a_person": round(seconds / count, 2) if count else None,
            "times_cheaper": round(cold / (seconds / count), 1) if count else None,
        }
        for what, count, seconds in costs
    ]


def main() -> None:
    """Measure what was asked for; other sizes stay in the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many are erased after the first")
    asked = parser.parse_args()
    disable_progress_bar()
    for size in asked.rows:
        shutil.rmtree(FOLDER, ignore_errors=True)
        try:
            rows = measure(size, asked.people)
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)
        print_table(rows, COLUMNS)
        kept = [row for row in read_rows("erasure") if row["rows"] != size]
        write_record("erasure", sorted([*kept, *rows], key=lambda row: int(str(row["rows"]))))


if __name__ == "__main__":
    main()
