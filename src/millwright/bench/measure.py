"""Puts a project's champion under load on this machine: answers a second, latencies, cost.

The server is that of `millwright serve`, over a throwaway copy of the project's database, so that what
the load writes is paid for and then forgotten. It has no cache of answers: the messages come again and again.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from millwright.data.dataset import open_dataset
from millwright.data.spill import spilling
from millwright.errors import BadInput
from millwright.machine import cores
from millwright.privacy.mask import names_of
from millwright.privacy.vault import key_file
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.versions import CHAMPION, resolve, version_manifest
from millwright.serve.process import serving
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.store.files import storing, write_text

MOST_MESSAGES = 3_000
WARM_UP_S = 1.0
LINKED = ("versions", "signatures", "runtimes", "bodies", "datasets")


@dataclass(frozen=True)
class LoadFigures:
    """What the server did with `concurrency` requests under way, each with one input.

    Latencies are None where nothing was answered. `cost_per_million` is in the currency of the price, for
    all cores of this machine; None without a price.
    """

    concurrency: int
    requests_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: int
    cost_per_million: float | None


def bench(
    project: Project,
    *,
    concurrencies: Sequence[int] = (1, 8, 32, 64),
    seconds: float = 5.0,
    price_per_core_hour: float | None = None,
    progress: Progress = quiet,
) -> list[LoadFigures]:
    """Measure the champion under load from another process on the same cores.

    Args:
        project: a project with a champion.
        concurrencies: how many requests are under way at once, one measurement each.
        seconds: how long each measurement takes.
        price_per_core_hour: what an hour of one core costs, in any currency.
        progress: called with "load" and the fraction done.

    Returns:
        The figures, one a concurrency.

    Raises:
        BadInput: a concurrency, the seconds or the price is not over 0, or no row can be sent.
        NotFound: there is no champion.
    """
    for name, value in (("concurrency", min(concurrencies, default=0)), ("seconds", seconds)):
        if value <= 0:
            raise BadInput(f"{name} must be over 0, got {value}; pass 1 or more", field=name)
    if price_per_core_hour is not None and price_per_core_hour <= 0:
        raise BadInput(
            f"price must be over 0, got {price_per_core_hour}; pass what a core costs an hour", field="price"
        )
    figures, messages = [], _messages(project)
    with _copy(project) as folder, serving(folder) as address:
        bodies = folder / "bodies.jsonl"
        champion = resolve(project, CHAMPION)  # by name: an experiment would give others a share
        lines = [json.dumps({"inputs": [text], "version": champion}) + "\n" for text in messages]
        write_text(bodies, "".join(lines))
        _load(address, bodies, max(concurrencies), WARM_UP_S)
        for place, concurrency in enumerate(concurrencies):
            progress("load", place / len(concurrencies))
            found = _load(address, bodies, concurrency, seconds)
            figures.append(LoadFigures(concurrency, **found, cost_per_million=None))
        progress("load", 1.0)
    return [_priced(one, price_per_core_hour) for one in figures]


def _messages(project: Project) -> list[str]:
    manifest = version_manifest(project, resolve(project, CHAMPION))
    dataset = open_dataset(project, manifest["dataset"]["id"])
    rows = dataset.split("test") or dataset.rows
    fits = [row.text for row in rows if len(row.text) <= project.settings.data.max_characters]
    if not fits:
        raise BadInput(
            f"no row is within data.max_characters = {project.settings.data.max_characters}; raise it",
            field="data.max_characters",
        )
    return fits[:MOST_MESSAGES]


@contextmanager
def _copy(project: Project) -> Iterator[Path]:
    """A folder with the project's settings, copies of its databases, and links to what never changes.

    It is a spill, since it holds what people wrote: if this process is killed, an erasure removes it.
    """
    with storing(project.kept), spilling(project.kept) as spill:
        folder = spill.folder
        kept = folder / ".millwright"
        kept.mkdir()
        for name in LINKED:
            if (project.kept / name).exists():
                (kept / name).symlink_to(project.kept / name, target_is_directory=True)
        for source, name in ((project.kept / "store.db", "store.db"), (key_file(project), "keys.db")):
            if source.exists():
                with closing(sqlite3.connect(source)) as own, closing(sqlite3.connect(kept / name)) as target:
                    own.backup(target)
        with closing(sqlite3.connect(kept / "store.db")) as copied:
            copied.execute("DELETE FROM api_keys")  # the copy is asked by this process alone
            copied.commit()
        kind, _, rest = project.settings.privacy.master_key.partition(":")
        master = f"file:{project.folder / Path(rest).expanduser()}" if kind == "file" else f"{kind}:{rest}"
        keys = {"key_store": str(kept / "keys.db"), "master_key": master}
        settings = change_settings(project.settings, "privacy", **keys, names=names_of(project))
        settings = change_settings(settings, "serve", cache_answers=0)
        write_text(folder / FILENAME, dump_settings(settings))
        yield folder


def _load(address: str, bodies: Path, concurrency: int, seconds: float) -> JsonObject:
    command = [sys.executable, "-m", "millwright.bench.generator", f"{address}/v1/predictions", str(bodies)]
    flags = ["--connections", str(concurrency), "--seconds", str(seconds)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    found: JsonObject = {"p50_ms": None, "p95_ms": None, "p99_ms": None, **json.loads(done.stdout)}
    return found


def _priced(figures: LoadFigures, price_per_core_hour: float | None) -> LoadFigures:
    if price_per_core_hour is None or not figures.requests_per_s:
        return figures
    cost_per_hour = price_per_core_hour * cores()
    cost = cost_per_hour / (3_600 * figures.requests_per_s) * 1_000_000
    return LoadFigures(**{**vars(figures), "cost_per_million": cost})
