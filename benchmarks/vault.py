"""What sealing costs: rows stored sealed and in the clear in turns, and a person's erasure beside a training.

    python benchmarks/vault.py

The clear rows go into a table of the same columns in the same kind of database, as many to a commit.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from record import BENCH, Row, print_table, write_record
from sqlalchemy import Column, MetaData, String, Table, Text, insert

from millwright.erase.erasure import erase
from millwright.privacy.sealed import store_predictions, stream_predictions, take_write_lock
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.records import Prediction
from millwright.scaffold import new_project
from millwright.settings import Settings, change_settings
from millwright.steps import train
from millwright.store.database import connect_to, now

ROUNDS, ROWS, COMMIT = 7, 2_000, 64
TEXT = "the machine at the corner ate my card this morning and i need it back before the weekend"
FIELDS = ("id", "version", "text", "label", "probability", "subject", "created_at")
COLUMNS = ("what", "microseconds_a_row", "range", "seconds")


def predictions(round_: int, people: int) -> list[Prediction]:
    """Rows of people that are the same in each round."""
    return [
        Prediction(f"{round_}-{people}-{n}", "v1", TEXT, "card", 0.9, f"c{people}-{n % people}", False, now())
        for n in range(ROWS)
    ]


def timed(work: Callable[[], object]) -> float:
    """Microseconds a row."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / ROWS * 1e6


def storing(folder: Path) -> list[Row]:
    """Rows sealed and in the clear, in turns, each as many to a commit as a busy server has."""
    vault = open_vault(Project(folder / "sealed", Settings()))
    plain, clear = connect_to(folder / "clear.db"), MetaData()
    table = Table(
        "predictions", clear, *(Column(name, Text if name == "text" else String) for name in FIELDS)
    )
    clear.create_all(plain)
    assert vault.keys

    def in_the_clear(records: list[Prediction]) -> None:
        """Store rows as they are."""
        for start in range(0, len(records), COMMIT):
            with plain.begin() as connection:
                values = [
                    {name: str(getattr(one, name)) for name in FIELDS}
                    for one in records[start : start + COMMIT]
                ]
                connection.execute(insert(table), values)

    def sealed(records: list[Prediction]) -> None:
        """Store rows as the journal does."""
        for start in range(0, len(records), COMMIT):
            with vault.project.database.begin() as connection:
                take_write_lock(connection, vault)
                store_predictions(connection, vault, records[start : start + COMMIT])

    found: dict[str, list[float]] = {}
    sealed(predictions(-1, 200))  # from now on these people have keys
    for round_ in range(ROUNDS):
        known, new = predictions(round_, 200), predictions(round_, ROWS)
        new = [Prediction(**{**vars(one), "subject": f"{round_}-{one.subject}"}) for one in new]
        for name, work in (
            ("store in the clear", lambda rows=known: in_the_clear(rows)),
            ("store sealed, people known", lambda rows=known: sealed(rows)),
            ("store sealed, every row of a new person", lambda rows=new: sealed(rows)),
        ):
            found.setdefault(name, []).append(timed(work))
    count = len(list(stream_predictions(vault)))
    found["open"] = [timed(lambda: list(stream_predictions(vault))) * ROWS / count for _ in range(3)]
    return [
        {
            "what": name,
            "microseconds_a_row": round(statistics.median(values), 1),
            "range": f"{min(values):.1f} to {max(values):.1f}",
        }
        for name, values in found.items()
    ]


def erasing(folder: Path) -> list[Row]:
    """A person out of the built-in desk, whose head is trained anew; and the training before that."""
    new_project(folder / "desk", template="customer-desk")
    opened = open_project(folder / "desk")
    settings = change_settings(
        change_settings(opened.settings, "train", method="head"), "serve", runtime="torch"
    )
    project = Project(opened.folder, settings)
    start = time.perf_counter()
    train(project)
    trained = time.perf_counter() - start
    start = time.perf_counter()
    receipt = erase(project, "C98682").receipt
    erased = time.perf_counter() - start
    assert receipt["versions"]["v1"]["successor"] == "v2"
    return [
        {"what": "train a head on 1,288 tickets, nothing cached", "seconds": round(trained, 1)},
        {"what": "erase a person from that desk, successor and receipt", "seconds": round(erased, 1)},
    ]


def main() -> None:
    """Measure, print, record."""
    folder = BENCH / "vault"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        rows = [*storing(folder), *erasing(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_table(rows, COLUMNS)
    write_record("vault", rows, {"cryptography": version("cryptography")})


if __name__ == "__main__":
    main()
