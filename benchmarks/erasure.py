"""What an erasure costs beside a training: one person, and many in one call. `python benchmarks/erasure.py`

Invented messages of customers with four rows each, a head. A project is trained, one person is erased, then
more in one call, each call with a successor that serves and a signed receipt a person; then a version is
trained without them, with features cached and with nothing cached. Times are processor seconds, which others
who use the machine don't change.
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
from millwright.erase.erasure import erase, erase_all
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
    first = timed(lambda: train(project))
    names = _people_who_taught(project)[: people + 1]
    one = timed(lambda: erase(project, names[0]))
    many = timed(lambda: _erase_together(project, names[1:])) if people else 0.0
    assert alias(project, CHAMPION) is not None
    left = {row.subject for row in prepare(project).rows}
    assert not left & set(names)
    cached = timed(lambda: train(project))
    shutil.rmtree(project.kept / "cache")
    cold = timed(lambda: train(project))
    costs = (
        ("first training, nothing cached", 0, first),
        ("erase one person", 1, one),
        *([(f"erase {people} people in one call", people, many)] if people else []),
        ("train without them, features cached", 0, cached),
        ("train without them, nothing cached", 0, cold),
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


def _people_who_taught(project: Project) -> list[str]:
    taught = prepare(project).split("train")
    return list(dict.fromkeys(row.subject for row in taught if row.subject))


def _erase_together(project: Project, names: list[str]) -> None:
    done = erase_all(project, names)
    assert list(done.erased) == names
    assert len({one.receipt["subject"] for one in done.erased.values()}) == len(names)


def main() -> None:
    """Measure what was asked for; other sizes stay in the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--people", type=int, default=PEOPLE, help="how many are erased in one call, after the first"
    )
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
