"""The servers that are compared: how each is installed, started, asked and stopped.

A peer lives in benchmarks/peers/NAME (requirements.txt, pinned, and server.py) and in its own virtual
environment .bench/NAME. Its settings below are the documented ones, the numbers among them tuned by
`python benchmarks/serving.py --tune`.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from record import BENCH
from servers import NotStarted, Server, free_port, started

PEERS = Path(__file__).parent / "peers"
TORCH = "torch==2.13.0"  # first, since what asks for any torch later would fetch one with CUDA


@dataclass(frozen=True)
class Contestant:
    """A server. `settings` go to it as environment variables, with `alone` over them where one connection
    asks; variants share one environment.
    """

    name: str
    title: str
    path: str
    body: Callable[[str], object]
    label: Callable[[Any], str]
    package: str
    settings: dict[str, str] = field(default_factory=dict)
    trials: tuple[dict[str, str], ...] = ()
    alone: dict[str, str] = field(default_factory=dict)
    variant: str = ""

    @property
    def key(self) -> str:
        """What it is called in records and on the command line."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

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


def _batching(*waits: dict[str, str]) -> tuple[dict[str, str], ...]:
    """Settings to try: one worker with both cores or two with one each, each wait, and once in float32."""
    one, two = {"WORKERS": "1", "THREADS": "2"}, {"WORKERS": "2", "THREADS": "1"}
    quick = [shape | {"DTYPE": "bfloat16"} | wait for shape in (one, two) for wait in waits]
    return (*quick, one | {"DTYPE": "float32"} | waits[0])


MILLWRIGHT = Contestant(
    "millwright",
    "Millwright",
    "/v1/predictions",
    lambda text: {"inputs": [text]},
    lambda answer: str(answer["predictions"][0]["label"]),
    "millwright",
)
TUNED_PEERS = (
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
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_S": "0.01", "WORKERS": "2", "THREADS": "1"},
        _batching({"WAIT_S": "0.01"}, {"WAIT_S": "0"}),
        {"WAIT_S": "0", "WORKERS": "1", "THREADS": "2"},
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
            "WORKERS": "2",
            "THREADS": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        },
        _batching({"WAIT_S": "0.01"}, {"WAIT_S": "0"}),
        {"WAIT_S": "0", "WORKERS": "1", "THREADS": "2"},
    ),
    Contestant(
        "bentoml",
        "BentoML, adaptive batching",
        "/predict",
        lambda text: {"texts": [text]},
        lambda answer: _label(answer[0]),
        "bentoml",
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_MS": "60000", "WORKERS": "2", "THREADS": "1"},
        _batching({"WAIT_MS": "60000"}, {"WAIT_MS": "10000"}),
        {"WORKERS": "1", "THREADS": "2"},
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
        {"DTYPE": "bfloat16", "BATCH": "64", "WAIT_MS": "10", "WORKERS": "2", "THREADS": "1"},
        _batching({"WAIT_MS": "10"}, {"WAIT_MS": "1"}),
        {"WAIT_MS": "1", "WORKERS": "1", "THREADS": "2"},
    ),
)


def changed(contestant: Contestant, settings: dict[str, str]) -> Contestant:
    """A contestant with some settings changed."""
    return replace(contestant, settings=contestant.settings | settings)


def in_float32(contestant: Contestant) -> Contestant:
    """A peer as its documentation sets a model up: float32, one worker on all cores, batching as it is."""
    settings = contestant.settings | {"DTYPE": "float32", "THREADS": "2"}
    if "WORKERS" in settings:
        settings["WORKERS"] = "1"
    title = f"{contestant.title}, float32"
    return replace(contestant, title=title, settings=settings, trials=(), variant="float32")


ALL_PEERS = (
    *TUNED_PEERS,
    *(in_float32(peer) for peer in TUNED_PEERS if peer.settings["DTYPE"] != "float32"),
)


def install(contestant: Contestant) -> dict[str, str]:
    """Make a peer's environment where it is not there yet or its requirements changed; its versions.

    Raises:
        NotStarted: pip refused.
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
                raise NotStarted(lines[0] if lines else f"pip ended with {done.returncode}")
        stamp.write_text(made_of)
    listing = [contestant.python, "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return {package["name"].lower(): package["version"] for package in json.loads(done.stdout)}


@contextmanager
def running(contestant: Contestant, project: Path, model: Path) -> Iterator[Server]:
    """Run a server over Millwright's project, or over the exported network for a peer."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{contestant.path}"
    if contestant.name == MILLWRIGHT.name:
        serve = ["serve", "--project", str(project), "--port", str(port)]
        command = [sys.executable, "-m", "millwright.surfaces.cli", *serve]
        environment = {**os.environ, **contestant.settings}
    else:
        command = [str(contestant.python), str(PEERS / contestant.name / "server.py")]
        environment = _environment(contestant, model, port)
    first = "Where is my card?"
    with started(command, environment, url, lambda client: ask(client, url, contestant, first)) as server:
        yield server


def ask(client: httpx.Client, url: str, contestant: Contestant, text: str) -> str:
    """The label that a server gives a text."""
    answer = client.post(url, json=contestant.body(text))
    answer.raise_for_status()
    return contestant.label(answer.json())


def _environment(contestant: Contestant, model: Path, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = {"PORT": str(port), "MODEL": str(model), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    silent = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}
    threads = {"OMP_NUM_THREADS": contestant.settings["THREADS"]} if "THREADS" in contestant.settings else {}
    return {**inherited, **given, **silent, **threads, **contestant.settings}
