"""What a benchmark leaves behind: docs/benchmarks/NAME.json with its command, machine, versions and rows.

A run may measure a part of the rows and leave the others: each row says by itself when and where it was
measured.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MILLWRIGHT_DATA", ROOT.parent / "shared" / "data"))  # see README.md beside this
BENCH = ROOT / ".bench"  # not in git: the peers' environments, trained projects, request files
RECORDS = ROOT / "docs" / "benchmarks"
OURS = ("torch", "transformers", "tokenizers", "openvino", "nncf", "uvicorn", "fastapi", "numpy")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")

MEASURED = "measured_on"

Row = dict[str, object]


def machine() -> dict[str, object]:
    """What the figures depend on: processor, its instructions, cores, memory, system."""
    try:
        cpu = Path("/proc/cpuinfo").read_text()
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except OSError:
        cpu, memory = "", 0
    model, family, number = (
        re.search(rf"^{name}\s*: (.*)", cpu, re.M) for name in ("model name", "cpu family", "model")
    )
    kind = f" (family {family[1]}, model {number[1]})" if family and number else ""  # names may not tell
    flags = set((re.search(r"flags\s*: (.*)", cpu) or re.search("()", "")).group(1).split())  # type: ignore[union-attr]
    return {
        "processor": f"{model[1]}{kind}" if model else platform.processor(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": memory,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor and the last of the instructions that benchmarks tell apart, which decides its speed."""
    about = machine()
    return ", ".join([str(about["processor"]), *list(about["instructions"])[-1:]])  # type: ignore[call-overload]


def versions(names: Sequence[str] = OURS) -> dict[str, str]:
    """Versions of the packages that are installed here, and Millwright's commit."""
    found = {"millwright": _commit()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_rows(name: str) -> list[Row]:
    """The rows that stand in a record, none where there is no record."""
    path = RECORDS / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def write_record(name: str, rows: Sequence[Row], more_versions: dict[str, str] | None = None) -> Path:
    """Write docs/benchmarks/NAME.json; versions of peers that were recorded earlier stay.

    Rows that `read_rows` gave say when they were measured; all others are of this run.
    """
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{name}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {"versions": {}, "rows": []}
    record = {
        "name": name,
        "made_by": f"python benchmarks/{name}.py",
        "last_run": " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {**earlier["versions"], **versions(), **(more_versions or {})},
    }
    made = [{**row, MEASURED: row.get(MEASURED) or _origin(record)} for row in rows]
    path.write_text(json.dumps({**record, "rows": made}, indent=1, ensure_ascii=False) + "\n")
    return path


def _origin(record: Mapping[str, Any]) -> str:
    """When, where and of which commit a record's own run was."""
    return f"{record['date']}, {record['machine']['processor']}, {record['versions']['millwright']}"


def in_turns(ratios: Sequence[float]) -> Row:
    """What a row tells of how many times faster than it another was, pair by pair; nothing without a pair."""
    if not ratios:
        return {}
    figures = {"faster": median(ratios), "low": min(ratios), "high": max(ratios)}
    return {f"times_{name}": round(figure, 1) for name, figure in figures.items()}


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows under their columns' names."""
    lines = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        digits = 4 if 0.9 <= abs(value) < 1 else 3  # of shares near one the last digit tells most
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
    return "" if value is None else str(value)


def _commit() -> str:
    """The commit, and whether anything but documents differs from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs")
    return f"{commit or 'unknown'}{'-dirty' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
