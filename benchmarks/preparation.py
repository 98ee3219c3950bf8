"""Times `millwright prepare` on invented messages of several sizes, beside pandas with datasketch.

    python benchmarks/preparation.py                     10,000 and 100,000 rows, with the peer
    python benchmarks/preparation.py --rows 10000000     one size, added to the record

Every run is a process of its own, and is checked before it counts: the duplicates that were planted must
be those that were found. Contestants alternate; one that does not install is left out, and the record says
why. They do not look for personal data, which the peer cannot; what that adds is told by a row of its own, in
which planted duplicates are not counted: names in capitals are masked otherwise than names in small letters.
Processor seconds and peak memory are those of the process itself, without the workers that mask very many
texts. Writes docs/benchmarks/preparation.json, in which rows of other sizes stay, and prints how time and
memory grow with the rows.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
from messages import Planned, write_messages
from record import BENCH, ROOT, Row, print_table, read_rows, write_record

NAME = "preparation"
SIZES = (10_000, 100_000)
PEER_SIZES = (10_000, 100_000)  # the peer holds a Python object for each hash table entry
PEER = Path(__file__).parent / "peers" / "datasketch"
FOLDER = BENCH / "preparation"
NEAR_MISSED = 0.001  # share of the planted near duplicates that may be missed, or found beyond them
OURS, MASKING, THEIRS = "millwright prepare", "millwright prepare, masking", "pandas + datasketch"
COLUMNS = (
    "rows",
    "contestant",
    "seconds",
    "cpu_seconds",
    "rows_per_second",
    "peak_mb",
    "exact",
    "near",
    "near_planted",
)


def main() -> None:
    """Measure what was asked for and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--pairs", type=int, default=5, help="runs of each contestant")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _prepare_here(asked.child)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    python, missing = _peer_python()
    for size in asked.rows:
        file = FOLDER / f"messages-{size}.csv"
        planned = write_messages(file, size)
        contestants = (OURS, MASKING, THEIRS) if size in PEER_SIZES else (OURS,)
        contestants = tuple(name for name in contestants if name != THEIRS or not missing)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        load = [os.getloadavg()[0]]
        for _ in range(asked.pairs):
            for name in contestants:
                command = [str(python), str(PEER / "deduplicate.py"), str(file)]
                found = _run(command) if name == THEIRS else _run_ours(file, size, is_masking=name == MASKING)
                _check(name, found, planned)
                runs[name].append(found)
        load.append(os.getloadavg()[0])
        file.unlink()
        rows = [_row(name, found, planned, load) for name, found in runs.items()]
        if THEIRS in runs:
            rows[0] |= _ratio(runs[OURS], runs[THEIRS])
        if size in PEER_SIZES and missing:
            title = f"{THEIRS}, {size:,} rows,"
            rows.append({"rows": size, "contestant": THEIRS, "title": title, "missing": missing})
        kept = [row for row in read_rows(NAME) if row["rows"] != size]
        write_record(
            NAME, sorted([*kept, *rows], key=lambda row: (row["rows"], row["contestant"])), _versions()
        )
        print_table(rows, COLUMNS)
    rows = read_rows(NAME)
    for row in rows:
        row.pop("time_exponent", None), row.pop("memory_exponent", None)
    for name in (OURS, MASKING, THEIRS):
        _show_growth([row for row in rows if row["contestant"] == name and "missing" not in row])
    write_record(NAME, rows, _versions())


def _prepare_here(folder: Path) -> None:
    """What a child does: prepare one project and print figures."""
    from millwright.data.prepare import prepare
    from millwright.project import open_project
    from millwright.train.cost import peak_memory_bytes

    project = open_project(folder)
    start, start_cpu = time.perf_counter(), time.process_time()
    stages, stage_start, last = dict[str, float](), start, ""

    def progress(stage: str, _done: float) -> None:
        nonlocal last, stage_start
        now = time.perf_counter()
        if last:
            stages[last] = stages.get(last, 0.0) + now - stage_start
        last, stage_start = stage, now

    dataset = prepare(project, progress=progress)
    progress("", 1.0)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - start_cpu,
                "peak_mb": peak_memory_bytes() / 2**20,
                "exact": dataset.report["excluded"].get("exact duplicate", 0),
                "empty": dataset.report["excluded"].get("empty text", 0),
                "near": dataset.report["near_duplicates"]["pairs"],
                "dataset_mb": sum(path.stat().st_size for path in dataset.folder.iterdir()) / 1e6,
                **{f"{stage}_s": seconds for stage, seconds in stages.items()},
            }
        )
    )


def _run_ours(file: Path, size: int, is_masking: bool) -> dict[str, float]:
    from millwright.settings import FILENAME, check_settings, dump_settings

    folder = FOLDER / f"project-{size}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    columns = {"text": "message", "label": "intent", "subject": "customer", "group": "customer"}
    data = {"files": [str(file)], "slices": ["channel"], **columns}
    given = {"data": data, "privacy": {"mask": is_masking}}
    (folder / FILENAME).write_text(dump_settings(check_settings(given, NAME)))
    found = _run([sys.executable, __file__, "--child", str(folder)])
    shutil.rmtree(folder)
    return found


def _run(command: list[str]) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(done.stdout))


def _check(name: str, found: dict[str, float], planned: Planned) -> None:
    """Stop if a contestant did not find what was planted."""
    wrong = found["exact"] != planned.exact or abs(found["near"] - planned.near) > max(
        2, NEAR_MISSED * planned.near
    )
    if (wrong and name != MASKING) or found.get("empty", planned.empty) != planned.empty:
        sys.exit(f"{name} found {found}, planted were {planned}")


def _row(name: str, runs: list[dict[str, float]], planned: Planned, load: list[float]) -> Row:
    seconds = [run["seconds"] for run in runs]
    middle = statistics.median(seconds)
    stages = {key.removesuffix("_s"): round(runs[-1][key], 2) for key in runs[-1] if key.endswith("_s")}
    return {
        "rows": planned.rows,
        "contestant": name,
        "runs": len(runs),
        "file_mb": round(planned.megabytes, 1),
        "seconds": round(middle, 3),
        "seconds_range": [round(min(seconds), 3), round(max(seconds), 3)],
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs), 3),
        "rows_per_second": round(planned.rows / middle),
        "peak_mb": round(max(run["peak_mb"] for run in runs)),
        "exact": int(runs[-1]["exact"]),
        "exact_planted": planned.exact,
        "near": int(runs[-1]["near"]),
        "near_planted": planned.near,
        "load_before_and_after": [round(value, 1) for value in load],
        **({"stage_seconds": stages} if stages else {}),
    }


def _ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> Row:
    ratios = [their["seconds"] / our["seconds"] for our, their in zip(ours, theirs, strict=True)]
    row: Row = {
        "times_faster": round(statistics.median(ratios), 1),
        "times_faster_range": [round(min(ratios), 1), round(max(ratios), 1)],
    }
    print(f"{THEIRS} takes {row['times_faster']} times as long ({row['times_faster_range']})")
    return row


def _show_growth(rows: list[Row]) -> None:
    """Fit powers of the number of rows, and write them into the row of the largest size."""
    if len(rows) < 2:
        return
    size, seconds, memory = (
        np.log([float(str(row[key])) for row in rows]) for key in ("rows", "seconds", "peak_mb")
    )
    time_exponent, memory_exponent = (float(np.polyfit(size, figure, 1)[0]) for figure in (seconds, memory))
    rows[-1] |= {"time_exponent": round(time_exponent, 3), "memory_exponent": round(memory_exponent, 3)}
    print(
        f"{rows[0]['contestant']}: time grows as rows^{time_exponent:.2f}, "
        f"memory as rows^{memory_exponent:.2f}, over {[row['rows'] for row in rows]}"
    )


def _versions() -> dict[str, str]:
    import polars

    peers = dict(line.split("==") for line in (PEER / "requirements.txt").read_text().split())
    return {"polars": polars.__version__, **{name: peers[name] for name in ("datasketch", "pandas")}}


def _peer_python() -> tuple[Path, str | None]:
    """The peer's interpreter, whose environment is made when it is missing, and why there is none."""
    environment = BENCH / "datasketch"
    python = environment / "bin" / "python"
    if (environment / "ready").exists():
        return python, None
    venv.create(environment, with_pip=True, clear=True)
    command = [python, "-m", "pip", "install", "-q", "-r", PEER / "requirements.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return python, done.stderr.strip().splitlines()[-1]
    (environment / "ready").touch()
    return python, None


if __name__ == "__main__":
    main()
