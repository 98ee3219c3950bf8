"""The servers that are compared: how each is installed, started, asked and stopped.

A peer lives in benchmarks/peers/NAME (requirements.txt, pinned, and server.py) and in its own virtual
environment .bench/NAME. Its settings below are the documented ones, the numbers among them tuned by
`python benchmarks/serving.py --tune`.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from record import BENCH

PEERS = Path(__file__).parent / "peers"
TORCH = "torch==2.13.0"  # first, since what asks for any torch later would fetch one with CUDA
START_S = 240
STOP_S = 30


@dataclass(frozen=True)
class Contestant:
    """A server. `settings` go to it as environment variables."""

    name: str
    title: str
    path: str
    body: Callable[[str], object]
    label: Callable[[Any], str]
    package: str
    settings: dict[str, str] = field(default_factory=dict)
    trials: tuple[dict[str, str], ...] = ()

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return BENCH / self.name / "bin" / "python"

    def described(self) -> str:
        """Its settings in one line."""
        return ", ".join(f"{name.lower()} {value}" for name, value in self.settings.items())


def _text(text: str) -> object:
    return {"text": text}


def _label(answer: Any) -> str:
    return str(answer["label"])


def _batching(*changes: dict[str, str]) -> tuple[dict[str, str], ...]:
    """Settings to try: one worker with both cores or two with one each, in both precisions."""
    shapes = ({"WORKERS": "1", "THREADS": "2"}, {"WORKERS": "2", "THREADS": "1"})
    kinds = ({"DTYPE": "bfloat16"}, {"DTYPE": "float32"})
    return tuple(shape | kind | change for shape in shapes for kind in kinds for change in changes or ({},))


MILLWRIGHT = Contestant(
    "millwright",
    "Millwright",
    "/v1/predictions",
    lambda text: {"inputs": [text]},
    lambda answer: str(answer["predictions"][0]["label"]),
    "millwright",
)
ALL_PEERS = (
    Contestant(
        "fastapi",
        "FastAPI + transformers pipeline",
        "/predict",
        _text,
        _label,
        "fastapi",
        {"DTYPE": "float32"},
    ),
    Contestant(
        "litserve",
        "LitServe, batching",
        "/predict",
        _text,
        _label,
        "litserve",
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_S": "0.01", "WORKERS": "1", "THREADS": "2"},
        _batching({"WAIT_S": "0.01"}, {"WAIT_S": "0"}),
    ),
    Contestant(
        "ray",
        "Ray Serve, @serve.batch",
        "/predict",
        _text,
        _label,
        "ray",
        {
            "DTYPE": "bfloat16",
            "BATCH": "64",
            "WAIT_S": "0.01",
            "WORKERS": "1",
            "THREADS": "2",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        },
        _batching({"WAIT_S": "0.01"}, {"WAIT_S": "0"}),
    ),
    Contestant(
        "bentoml",
        "BentoML, adaptive batching",
        "/predict",
        lambda text: {"texts": [text]},
        lambda answer: _label(answer[0]),
        "bentoml",
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_MS": "1000", "WORKERS": "1", "THREADS": "2"},
        _batching({"WAIT_MS": "1000"}, {"WAIT_MS": "10000"}),
    ),
    Contestant(
        "infinity",
        "infinity-emb, /classify",
        "/classify",
        lambda text: {"model": "model", "input": [text]},
        lambda answer: str(max(answer["data"][0], key=lambda found: found["score"])["label"]),
        "infinity-emb",
        {"DTYPE": "bfloat16", "BATCH": "64", "THREADS": "2"},
        ({"DTYPE": "bfloat16"}, {"DTYPE": "float32"}),
    ),
    Contestant(
        "torchserve",
        "TorchServe, batching",
        "/predictions/texts",
        _text,
        _label,
        "torchserve",
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_MS": "10", "WORKERS": "1", "THREADS": "2"},
        _batching({"WAIT_MS": "10"}, {"WAIT_MS": "1"}),
    ),
)


class NotInstalled(Exception):
    """A peer could not be installed or started; the message is the first line of the reason."""


def changed(contestant: Contestant, settings: dict[str, str]) -> Contestant:
    """A contestant with some settings changed."""
    return replace(contestant, settings=contestant.settings | settings)


def install(contestant: Contestant) -> dict[str, str]:
    """Make a peer's environment where it is not there yet or its requirements changed; its versions.

    Raises:
        NotInstalled: pip refused.
    """
    wanted = PEERS / contestant.name / "requirements.txt"
    stamp = BENCH / contestant.name / "installed"
    made_of = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != made_of:
        print(f"installing {contestant.title} into .bench/{contestant.name}", flush=True)
        venv.create(stamp.parent, with_pip=True, clear=True)
        for packages in ([TORCH], ["-r", str(wanted)]):
            pip = [contestant.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
            if done.returncode:
                lines = [
                    line for line in done.stderr.splitlines() if "ERROR" in line
                ] or done.stderr.splitlines()
                raise NotInstalled(lines[0] if lines else f"pip ended with {done.returncode}")
        stamp.write_text(made_of)
    listing = [contestant.python, "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return {package["name"].lower(): package["version"] for package in json.loads(done.stdout)}


@contextmanager
def running(contestant: Contestant, project: Path, model: Path) -> Iterator[str]:
    """Start a server and wait until it answers; yields its URL, stops it and what it started at the end.

    Args:
        contestant: which.
        project: Millwright's project.
        model: the exported network, for peers.

    Yields:
        The URL to POST to.

    Raises:
        NotInstalled: it did not start; its last line says why.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        log = Path(scratch) / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                _command(contestant, project, port),
                env=_environment(contestant, model, port, scratch),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}{contestant.path}"
                _await_answer(process, url, contestant, log)
                yield url
            finally:
                _stop(process)


def ask(client: httpx.Client, url: str, contestant: Contestant, text: str) -> str:
    """The label that a server gives a text."""
    answer = client.post(url, json=contestant.body(text))
    answer.raise_for_status()
    return contestant.label(answer.json())


def _command(contestant: Contestant, project: Path, port: int) -> list[str]:
    if contestant.name == MILLWRIGHT.name:
        serve = ["-m", "millwright.surfaces.cli", "serve", "--project", str(project), "--port", str(port)]
        return [sys.executable, *serve]
    return [str(contestant.python), str(PEERS / contestant.name / "server.py")]


def _environment(contestant: Contestant, model: Path, port: int, scratch: str) -> dict[str, str]:
    own = {"PORT": str(port), "MODEL": str(model), "SCRATCH": scratch, "TMPDIR": scratch}
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}
    if contestant.name == MILLWRIGHT.name:
        return {**os.environ, **contestant.settings}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    threads = {"OMP_NUM_THREADS": contestant.settings["THREADS"]} if "THREADS" in contestant.settings else {}
    return {**inherited, **own, **offline, **quiet, **threads, **contestant.settings}


def _await_answer(process: subprocess.Popen[bytes], url: str, contestant: Contestant, log: Path) -> None:
    end = time.monotonic() + START_S
    with httpx.Client(timeout=30) as client:
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            try:
                ask(client, url, contestant, "Where is my card?")
                return
            except (httpx.HTTPError, KeyError, TypeError, ValueError):
                time.sleep(0.5)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise NotInstalled(f"did not start: {lines[-1].strip() if lines else 'it printed nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, politely at first."""
    family = _descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task")
    found: list[int] = []
    for path in children.glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
