"""Loads versions for service. Versions whose networks differ in their heads alone share one body.

A version with a converted runtime is loaded without PyTorch, which costs seconds and hundreds of megabytes.
"""

import logging
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from millwright.errors import BadInput, Corrupt, MissingExtra
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.signatures import BODIES, RUNTIMES, verify_signed, verify_version
from millwright.registry.versions import CHALLENGER, CHAMPION, alias, resolve
from millwright.serve.engine import Answering, Body
from millwright.serve.openvino_body import OpenVinoBody
from millwright.serve.runtime_record import TORCH, RuntimeRecord, read_runtime, this_machine
from millwright.serve.served import Served, ServedShards
from millwright.settings import SPANS
from millwright.store.files import read_json, sha256_file
from millwright.train.averaging import Heads, ShardHead
from millwright.train.chain import finds_spans
from millwright.train.shards import WEIGHTS, shard_file

log = logging.getLogger(__name__)


class Loader:
    """Loads versions of one project and remembers the bodies that are in use."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._bodies: WeakValueDictionary[tuple[str, ...], Body] = WeakValueDictionary()

    def load(self, name: str) -> Answering:
        """Load a version with the runtime that was chosen for it.

        Args:
            name: a version or an alias.

        Returns:
            The version in service; by PyTorch where no other runtime was chosen or can be had.

        Raises:
            NotFound: no such version.
            BadInput: its task is not the project's.
            Corrupt: a file of it, or of its runtime, was truncated, edited, added or removed, or is not what
                this project signed; the message names it.
        """
        version = resolve(self.project, name)
        folder = verify_version(self.project, version)
        about = read_json(folder / "classifier.json")
        has_spans, task = finds_spans(about), self.project.settings.project.task
        if has_spans != (task == SPANS):
            raise BadInput(
                f"{version} was not trained for project.task {task!r}; set it back, or train one for it",
                field="project.task",
            )
        if has_spans:
            return self._spans(folder)
        record = read_runtime(self.project, version)
        body, runtime = self._body(version, folder, record)
        labels, temperature = tuple(about["labels"]), float(about["temperature"])
        if "shards" in about:
            heads = [_shard_head(folder, shard, labels, own) for shard, own in enumerate(about["shards"])]
            return ServedShards(labels, body, Heads(tuple(heads), len(labels), temperature), runtime)
        return Served(labels, body, *_read_head(folder / WEIGHTS), temperature, runtime)

    def _body(self, version: str, folder: Path, record: RuntimeRecord | None) -> tuple[Body, str]:
        wanted = str(self.project.settings.serve.runtime)
        if record is not None and wanted not in ("auto", TORCH, record.runtime):
            log.warning(
                "serve.runtime is %r, and %s runs by %s, as it was promoted; promote it again and restart",
                wanted, version, record.runtime,
            )  # fmt: skip
        if wanted == TORCH:
            return self._torch_body(folder, TORCH)
        if record is not None and record.machine != this_machine():
            log.warning(
                "%s was measured on %s, this machine is %s; promote it again here, and restart",
                version, record.machine, this_machine(),
            )  # fmt: skip
        if record is None:
            why = self._why_unmeasured(version)
        else:
            body, why = self._converted(folder, record)
            if body is not None:
                return body, record.runtime
        if why is not None:
            log.warning(
                "%s is served by PyTorch: %s; promote it again, which measures it anew, and restart",
                version, why,
            )  # fmt: skip
        return self._torch_body(folder, record.runtime if record else TORCH)

    def _why_unmeasured(self, version: str) -> str | None:
        """Why there is no record of a version, None if nobody promoted it."""
        if (self.project.kept / RUNTIMES / version).exists():
            return "how it runs here was not signed"
        if version in (alias(self.project, CHAMPION), alias(self.project, CHALLENGER)):
            return "how it runs here was not measured, or an erasure deleted its converted network"
        return None

    def _converted(self, folder: Path, record: RuntimeRecord) -> tuple[Body | None, str | None]:
        """The converted body that a record names; without one why it cannot be had, None if none is named."""
        if record.body is None:
            return None, None
        key = _reading(folder, record.body, record.runtime)
        body = self._bodies.get(key)
        if body is not None:
            return body, None
        if not (self.project.kept / BODIES / record.body).exists():  # it can be derived: a backup may lack it
            return None, f"its converted network {BODIES}/{record.body} is missing"
        try:
            body = self._bodies[key] = _open_converted(self.project, folder, record.body, record.runtime)
        except MissingExtra as missing:
            return None, str(missing)
        return body, None

    def _spans(self, folder: Path) -> Answering:
        from millwright.serve.span_body import ServedSpans, open_span_body  # PyTorch, only where it must be

        head, body, key = open_span_body(folder)
        return ServedSpans(head, self._bodies.setdefault(_reading(folder, key), body))

    def _torch_body(self, folder: Path, chosen: str) -> tuple[Body, str]:
        from millwright.serve.torch_body import open_torch_body  # PyTorch, only where it must be

        body, key = open_torch_body(folder, chosen)
        return self._bodies.setdefault(_reading(folder, key, body.runtime), body), body.runtime


def _reading(folder: Path, *body: str) -> tuple[str, ...]:
    """What versions share that have the same body and cut texts into the same tokens for it."""
    return (*body, sha256_file(folder / "tokenizer.json"))


def _read_head(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Weights [C, D] and bias [C] of the head in a file of weights; Corrupt if it is damaged."""
    try:
        with safe_open(path, "np") as file:
            return file.get_tensor("head.weight"), file.get_tensor("head.bias")
    except (SafetensorError, OSError) as error:
        raise Corrupt(f"{path} is damaged ({error}); restore it") from None


def _shard_head(folder: Path, shard: int, labels: tuple[str, ...], about: JsonObject) -> ShardHead:
    head = _read_head(folder / shard_file(shard))
    return ShardHead.of(about["labels"], labels, head, float(about["temperature"]))


def _open_converted(project: Project, folder: Path, body: str, runtime: str) -> OpenVinoBody:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return OpenVinoBody(verify_signed(project, BODIES, body), tokenizer, runtime.removeprefix("openvino-"))
