"""What this machine could do at most, and how near to it the encoder runs.

    python benchmarks/ceiling.py
    python benchmarks/ceiling.py --only profile     what the encoder's time goes into; the rates stay

Measured in one run, in turns, several rounds: the rate of matrix products in float32, bfloat16 and int8,
the memory's bandwidth, the tokenizer, and the encoder on the test sentences of Banking77 in torch and
OpenVINO. The bound of a precision is its best matrix-product rate over the operations that a sentence
needs, counted from the encoder's configuration; nothing that multiplies matrices can be faster.

Shape suffixes: B texts of a batch, T tokens.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from openvino import opset15 as ops
from record import Row, print_table, read_rows, write_record
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer
from trained import export, messages, trained_project
from transformers import AutoModelForSequenceClassification

from millwright.data.dataset import open_dataset
from millwright.project import Project, open_project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import version_manifest
from millwright.serve.convert import convert_body, quantise_body
from millwright.serve.openvino_body import INPUTS_A_SCALE, PRECISIONS, OpenVinoBody
from millwright.train.classifier import head_of
from millwright.train.ensemble import Trained

BATCH = 64
SIZES = (512, 1024, 2048)
TOKENS = 1024  # rows of a product in the encoder: a batch of 64 sentences of about 16 tokens
CHAIN = 8
LEAST_S = 0.3
COPIED_BYTES = 2**28
COLUMNS = (
    "what",
    "precision",
    "measured",
    "low",
    "high",
    "unit",
    "ceiling",
    "times_from_ceiling",
    "agreement",
    "share",
)

PROFILE, LEAST_SHARE = "time by kind of layer", 0.01

Work = Callable[[], object]
Run = Callable[[Sequence[str]], np.ndarray]  # the best labels' numbers of a batch of texts


@dataclass(frozen=True)
class Task:
    """Something to time: `amount` units of work in one call."""

    what: str
    precision: str
    unit: str
    amount: float
    work: Work


def operations_a_sentence(config: dict[str, int], lengths: Sequence[int]) -> float:
    """Mean number of multiplications and additions that the encoder needs for a sentence, without padding."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tokens = np.array(lengths, float)
    projections = 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 4 * tokens * tokens * hidden
    return float(config["num_hidden_layers"] * (projections + attention).mean())


def product_tasks(config: dict[str, int]) -> list[Task]:
    """Matrix products: square ones of three sizes, and the encoder's own shape."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = [(size, size, size) for size in SIZES] + [(TOKENS, hidden, inner), (TOKENS, inner, hidden)]
    makers = {
        "float32": (_torch_product(torch.float32), 1),
        "bfloat16": (_torch_product(torch.bfloat16), 1),
        "int8": (_int_product, 1),
        **{f"{name}, OpenVINO": (_openvino_product(name), CHAIN) for name in PRECISIONS},
    }
    return [
        Task(
            f"product {rows}x{inside}x{columns}",
            name,
            "GFLOP/s",
            2e-9 * products * rows * inside * columns,
            work,
        )
        for name, (make, products) in makers.items()
        for rows, inside, columns in shapes
        for work in [make(rows, inside, columns)]
    ]


def memory_task() -> Task:
    """A copy that no cache holds; bytes read and bytes written both count."""
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return Task("memory", "", "GB/s", 2e-9 * COPIED_BYTES, lambda: target.copy_(source))


def tokenizer_task(tokenizer: Tokenizer, texts: Sequence[str]) -> Task:
    """Tokenization of all texts in one call."""
    return Task("tokenizer", "", "sentences/s", len(texts), lambda: tokenizer.encode_batch_fast(list(texts)))


class Encoder:
    """The tuned network in one runtime: `run` by `streams` threads, a batch each, tokenization included."""

    def __init__(self, run: Run, streams: int) -> None:
        self.run = run
        self.threads = ThreadPoolExecutor(streams)

    def labels(self, texts: Sequence[str]) -> np.ndarray:
        """The best label's number for each text; batches are cut from the texts as they come."""
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        return np.concatenate(list(self.threads.map(self.run, batches)))


def encoders(project: Project, model: Path, tokenizer: Tokenizer) -> dict[tuple[str, str], Encoder]:
    """The network in every runtime and precision: in PyTorch as peers run it, in OpenVINO as Millwright
    serves it.
    """
    network = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=True).eval()
    quick = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=True).eval()
    quick.bert.to(torch.bfloat16)
    found = {
        ("torch", "float32"): Encoder(_torch_run(network, tokenizer), 1),
        ("torch", "bfloat16"): Encoder(_torch_run(quick, tokenizer), 1),
    }
    classifier = load_classifier(project, "champion")
    with converted(project, classifier) as stored:
        for precision, folder in stored.items():
            body = OpenVinoBody(folder, classifier.backbone.tokenizer, precision)
            found["OpenVINO", precision] = Encoder(_openvino_run(body, classifier), body.streams)
    return found


@contextmanager
def converted(project: Project, classifier: Trained) -> Iterator[dict[str, Path]]:
    """Folders with the converted network for each precision."""
    dataset = open_dataset(project, version_manifest(project, "v1")["dataset"]["id"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert_body(classifier, folder / "float32")
        quantise_body(classifier, dataset.split("train"), folder / "int8")
        yield {precision: folder / ("int8" if precision == "int8" else "float32") for precision in PRECISIONS}


def profile_rows(project: Project, texts: Sequence[str]) -> Iterator[Row]:
    """What OpenVINO's own clock says that the encoder's time goes into, by kind of layer, on one thread."""
    classifier = load_classifier(project, "champion")
    tokenizer = classifier.backbone.tokenizer
    with converted(project, classifier) as stored:
        for precision, folder in stored.items():
            settings = {
                "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(INPUTS_A_SCALE),
                "INFERENCE_NUM_THREADS": 1,
                "PERF_COUNT": True,
            }
            request = (
                ov.Core().compile_model(str(folder / "model.xml"), "CPU", settings).create_infer_request()
            )
            seconds = Counter[str]()
            for start in range(0, len(texts), BATCH):
                encoded = tokenizer.encode_batch_fast(list(texts[start : start + BATCH]))
                request.infer([part.numpy() for part in _padded([one.ids for one in encoded])])
                for layer in request.profiling_info:
                    seconds[str(layer.node_type)] += layer.real_time.total_seconds()
            whole = sum(seconds.values())
            for kind, spent in seconds.most_common():
                if spent >= LEAST_SHARE * whole:
                    row: Row = {"part": PROFILE, "what": kind, "precision": precision}
                    yield row | {"share": round(spent / whole, 4)}


def measure(tasks: Sequence[Task], rounds: int) -> list[list[float]]:
    """Rates of each task in every round; the tasks take turns."""
    for task in tasks:
        task.work()
    found: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for task, rates in zip(tasks, found, strict=True):
            calls, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < LEAST_S:
                task.work()
                calls += 1
            rates.append(task.amount * calls / spent)
    return found


def _torch_product(dtype: torch.dtype) -> Callable[[int, int, int], Work]:
    def make(rows: int, inside: int, columns: int) -> Work:
        left, right = torch.randn(rows, inside).to(dtype), torch.randn(columns, inside).to(dtype)
        return lambda: torch.nn.functional.linear(left, right)

    return make


def _int_product(rows: int, inside: int, columns: int) -> Work:
    left = torch.randint(-127, 127, (rows, inside), dtype=torch.int8)
    right = torch.randint(-127, 127, (inside, columns), dtype=torch.int8)
    return lambda: torch._int_mm(left, right)


def _openvino_product(precision: str) -> Callable[[int, int, int], Work]:
    """CHAIN products there and back in one call; in int8 quantized in between as an encoder's are."""

    def make(rows: int, inside: int, columns: int) -> Work:
        chance = np.random.default_rng(0)
        weights = [
            ops.constant(chance.uniform(-1, 1, shape).astype(np.float32))
            for shape in ((columns, inside), (inside, columns))
        ]
        given = ops.parameter([rows, inside], ov.Type.f32)
        state = given
        for place in range(CHAIN):
            pair = [state, weights[place % 2]]
            if precision == "int8":
                edges = [np.float32(edge) for edge in (-1, 1, -1, 1)]
                pair = [ops.fake_quantize(one, *edges, levels=256) for one in pair]
            state = ops.matmul(*pair, False, True)
        settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
        compiled = ov.Core().compile_model(ov.Model([state], [given]), "CPU", settings)
        request = compiled.create_infer_request()
        request.set_input_tensor(ov.Tensor(chance.uniform(-1, 1, (rows, inside)).astype(np.float32)))
        work: Work = request.infer
        return work

    return make


def _padded(ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B, T] and their mask [B, T]."""
    width = max(map(len, ids))
    mask = [[1] * len(one) + [0] * (width - len(one)) for one in ids]
    return torch.tensor([one + [0] * (width - len(one)) for one in ids]), torch.tensor(mask)


def _torch_run(network: torch.nn.Module, tokenizer: Tokenizer) -> Run:
    def run(texts: Sequence[str]) -> np.ndarray:
        ids_BT, mask_BT = _padded([one.ids for one in tokenizer.encode_batch_fast(list(texts))])
        with torch.inference_mode():
            best: np.ndarray = network(ids_BT, mask_BT).logits.argmax(1).numpy()
        return best

    return run


def _openvino_run(body: OpenVinoBody, classifier: Trained) -> Run:
    weight_CD, bias_C = head_of(classifier.tuned)

    def run(texts: Sequence[str]) -> np.ndarray:
        best: np.ndarray = (body.features(texts) @ weight_CD.T + bias_C).argmax(1)
        return best

    return run


def _row(task: Task, rates: list[float]) -> Row:
    return {
        "what": task.what,
        "precision": task.precision,
        "measured": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "unit": task.unit,
    }


def ceilings(
    tasks: Sequence[Task], rates: Sequence[list[float]], needed: float, rounds: int
) -> dict[str, list[float]]:
    """Sentences a second that the best product of a precision would allow, in each round."""
    found: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16", "int8"):
        products = [
            rate
            for task, rate in zip(tasks, rates, strict=True)
            if task.what.startswith("product") and task.precision.split(",")[0] == precision
        ]
        found[precision] = [1e9 * max(rate[at] for rate in products) / needed for at in range(rounds)]
    return found


def rate_rows(folder: Path, rounds: int) -> list[Row]:
    """Rates of products, memory, tokenizer and encoders, in turns."""
    model = export(folder)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    config = json.loads((model / "config.json").read_text())
    encoded = zip(tokenizer.encode_batch_fast(messages()), messages(), strict=True)
    lengths, texts = zip(*sorted((len(one.ids), text) for one, text in encoded), strict=True)
    needed = operations_a_sentence(config, lengths)
    threadpool_limits(1, user_api="blas")  # as in service: batches are computed side by side
    runs = encoders(open_project(folder), model, tokenizer)
    truth = runs["torch", "float32"].labels(texts)
    tasks = [*product_tasks(config), memory_task(), tokenizer_task(tokenizer, texts)]
    tasks += [
        Task(f"encoder, {runtime}", precision, "sentences/s", len(texts), lambda run=run: run.labels(texts))  # type: ignore[misc]
        for (runtime, precision), run in runs.items()
    ]
    rates = measure(tasks, rounds)
    bounds = ceilings(tasks, rates, needed, rounds)
    rows: list[Row] = [{"what": "a sentence needs", "measured": needed / 1e9, "unit": "GFLOP"}]
    for task, rate in zip(tasks, rates, strict=True):
        row = _row(task, rate)
        if task.what.startswith("encoder"):
            bound = bounds[task.precision]
            row["ceiling"] = statistics.median(bound)
            row["times_from_ceiling"] = statistics.median(b / r for b, r in zip(bound, rate, strict=True))
            runtime = task.what.removeprefix("encoder, ")
            row["agreement"] = float((runs[runtime, task.precision].labels(texts) == truth).mean())
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="head", help="how the network was tuned: head or top")
    parser.add_argument("--only", choices=("rates", "profile"), help="keep the other part of the record")
    given = parser.parse_args()
    kept = read_rows("ceiling") if given.only else []
    rates = [row for row in kept if row.get("part") != PROFILE]
    profile = [row for row in kept if row.get("part") == PROFILE]
    folder = trained_project(given.method)
    if given.only != "profile":
        rates = rate_rows(folder, given.rounds)
    if given.only != "rates":
        profile = list(profile_rows(open_project(folder), sorted(messages(), key=len)))
    print_table([*rates, *profile], COLUMNS)
    write_record("ceiling", [*rates, *profile])


if __name__ == "__main__":
    main()
